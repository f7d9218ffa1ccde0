"""Encode prompts with weights, and prompts that are longer than the CLIP encoders read.

The rules are those of AUTOMATIC1111's web UI (`sd_hijack_clip.py`; `sd_emphasis.py`, "Original"), computed around the
pipeline's own `encode_prompt`. The libraries that read weights, such as compel, follow other rules: there `(word:1.3)` is
text, and weights move an embedding away from that of the empty prompt.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from render.core import WeightedText, parse_weights
from render.models.families.parts import text_encoders

if TYPE_CHECKING:
    from torch import Tensor

    from render.models.families import Conditioning, Family

__all__ = ["encode_prompt"]

COMMA, BACKTRACK = ",</w>", 20  # a window ends behind the last comma if it is among its last 20 tokens
Window: TypeAlias = list[tuple[int, float]]  # (token, weight), without the marks of start and end


def encode_prompt(family: Family, prompt: str, negative: bool, syntax: str) -> Conditioning:
    """Return the conditioning of one prompt, read in one of SYNTAXES, on the device."""
    return encode_weighted(family, prompt, negative) if syntax == "weighted" else family.encode(prompt, negative)


def encode_weighted(family: Family, prompt: str, negative: bool) -> Conditioning:
    """Return the conditioning of a weighted prompt, `[windows · tokens, dim]`; pooled vectors are the first window's.

    Each window is encoded as a prompt of its own. Its hidden states are multiplied by the weights of their tokens, and
    those of each encoder are scaled so that their mean stays. A prompt without weights that fits into one window is
    encoded as it would be without weighting. `family` has CLIP encoders alone (`Facts.weighted`).
    """
    import torch

    parts = parse_weights(prompt)
    tokenizers = {
        name: part for name, part in family.pipeline.components.items() if name.startswith("tokenizer") and part
    }
    windows = {name: split_windows(tokenizer, parts) for name, tokenizer in tokenizers.items()}
    first = next(iter(windows.values()))
    if len(first) == 1 and all(weight == 1.0 for _, weight in parts):
        return family.encode("".join(text for text, _ in parts), negative)
    found: list[Conditioning] = []
    for number, window in enumerate(first):
        pipeline = copy(family.pipeline)
        for name, tokenizer in tokenizers.items():
            vars(pipeline)[name] = WindowTokenizer(tokenizer, [token for token, _ in windows[name][number]])
        encoded = replace(cast(Any, family), pipeline=pipeline).encode(prompt, negative)
        sizes = [encoder.config.hidden_size for encoder in text_encoders(pipeline)]
        found.append(encoded | {"embeddings": weigh(encoded["embeddings"], window, sizes)})
    return found[0] | {"embeddings": torch.cat([one["embeddings"] for one in found])}


def split_windows(tokenizer: Any, parts: WeightedText) -> list[Window]:
    """Return a prompt's tokens in windows of as many as the encoder reads, one at least. Parts are tokenized one by one."""
    tokens = [
        (token, weight)
        for text, weight in parts
        for token in tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    ]
    room, comma = tokenizer.model_max_length - 2, tokenizer.get_vocab().get(COMMA)
    windows = []
    while len(tokens) > room:
        ends = range(room, room - BACKTRACK, -1) if tokens[room][0] != comma else ()
        end = next((end for end in ends if tokens[end - 1][0] == comma), room)
        windows.append(tokens[:end])
        tokens = tokens[end:]
    return [*windows, tokens]


def weigh(embeddings: Tensor, window: Window, sizes: list[int]) -> Tensor:
    """Return hidden states `[tokens, dim]` times the weights of a window's tokens, in float32 and cast back.

    `sizes` are the numbers of dimensions that each encoder has of `dim`. Each keeps the mean of its hidden states.
    """
    import torch

    if all(weight == 1.0 for _, weight in window):
        return embeddings
    weights = torch.ones(len(embeddings), 1)
    weights[1 : 1 + len(window), 0] = torch.tensor([weight for _, weight in window])
    weights = weights.to(embeddings.device)
    own = torch.split(embeddings.float(), sizes, -1)
    return torch.cat([_restore_mean(one, one * weights) for one in own], -1).to(embeddings.dtype)


def _restore_mean(before: Tensor, after: Tensor) -> Tensor:
    mean = after.mean()
    return after * (before.mean() / mean) if mean != 0 else after


@dataclass(frozen=True)
class WindowTokenizer:
    """Stand-in for a pipeline's tokenizer that gives the tokens of one window, whatever the text."""

    tokenizer: Any
    tokens: list[int]

    def __call__(self, *_: Any, **__: Any) -> Any:
        import torch

        own = self.tokenizer
        ids = [own.bos_token_id, *self.tokens, own.eos_token_id]
        padding = own.model_max_length - len(ids)
        mask = [1] * len(ids) + [0] * padding
        return SimpleNamespace(
            input_ids=torch.tensor([ids + [own.pad_token_id] * padding]), attention_mask=torch.tensor([mask])
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)
