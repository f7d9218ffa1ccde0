"""Conditionings of several windows of tokens: made equally long, and kept apart in batches."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from render.models import Conditioning

__all__ = ["equal_lengths", "group_by_shape"]

REPEATS_MAX = 16  # times that the longest of several prompts is repeated at most


def equal_lengths(conditionings: Sequence[Conditioning]) -> list[Conditioning]:
    """Return conditionings with equally many tokens, `[tokens, dim]`: each repeats its own up to a common multiple.

    Cross-attention to all tokens twice is cross-attention to them once, so a prompt keeps its picture when it is made
    longer: a walk from one window to two does not jump at its keyframes, as it would with windows of padding.
    """
    found = list(conditionings)
    for name in found[0] if found else ():
        lengths = [len(one[name]) if one[name].dim() > 1 else 1 for one in found]
        if len(set(lengths)) > 1:
            whole = math.lcm(*lengths)
            if whole > REPEATS_MAX * max(lengths):  # of many prompts without a common measure the last repeat is cut
                whole = max(lengths)
            found = [one | {name: _repeat(one[name], whole)} for one in found]
    return found


def _repeat(tensor: Tensor, length: int) -> Tensor:
    return tensor[torch.arange(length, device=tensor.device) % len(tensor)]


def group_by_shape(conditionings: Iterable[Conditioning]) -> list[list[int]]:
    """Return the positions of conditionings that can be stacked, group by group, in the order of their first ones."""
    groups: defaultdict[tuple[torch.Size, ...], list[int]] = defaultdict(list)
    for position, conditioning in enumerate(conditionings):
        groups[tuple(tensor.shape for tensor in conditioning.values())].append(position)
    return list(groups.values())
