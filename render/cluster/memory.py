"""Try again with smaller batches where a device's memory ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import torch

from render.cluster.lane import OUT_OF_MEMORY
from render.core import Unit

__all__ = ["half_rows", "where_memory_lasts"]

Found = TypeVar("Found")


def where_memory_lasts(call: Callable[[int], Found], rows: int, unit: Unit) -> Found:
    """Return `call(rows)`, or that of half as many as often as it runs out of memory. Raises MemoryError at 1."""
    while True:
        with suppress(*OUT_OF_MEMORY):
            return call(rows)
        rows = half_rows(rows, unit)
        torch.cuda.empty_cache()


def half_rows(batch_rows: int, unit: Unit) -> int:
    """Return half a batch size. Raises MemoryError if it was 1."""
    if batch_rows < 2:
        model, width, height = unit.group
        raise MemoryError(f"out of memory at batch size 1: network input of {width}x{height} pixels, model {model!r}")
    return batch_rows // 2
