"""CPU threads: set torch's thread count, and divide the rows of a batch among threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["RowThreads", "start_pool", "use_threads"]

Item = TypeVar("Item")


def use_threads(count: int) -> None:
    """Set torch's number of CPU threads for the calling thread; other threads keep theirs."""
    torch.set_num_threads(count)
    torch.get_num_threads()  # a thread's first use of torch takes the number set last, by whichever thread
    torch.set_num_threads(count)


def start_pool(size: int, name: str, threads: int) -> ThreadPoolExecutor:
    """Return a pool whose threads all run and have their number of CPU threads set.

    `ThreadPoolExecutor` alone starts a thread when it is first needed, so that torch's counts would be set while other
    threads compute. Some of what `torch.set_num_threads` sets belongs to the process.
    """
    pool, met = ThreadPoolExecutor(size, name, use_threads, (threads,)), Barrier(size)
    for _ in pool.map(lambda _: met.wait(), range(size)):  # each thread waits for the last one
        pass
    return pool


class RowThreads:
    """Compute a batch in equal parts, each on a thread of its own.

    torch may divide an operation among threads in the middle of a row, so that the last bits of a row depend on its place
    in the batch. Therefore a part of several rows is computed by one thread; only a part of one row may use several.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._split = (0, 0)  # parts, threads of each part

    def compute(self, rows: Sequence[Item], function: Callable[[Sequence[Item]], Tensor]) -> Tensor:
        """Return `function(rows)`, `[N, …]`, put together from calls with fewer rows: n rows give `[n, …]`."""
        parts = math.gcd(len(rows), 1 << (self._threads.bit_length() - 1))
        size = len(rows) // parts
        threads = self._threads // parts if size == 1 else 1
        if threads == self._threads:
            return function(rows)
        if self._pool is None or (parts, threads) != self._split:
            if self._pool is not None:
                self._pool.shutdown()
            self._pool, self._split = start_pool(parts, "rows", threads), (parts, threads)
        return torch.cat(list(self._pool.map(function, [rows[n : n + size] for n in range(0, len(rows), size)])))
