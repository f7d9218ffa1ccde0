"""CPU threads: how many torch has where, and the rows of a batch among them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["RowThreads", "use_threads"]

Row = TypeVar("Row")


def use_threads(count: int) -> None:
    """Give torch so many threads in the calling thread, whatever it is given in others."""
    torch.set_num_threads(count)
    torch.get_num_threads()  # a thread's first use takes the number that was set last, in whichever thread
    torch.set_num_threads(count)


class RowThreads:
    """Computes a batch in equal parts, each on a thread of its own.

    torch divides an operation among threads wherever it likes, the middle of a row included, so that the last bits of a
    row depend on its place in the batch. Hence several rows are computed by one thread; a row alone may have several.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool, self._split = ThreadPoolExecutor(1), (0, 0)  # parts, threads of each

    def compute(self, rows: Sequence[Row], function: Callable[[Sequence[Row]], Tensor]) -> Tensor:
        """`function` of the rows, [N, …], where it gives [n, …] of any n of them."""
        parts = math.gcd(len(rows), 1 << (self._threads.bit_length() - 1))
        size = len(rows) // parts
        each = self._threads // parts if size == 1 else 1
        if each == self._threads:
            return function(rows)
        if (parts, each) != self._split:
            self._pool.shutdown()
            self._pool, self._split = ThreadPoolExecutor(parts, "rows", use_threads, (each,)), (parts, each)
        return torch.cat(list(self._pool.map(function, [rows[n : n + size] for n in range(0, len(rows), size)])))
