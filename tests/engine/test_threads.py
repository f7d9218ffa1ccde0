"""CPU threads: every thread has its count before anything is computed, and none is set later."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from render.engine.threads import RowThreads, start_pool, use_threads


@pytest.fixture(autouse=True)
def one_thread_afterwards(one_thread: None) -> object:
    yield
    use_threads(1)


@pytest.fixture
def counts_set(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(thread, count) of every call of torch.set_num_threads."""
    calls: list[tuple[str, int]] = []
    original = torch.set_num_threads

    def noted(count: int) -> None:
        calls.append((threading.current_thread().name, count))
        original(count)

    monkeypatch.setattr(torch, "set_num_threads", noted)
    return calls


@pytest.mark.parametrize("size", [1, 2, 5])
def test_all_threads_of_a_pool_run_from_the_start(size: int, counts_set: list[tuple[str, int]]) -> None:
    with start_pool(size, "some", 3) as pool:
        assert {name for name, _ in counts_set} == {f"some_{number}" for number in range(size)}
        before = len(counts_set)
        assert {pool.submit(torch.get_num_threads).result() for _ in range(20)} == {3}
        assert len(counts_set) == before


@pytest.mark.parametrize(
    ("threads", "rows", "parts", "each"), [(2, 8, 2, 1), (4, 16, 4, 1), (3, 8, 2, 1), (4, 2, 2, 2), (8, 4, 4, 2)]
)
def test_counts_are_set_before_the_first_part_is_computed(
    threads: int, rows: int, parts: int, each: int, counts_set: list[tuple[str, int]]
) -> None:
    """A part may be over before the next begins; its thread would take the next one too, and the other start later."""
    known_at: list[set[str]] = []
    seen: list[tuple[int, int]] = []

    def function(part: Sequence[int]) -> Tensor:
        known_at.append({name for name, _ in counts_set})
        seen.append((len(part), torch.get_num_threads()))
        return torch.tensor(part)

    divided = RowThreads(threads)
    use_threads(threads)
    counts_set.clear()
    assert divided.compute(list(range(rows)), function).tolist() == list(range(rows))
    assert seen == [(rows // parts, each)] * parts
    assert known_at == [{f"rows_{number}" for number in range(parts)}] * parts
    counts_set.clear()
    for _ in range(5):
        divided.compute(list(range(rows)), function)
    assert counts_set == []
    assert torch.get_num_threads() == threads  # of the caller


def test_counts_of_threads_do_not_disturb_each_other() -> None:
    """Torch keeps a count for each thread, MKL's included; a fault here would change bits by the hour of the day."""

    def counts() -> list[str]:
        return [line for line in torch.__config__.parallel_info().splitlines() if "get_max_threads" in line]

    use_threads(2)
    before = counts()
    with start_pool(2, "others", 1) as pool:
        others = [pool.submit(counts).result() for _ in range(4)]
        assert counts() == before
    assert all(line.strip().endswith(": 1") for other in others for line in other)
    assert all(line.strip().endswith(": 2") for line in before)
