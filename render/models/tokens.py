"""How much of a prompt a text encoder reads, told without transformers, which would load torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Reader", "open_reader"]


@dataclass(frozen=True, slots=True)
class Reader:
    """A tokenizer, and the tokens of a prompt that its text encoder has room for."""

    tokenizer: Tokenizer
    room: int

    def lost(self, prompts: Iterable[str]) -> dict[str, str]:
        """Prompt → what the encoder will not see of it, for those over its limit."""
        long = [prompt for prompt in prompts if len(prompt.encode()) > self.room]  # a token is a byte at least
        counted = self.tokenizer.encode_batch_fast(long, add_special_tokens=False)
        over = [prompt for prompt, tokens in zip(long, counted, strict=True) if len(tokens) > self.room]
        return {prompt: self._rest(prompt) for prompt in over}

    def _rest(self, prompt: str) -> str:
        offsets = self.tokenizer.encode(prompt, add_special_tokens=False).offsets
        cut = prompt.rfind(" ", 0, offsets[self.room][0]) + 1  # a word that is cut is lost
        return prompt[cut:].strip()


def open_reader(folder: Path, room: int) -> Reader | None:
    """The reader with a folder's tokenizer; None where that is in no format that is read here."""
    tokenizer = _tokenizer(folder)
    return tokenizer and Reader(tokenizer, room)


def _tokenizer(folder: Path) -> Tokenizer | None:
    """The folder's tokenizer without transformers, which would load torch; None where it has files of another kind."""
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    return _clip_tokenizer(folder) if (folder / "merges.txt").exists() else None


def _clip_tokenizer(folder: Path) -> Tokenizer:
    """CLIP's byte-level BPE from `vocab.json` and `merges.txt` (Radford et al. 2021, `simple_tokenizer.py`)."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    bpe = models.BPE.from_file(
        str(folder / "vocab.json"), str(folder / "merges.txt"), end_of_word_suffix="</w>", unk_token="<|endoftext|>"
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer
