"""The policy of batch sizes, with networks, clocks and memories that are made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from instruments import FakeInstruments
from torch import Tensor

from render.engine.batch import Batch
from render.engine.tuning import IMAGES, ROWS, Trial, best_trial, measure_trial, run_trials, sizes_up_to


def trial(rows: int, ms: float, safe: int | None = None, peak: int = 0) -> Trial:
    return Trial(Batch(rows, tuple(range(rows if safe is None else safe))), ms / 1e3, peak)


def from_table(trials: list[Trial]) -> Callable[[int], Trial]:
    """A measurement that knows its results. Sizes that are not in the table have no room."""
    table = {one.batch.rows: one for one in trials}

    def measure(rows: int) -> Trial:
        if rows not in table:
            raise torch.OutOfMemoryError
        return table[rows]

    return measure


def sizes_of(trials: list[Trial]) -> list[int]:
    return [one.batch.rows for one in trials]


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial(1, 10), trial(2, 10), trial(4, 10)], 4),
        ([trial(1, 10), trial(2, 19.5), trial(4, 38.9)], 1),  # 2.8 % less than the best, and less memory
        ([trial(1, 10), trial(2, 19), trial(4, 37)], 2),
        ([trial(32, 102, safe=24), trial(48, 151), trial(64, 201, safe=56)], 48),  # SD 1.5 on an H200
        ([trial(8, 142, safe=7), trial(12, 212), trial(16, 283, safe=15)], 12),  # SDXL there
        ([trial(1, 174), trial(2, 348), trial(3, 522)], 1),  # FLUX.1 there
    ],
)
def test_the_smallest_size_near_the_best(trials: list[Trial], best: int) -> None:
    assert best_trial(trials).batch.rows == best


@pytest.mark.parametrize(
    ("trials", "most_bytes", "tried"),
    [
        ([trial(n, 10) for n in (1, 2, 3)], 0, [1, 2, 3]),  # out of memory at the next one ends the list
        ([trial(n, 10, peak=100 * n) for n in ROWS], 450, [1, 2, 3, 4]),
        ([trial(n, 10, peak=100) for n in ROWS], 50, [1]),  # the smallest, whatever it takes
        ([trial(n, 10 * n) for n in ROWS], 0, [1, 2, 3]),  # two sizes in a row that are no faster
        ([trial(n, 5 + 5 * n, safe=1) for n in ROWS], 0, list(ROWS)),  # most places unsafe: others may not be
        ([trial(n, 10 * n, safe=n - (4 < n < 24)) for n in ROWS], 0, [1, 2, 3]),
    ],
)
def test_trials_end(trials: list[Trial], most_bytes: float, tried: list[int]) -> None:
    assert sizes_of(run_trials(ROWS, from_table(trials), most_bytes or 1e9)) == tried


def test_unsafe_places_keep_the_search_going_past_a_flat_speed() -> None:
    """Speed is flat from 16 rows on, but only 48 have no unsafe place."""
    speeds = [trial(n, 10 if n < 16 else n * 10 / 16, safe=1 if n < 48 else n) for n in ROWS]
    found = run_trials(ROWS, from_table(speeds), 1e9)
    assert sizes_of(found)[-1] == 48
    assert best_trial(found).batch.rows == 48


def test_what_the_smallest_size_raises_is_raised() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        run_trials(ROWS, from_table([]), 1e9)


@pytest.mark.parametrize(("error", "ends"), [(RuntimeError, True), (torch.AcceleratorError, False)])
def test_a_library_s_limit_ends_the_list_and_a_broken_device_the_worker(error: type[Exception], ends: bool) -> None:
    def measure(rows: int) -> Trial:
        if rows > 2:
            raise error("too large")
        return trial(rows, 10)

    if ends:
        assert sizes_of(run_trials(ROWS, measure, 1e9)) == [1, 2]
    else:
        with pytest.raises(error):
            run_trials(ROWS, measure, 1e9)


def test_time_memory_and_places_are_measured_in_the_same_calls() -> None:
    instruments, calls = FakeInstruments(held=10), list[int]()

    def compute(items: list[float]) -> Tensor:
        calls.append(len(items))
        instruments.spend(5.0 if len(calls) == 1 else 0.25 * len(calls), extra=7)  # the first call is slow to warm up
        outputs = torch.tensor(items)[:, None].repeat(1, 3)
        outputs[1] += 1
        return outputs

    found = measure_trial(compute, [1.0, 2.0, 3.0], 4, instruments)
    assert calls == [4] * 4
    assert found == Trial(Batch(4, (0, 2, 3)), 0.75, 17)
    assert found.throughput == pytest.approx(4.0)
    assert found.speed == pytest.approx(4 / 0.75)


@pytest.mark.parametrize(("most", "sizes"), [(1, (1,)), (5, (1, 2, 4)), (8, (1, 2, 4, 8)), (1000, (1, 2, 4, 8))])
def test_no_size_above_what_the_job_can_fill(most: int, sizes: tuple[int, ...]) -> None:
    assert sizes_up_to(IMAGES, most) == sizes
