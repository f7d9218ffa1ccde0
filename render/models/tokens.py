"""Token limits: the words of a prompt that a text encoder cuts off. Without transformers, which would load torch."""

from __future__ import annotations

import json
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
    by_word: bool = False  # a text has the tokens of its words, which spaces separate

    def lost_words(self, prompts: Iterable[str]) -> dict[str, str]:
        """Return prompt → the words that the encoder cuts off, for prompts over the limit only."""
        # A token is at least one byte, so shorter prompts need not be tokenized.
        long = [prompt for prompt in prompts if len(prompt.encode()) > self.max_tokens]
        over = [prompt for prompt, count in zip(long, self._counts(long), strict=True) if count > self.max_tokens]
        return {prompt: self._rest(prompt) for prompt in over}

    def _counts(self, prompts: list[str]) -> list[int]:
        """Return the number of tokens of each prompt; where that can be, every distinct word is tokenized once."""
        if not self.by_word:
            return [len(tokens) for tokens in self.tokenizer.encode_batch_fast(prompts, add_special_tokens=False)]
        split = [prompt.split(" ") for prompt in prompts]
        words = list({word for parts in split for word in parts})
        encoded = self.tokenizer.encode_batch_fast(words, add_special_tokens=False)
        count = {word: len(tokens) for word, tokens in zip(words, encoded, strict=True)}
        return [sum(map(count.__getitem__, parts)) for parts in split]

    def _rest(self, prompt: str) -> str:
        offsets = self.tokenizer.encode(prompt, add_special_tokens=False).offsets
        cut = prompt.rfind(" ", 0, offsets[self.max_tokens][0]) + 1  # a word that is cut in two counts as lost
        return prompt[cut:].strip()


def read_token_limit(folder: Path, max_tokens: int) -> TokenLimit | None:
    """Return the limit with the tokenizer of a folder; None if its files are in a format that is not read here."""
    tokenizer = _tokenizer(folder)
    return tokenizer and TokenLimit(tokenizer, max_tokens, _is_by_word(tokenizer))


def _is_by_word(tokenizer: Tokenizer) -> bool:
    """Return True for a byte-level BPE such as CLIP's, none of whose tokens reaches across a space."""
    parts = json.loads(tokenizer.to_str())
    normalizer, splits = parts["normalizer"] or {}, parts["pre_tokenizer"] or {}
    changes = {change["type"] for change in normalizer.get("normalizers", [normalizer]) if change}
    first = splits.get("pretokenizers", [splits])[0]
    pattern = (first.get("pattern") or {}).get("Regex", "")
    removed = first.get("type") == "Split" and first.get("invert") and first.get("behavior") == "Removed"
    whole = removed and pattern.endswith(r"[^\s\p{L}\p{N}]+") and " " not in pattern
    return bool(whole and parts["model"]["type"] == "BPE" and changes <= {"NFC", "Replace", "Lowercase"})


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
