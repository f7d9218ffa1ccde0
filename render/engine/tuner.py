"""Choose and measure the batches of one loaded network and decoder on their device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from render.core import RunError
from render.engine.batch import Batch, Batches
from render.engine.denoise import Row
from render.engine.places import safe_batch
from render.engine.tuning import (
    IMAGES,
    MEMORY_SHARE,
    OUT_OF_MEMORY,
    ROWS,
    Instruments,
    Trial,
    best_trial,
    measure_trial,
    run_trials,
    sizes_up_to,
)

__all__ = ["BatchSizes", "CudaInstruments", "Measured", "Tunable", "Tuner"]

DECODE_SHARE = 0.25  # of the device's memory that decoding may take beside the network
ROWS_PER_IMAGE = 6  # at least, of the network for an image decoded at once: few frames in flight end at one time
SAFE_MIN = 0.9  # share of a compiled network's places that should be safe; with fewer, the next best size is tried
COMPILES_MAX = 3  # sizes at which a network is compiled to choose one


@dataclass(frozen=True, slots=True)
class Measured:
    """One batch size as it was measured, for the record."""

    size: int  # inputs of a call
    safe: int  # places that give the same bits
    ms: float  # of one call
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class BatchSizes:
    """Batch sizes chosen for one model and image size, and what they were chosen by."""

    rows: int  # of the network
    decode_rows: int  # of the decoder, in images
    network: tuple[Measured, ...]  # eager, also where the network is compiled afterwards
    decoder: tuple[Measured, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the choice as JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> BatchSizes:
        """Return the choice of `to_dict`. Raises KeyError or TypeError for anything else."""
        network, decoder = (tuple(Measured(**one) for one in fields[name]) for name in ("network", "decoder"))
        return cls(fields["rows"], fields["decode_rows"], network, decoder)


@dataclass(frozen=True, slots=True)
class Tunable:
    """The functions of a renderer that are measured."""

    samples: Callable[[int, int], list[Row]]  # inputs to measure with, for images of (width, height)
    evaluate: Callable[[Sequence[Row]], Tensor]  # returns the network's output [B, C, H, W]
    decode: Callable[[Sequence[Row]], Tensor]  # returns images [B, 3, height, width] of the rows' latents, not rounded
    eager: Callable[[], AbstractContextManager[None]]  # inside it the network is not compiled


class Tuner:
    """Choose and measure batches; each answer is computed once."""

    def __init__(self, target: Tunable, instruments: Instruments | None, compiles: bool) -> None:
        """`instruments` are None where nothing is to be measured."""
        self._target, self._instruments, self._compiles = target, instruments, compiles
        self._batches: dict[tuple[int, int, int, int], Batches] = {}  # by width, height and both sizes
        self.stage = ""  # what is going on, for people; "" when nothing is

    @property
    def measures(self) -> bool:
        """True on devices where sizes and places are measured; on a CPU all places of a batch are alike."""
        return self._instruments is not None

    def choose(self, width: int, height: int, most_rows: int, fixed: bool) -> BatchSizes:
        """Choose the batch sizes for images of a size in pixels.

        The network's batch has at most `most_rows` rows, or exactly as many if `fixed`. The smallest sizes near the best
        throughput are taken that leave room for network and decoder beside each other; the decoder's is small where few
        frames are in flight, since it would be filled with copies. A network that is compiled is
        chosen for uncompiled; then it is compiled at that size, and at the next best one if more than a tenth of its
        places turn out unsafe. Raises what the smallest sizes raise, such as torch.OutOfMemoryError.
        """
        if self._instruments is None:
            return BatchSizes(most_rows, 1, (), ())
        instruments, samples = self._instruments, self._target.samples(width, height)
        with self._doing("measuring batch sizes"), self._target.eager():
            room = MEMORY_SHARE * instruments.room_bytes()
            instruments.begin()
            held = instruments.used_bytes()
            images = self._trials(
                self._target.decode, samples, sizes_up_to(IMAGES, most_rows), held + DECODE_SHARE * room
            )
            decode = best_trial(images)
            sizes = (most_rows,) if fixed else sizes_up_to(ROWS, most_rows)
            trials = self._trials(self._target.evaluate, samples, sizes, room - (decode.peak_bytes - held))
        rows = best_trial(trials).batch.rows
        decode = best_trial([trial for trial in images if trial.batch.rows <= max(1, rows // ROWS_PER_IMAGE)])
        if self._compiles and not fixed:
            rows = self._rows_compiled(width, height, trials, decode.batch.rows)
        instruments.begin()
        return BatchSizes(rows, decode.batch.rows, tuple(map(_measured, trials)), tuple(map(_measured, images)))

    def _trials(
        self, compute: Callable[[Sequence[Row]], Tensor], samples: list[Row], sizes: Sequence[int], most_bytes: float
    ) -> list[Trial]:
        assert self._instruments is not None
        measure = partial(measure_trial, compute, samples, instruments=self._instruments)
        return run_trials(sizes, measure, most_bytes)

    def _rows_compiled(self, width: int, height: int, trials: Sequence[Trial], decode_rows: int) -> int:
        """Return the batch size of the compiled network: of those tried, the one with the most throughput."""
        left, tried = list(trials), dict[int, float]()
        while left and len(tried) < COMPILES_MAX:
            trial = best_trial(left)
            left.remove(trial)
            network = self.batches(width, height, trial.batch.rows, decode_rows).network
            share = network.capacity / network.rows if network.exact else 0.0
            if share >= SAFE_MIN:
                return network.rows
            tried[network.rows] = share * trial.speed
        return max(tried, key=lambda rows: tried[rows])

    def batches(self, width: int, height: int, rows: int, decode_rows: int, known: Batches | None = None) -> Batches:
        """Return the batches of given sizes, with their safe places.

        If the network is compiled, it is compiled for these shapes here. `known` are the batches that were measured before
        on a device of the same name, with the same versions.
        """
        key = width, height, rows, decode_rows
        if key not in self._batches:
            if self._compiles:
                self._compile(width, height, rows, decode_rows)
            self._batches[key] = known or self._measure(*key)
        return self._batches[key]

    def _compile(self, width: int, height: int, rows: int, decode_rows: int) -> None:
        """Make the calls that compile, with the inputs and in the mode of all later ones.

        Raises RunError when compiling fails, since it would fail for every frame.
        """
        sample = self._target.samples(width, height)[0]
        try:
            with self._doing("compiling the network"):
                self._target.evaluate([sample] * rows)
                self._target.decode([sample] * decode_rows)
        except (*OUT_OF_MEMORY, torch.AcceleratorError):
            raise
        except Exception as error:
            first = next(iter(str(error).splitlines()), "")
            raise RunError(
                f"workers.compile: required a network that compiles for {width}x{height} pixels, got "
                f"{type(error).__name__}: {first} (workers.compile=off renders without compiling)"
            ) from error

    def _measure(self, width: int, height: int, rows: int, decode_rows: int) -> Batches:
        if self._instruments is None:
            return Batches(Batch.full(rows), Batch.full(decode_rows))
        samples = self._target.samples(width, height)
        with self._doing("measuring batch places"):
            network = safe_batch(self._target.evaluate, samples, rows)
            return Batches(network, safe_batch(self._target.decode, samples, decode_rows))

    @contextmanager
    def _doing(self, stage: str) -> Iterator[None]:
        before, self.stage = self.stage, stage
        try:
            yield
        finally:
            self.stage = before


def _measured(trial: Trial) -> Measured:
    return Measured(trial.batch.rows, trial.batch.capacity, round(trial.seconds * 1e3, 3), trial.peak_bytes)


class CudaInstruments:
    """See `render.engine.tuning.Instruments`. Memory counts as torch's allocator reserves it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def clock_s(self) -> float:
        torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def begin(self) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)

    def used_bytes(self) -> int:
        return torch.cuda.memory_reserved(self._device)

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_reserved(self._device)

    def room_bytes(self) -> int:
        free, _ = torch.cuda.mem_get_info(self._device)
        return free + torch.cuda.memory_reserved(self._device)
