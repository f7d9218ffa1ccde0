"""Conditionings of several windows of tokens: made equally long, and kept apart in batches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from render.engine.denoise import Row
from render.models import Conditioning

__all__ = ["equal_lengths", "run_by_shape"]

REPEATS_MAX = 16  # times that the longest of several prompts is repeated at most


def equal_lengths(conditionings: Sequence[Conditioning]) -> list[Conditioning]:
    """Return conditionings with equally many tokens, `[tokens, dim]`: each repeats its own up to a common multiple.

    Cross-attention to all tokens twice is cross-attention to them once, so a prompt keeps its picture when it is made
    longer: a walk from one window to two does not jump at its keyframes, as it would with windows of padding. An empty
    conditioning, of a frame without guidance, stays empty.
    """
    found = list(conditionings)
    for name in found[0]:
        lengths = {len(one[name]) for one in found if name in one and one[name].dim() > 1}
        if len(lengths) > 1:
            whole = math.lcm(*lengths)
            if whole > REPEATS_MAX * max(lengths):  # of many prompts without a common measure the last repeat is cut
                whole = max(lengths)
            found = [one | {name: _repeat(one[name], whole)} if name in one else one for one in found]
    return found


def _repeat(tensor: Tensor, length: int) -> Tensor:
    return tensor[torch.arange(length, device=tensor.device) % len(tensor)]


def run_by_shape(rows: Sequence[Row], run: Callable[[list[Row]], list[Tensor]]) -> list[Tensor]:
    """Return what `run` returns for each row, in their order; rows of one shape of conditioning are run together."""
    groups: defaultdict[tuple[torch.Size, ...], list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[tuple(tensor.shape for tensor in row.conditioning.values())].append(number)
    outputs: dict[int, Tensor] = {}
    for numbers in groups.values():
        outputs |= zip(numbers, run([rows[number] for number in numbers]), strict=True)
    return [outputs[number] for number in range(len(rows))]
