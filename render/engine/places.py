"""Measure which places of a batch give the same bits.

A row's output should not depend on its place in the batch, and on a CPU it does not (`engine.threads`). On a GPU a
library may compute some places in another order: cuDNN does so in the last tiles of some convolutions, at some batch
sizes. What differs is a property of the network, its input's shape and dtype, the card and the versions of the
libraries, so it is measured, in the real shape.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from render.engine.batch import Batch

__all__ = ["equal_places", "safe_batch"]

Item = TypeVar("Item")


def safe_batch(compute: Callable[[list[Item]], Tensor], samples: Sequence[Item], rows: int) -> Batch:
    """Return the batch of `rows` inputs whose places give the same bits, measured by one call for each sample.

    `compute` takes `rows` inputs and returns `[rows, …]`. A call gets copies of one sample only, so that places with other
    output bits compute in another order. The largest group of places that agree on all samples is safe; of groups of one
    size, the one with the lowest place. If it holds less than half of the places, all are used and the batch is not exact.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place, found in enumerate(zip(*(equal_places(compute([sample] * rows)) for sample in samples), strict=True)):
        groups[found].append(place)
    safe = max(groups.values(), key=len)  # the first of the largest: groups are in the order of their lowest places
    return Batch(rows, tuple(safe)) if 2 * len(safe) >= rows else Batch(rows, tuple(range(rows)), exact=False)


def equal_places(outputs: Tensor) -> list[int]:
    """Return for each place of outputs `[rows, …]` the lowest place with the same bits. NaN equals itself here.

    >>> equal_places(torch.tensor([[1.0, 2.0], [1.0, 2.5], [1.0, 2.0]]))
    [0, 1, 0]
    """
    bits = outputs.contiguous().flatten(1).view(torch.uint8)
    lowest = list(range(len(bits)))
    left = lowest[:]
    while left:
        first, *others = left
        same = (bits[others] == bits[first]).all(1).tolist()
        for place in (place for place, equal in zip(others, same, strict=True) if equal):
            lowest[place] = first
        left = [place for place, equal in zip(others, same, strict=True) if not equal]
    return lowest
