"""Lanes with a renderer whose frames and batches break to order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from render.cluster.lane import FATAL, TRIES, Lane
from render.core.blend import Prompt, Seed
from render.core.recipe import Recipe
from render.engine.batch import Batch
from render.engine.denoise import FrameGenerator, Row
from render.store.shard import Failure


def recipe(seed: int) -> Recipe:
    """Steps and guidance follow from the seed, so that frames of all lengths meet."""
    return Recipe(Prompt(""), Prompt(""), Seed(seed), 8, 8, seed % 4 + 1, 1.0 + seed % 2, "ddim", "m")


@dataclass
class Fake:
    """A renderer of one number a frame; `breaks` lists seeds whose frame raises, `poison` those whose batch does."""

    rows: int
    breaks: frozenset[int] = frozenset()
    poison: frozenset[int] = frozenset()
    flaky: set[int] = field(default_factory=set)  # seeds whose frame raises at its first try only
    error: type[Exception] = RuntimeError
    starts: Counter[int] = field(default_factory=Counter)

    def forget(self) -> None:
        """It shares nothing."""

    def start(self, recipe: Recipe) -> FrameGenerator:
        return self._frame(recipe)

    def _frame(self, recipe: Recipe) -> Generator[list[Row], list[Tensor], Tensor]:
        assert isinstance(recipe.noise, Seed)
        seed = recipe.noise.value
        self.starts[seed] += 1
        x = torch.tensor([float(seed)])
        for step in range(recipe.steps):
            if step == recipe.steps - 1 and seed in self.breaks:
                raise self.error(f"frame {seed}")
            if seed in self.flaky:
                self.flaky.remove(seed)
                raise self.error(f"flaky {seed}")
            outputs = yield [Row(x, torch.tensor(seed), {})] * (2 if recipe.guided else 1)
            x = torch.stack(outputs).sum(0)
        return x

    def run(self, rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        assert 0 < len(rows) <= batch.capacity == self.rows
        if bad := self.poison & {int(row.timestep) for row in rows}:
            raise self.error(f"batch with {sorted(bad)}")
        return [torch.sin(row.latents) * 3 for row in rows]


def run(fake: Fake, seeds: Sequence[int], pauses: int = 0) -> dict[int, Tensor | Failure]:
    """Everything the lane yields; fails where a frame comes twice. Every `pauses`-th take has nothing for now."""
    waiting, takes = list(seeds), 0

    def take(wait: bool) -> tuple[int, Recipe] | None:
        nonlocal takes
        takes += 1
        if not wait and pauses and takes % pauses == 0:
            return None
        return (seed := waiting.pop(0), recipe(seed)) if waiting else None

    results: dict[int, Tensor | Failure] = {}
    for seed, result in Lane(fake, Batch.full(fake.rows), take).run():
        assert seed not in results
        results[seed] = result
    assert not waiting
    return results


def same(result: Tensor | Failure, other: Tensor | Failure) -> bool:
    return isinstance(result, Tensor) and isinstance(other, Tensor) and torch.equal(result, other)


def test_undisturbed_frames_start_once() -> None:
    fake = Fake(rows=3)
    assert set(run(fake, range(10))) == set(range(10))
    assert set(fake.starts.values()) == {1}


def test_a_frame_that_raises_fails_after_its_tries() -> None:
    calm, fake = run(Fake(rows=3), range(8)), Fake(rows=3, breaks=frozenset({2}))
    results = run(fake, range(8))
    failure = results.pop(2)
    assert isinstance(failure, Failure)
    assert "RuntimeError: frame 2" in str(failure)
    assert "Traceback" in str(failure)
    assert fake.starts[2] == TRIES
    assert all(same(result, calm[seed]) for seed, result in results.items())
    assert all(fake.starts[seed] == 1 for seed in results)  # nobody else pays


def test_a_frame_that_recovers_is_no_failure() -> None:
    calm, results = run(Fake(rows=3), range(8)), run(Fake(rows=3, flaky={5}), range(8))
    assert all(same(result, calm[seed]) for seed, result in results.items())


def test_only_the_poison_of_a_batch_fails() -> None:
    calm, fake = run(Fake(rows=5), range(9)), Fake(rows=5, poison=frozenset({4}))
    results = run(fake, range(9))
    failure = results.pop(4)
    assert isinstance(failure, Failure)
    assert "batch with [4]" in str(failure)
    assert len(results) == 8
    assert all(same(result, calm[seed]) for seed, result in results.items())


SEEDS = st.frozensets(st.integers(0, 14))


@settings(deadline=None, max_examples=150)
@given(
    count=st.integers(0, 15), rows=st.integers(1, 6), breaks=SEEDS, poison=SEEDS, flaky=SEEDS, pauses=st.integers(0, 3)
)
def test_nothing_is_lost_or_twice(
    count: int, rows: int, breaks: frozenset[int], poison: frozenset[int], flaky: frozenset[int], pauses: int
) -> None:
    seeds = range(count)
    calm = run(Fake(rows), seeds)
    results = run(Fake(rows, breaks, poison, set(flaky)), seeds, pauses)
    assert set(results) == set(seeds)
    for seed, result in results.items():
        if seed in breaks | poison:
            assert isinstance(result, Failure)
        else:
            assert same(result, calm[seed])


@pytest.mark.parametrize("kind", ["breaks", "poison"])
@pytest.mark.parametrize("error", FATAL)
def test_fatal_errors_propagate(error: type[Exception], kind: str) -> None:
    """Out of memory and a broken device are no frame's fault."""
    with pytest.raises(error):
        run(Fake(rows=3, error=error, **{kind: frozenset({3})}), range(6))  # type: ignore[arg-type]


def test_a_source_that_raises_ends_the_lane() -> None:
    """What `take` raises is nobody's frame; it comes out once those in flight are done."""
    seeds = iter([0, 1])

    def take(wait: bool) -> tuple[int, Recipe] | None:
        seed = next(seeds, None)
        if seed is None:
            raise OSError("source")
        return seed, recipe(seed)

    results: list[int] = []

    def drain() -> None:
        results.extend(seed for seed, _ in Lane(Fake(rows=3), Batch.full(3), take).run())

    with pytest.raises(OSError, match="source"):
        drain()
