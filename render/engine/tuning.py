"""Choose batch sizes by measurement. This is the policy; the network, the clock and the memory are handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from render.engine.batch import Batch
from render.engine.places import safe_batch

__all__ = [
    "IMAGES",
    "MEMORY_SHARE",
    "OUT_OF_MEMORY",
    "ROWS",
    "Instruments",
    "Trial",
    "best_trial",
    "measure_trial",
    "run_trials",
    "sizes_up_to",
]

ROWS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)  # batch sizes of the network that are tried
IMAGES = (1, 2, 4, 8)  # batch sizes of the decoder that are tried
NEAR_BEST = 0.97  # of the best throughput: the smallest batch above it is chosen, since it takes less memory
FLAT_GAIN = 1.01  # of throughput; two sizes in a row with less end the trials
MEMORY_SHARE = 0.92  # of the device's memory that network and decoder may take together
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)

Item = TypeVar("Item")


class Instruments(Protocol):
    """Clock and memory of a device."""

    def clock_s(self) -> float:
        """Wait until the device has done all that was queued, and return the time."""

    def begin(self) -> None:
        """Free what is cached, and forget the peak of memory."""

    def used_bytes(self) -> int:
        """Return the memory that this process holds on the device."""

    def peak_bytes(self) -> int:
        """Return the most memory that this process held since `begin`."""

    def room_bytes(self) -> int:
        """Return the memory that this process holds or could still get."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One batch size as it was measured."""

    batch: Batch
    seconds: float  # of one call
    peak_bytes: int  # of the device's memory, weights included

    @property
    def throughput(self) -> float:
        """Inputs a second at the safe places."""
        return self.batch.capacity / self.seconds

    @property
    def speed(self) -> float:
        """Inputs a second at all places."""
        return self.batch.rows / self.seconds


def sizes_up_to(sizes: Sequence[int], most: int) -> tuple[int, ...]:
    """Return the sizes up to `most`, at least 1.

    >>> sizes_up_to(IMAGES, 5)
    (1, 2, 4)
    """
    return tuple(size for size in sizes if size <= most)


def measure_trial(
    compute: Callable[[list[Item]], Tensor], samples: Sequence[Item], rows: int, instruments: Instruments
) -> Trial:
    """Measure time, memory and safe places at one batch size, in one call to warm up and one for each sample."""
    spent: list[float] = []

    def timed(items: list[Item]) -> Tensor:
        began = instruments.clock_s()
        outputs = compute(items)
        spent.append(instruments.clock_s() - began)
        return outputs

    instruments.begin()
    compute([samples[0]] * rows)
    batch = safe_batch(timed, samples, rows)
    return Trial(batch, median(spent), instruments.peak_bytes())


def run_trials(sizes: Sequence[int], measure: Callable[[int], Trial], most_bytes: float) -> list[Trial]:
    """Measure rising sizes until throughput stops rising or memory ends; return those that fit into `most_bytes`.

    The smallest size is returned in any case. What ends the list: out of memory, another error at a size above the
    smallest (libraries have limits of their own), and two sizes in a row that are no faster, once the safe places alone
    come near the best speed. Raises what the smallest size raises.
    """
    trials: list[Trial] = []
    for size in sizes:
        try:
            trial = measure(size)
        except torch.AcceleratorError:  # the process can't use the device any more
            raise
        except (RuntimeError, MemoryError):
            if not trials:
                raise
            break
        if trials and trial.peak_bytes > most_bytes:
            break
        trials.append(trial)
        if _flat(trials):
            break
    return trials


def _flat(trials: Sequence[Trial]) -> bool:
    """Return True when larger sizes bring nothing: the last two were no faster, and enough places are safe."""
    if len(trials) < 3:
        return False
    before = max(trial.speed for trial in trials[:-2])
    after = max(trial.speed for trial in trials[-2:])
    return after < FLAT_GAIN * before and max(t.throughput for t in trials) >= NEAR_BEST * max(before, after)


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the smallest size whose throughput is within 3 % of the best; trials rise in size."""
    best = max(trial.throughput for trial in trials)
    return next(trial for trial in trials if trial.throughput >= NEAR_BEST * best)
