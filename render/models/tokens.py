"""Token limits: the words of a prompt that a text encoder cuts off. Without transformers, which would load torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["TokenLimit", "read_token_limit"]


@dataclass(frozen=True, slots=True)
class TokenLimit:
    """A text encoder's tokenizer, and the most tokens of a prompt that it reads (special tokens not counted)."""

    tokenizer: Tokenizer
    max_tokens: int

    def lost_words(self, prompts: Iterable[str]) -> dict[str, str]:
        """Return prompt → the words that the encoder cuts off, for prompts over the limit only."""
        # A token is at least one byte, so shorter prompts need not be tokenized.
        long = [prompt for prompt in prompts if len(prompt.encode()) > self.max_tokens]
        counted = self.tokenizer.encode_batch_fast(long, add_special_tokens=False)
        over = [prompt for prompt, tokens in zip(long, counted, strict=True) if len(tokens) > self.max_tokens]
        return {prompt: self._rest(prompt) for prompt in over}

    def _rest(self, prompt: str) -> str:
        offsets = self.tokenizer.encode(prompt, add_special_tokens=False).offsets
        cut = prompt.rfind(" ", 0, offsets[self.max_tokens][0]) + 1  # a word that is cut in two counts as lost
        return prompt[cut:].strip()


def read_token_limit(folder: Path, max_tokens: int) -> TokenLimit | None:
    """Return the limit with the tokenizer of a folder; None if its files are in a format that is not read here."""
    tokenizer = _tokenizer(folder)
    return tokenizer and TokenLimit(tokenizer, max_tokens)


def _tokenizer(folder: Path) -> Tokenizer | None:
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    return _clip_tokenizer(folder) if (folder / "merges.txt").exists() else None


def _clip_tokenizer(folder: Path) -> Tokenizer:
    """Return CLIP's byte-level BPE from `vocab.json` and `merges.txt` (Radford et al. 2021, `simple_tokenizer.py`)."""
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
