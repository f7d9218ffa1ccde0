"""Places of a batch: what is filled, what is a copy, what comes back."""

from __future__ import annotations

from random import Random

import pytest

from render.engine.batch import Batch


def test_items_lie_at_the_places_and_copies_elsewhere() -> None:
    batch = Batch(6, (1, 2, 5))
    assert batch.fill("ab") == ["b", "a", "b", "b", "b", "b"]
    assert batch.fill("abc") == ["c", "a", "b", "c", "c", "c"]
    assert batch.take([10, 11, 12, 13, 14, 15], 2) == [11, 12]


def test_outputs_come_back_in_the_order_of_the_items() -> None:
    random = Random(1)
    for _ in range(100):
        rows = random.randint(1, 20)
        batch = Batch(rows, tuple(sorted(random.sample(range(rows), random.randint(1, rows)))))
        items = [random.random() for _ in range(random.randint(1, batch.capacity))]
        filled = batch.fill(items)
        assert len(filled) == rows
        assert set(filled) == set(items)
        assert batch.take(filled, len(items)) == items


def test_a_full_batch_is_filled_from_the_front() -> None:
    """With copies of the last item behind: what every batch was before places were measured."""
    assert Batch.full(4).fill([7, 8]) == [7, 8, 8, 8]
    assert Batch.full(4).exact
    assert Batch.full(4).capacity == 4


@pytest.mark.parametrize("count", [0, 3])
def test_too_many_items_or_none_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=rf"batch: required 1 … 2 inputs, got {count}"):
        Batch(4, (0, 3)).fill([0] * count)


@pytest.mark.parametrize("places", [(), (1, 0), (0, 0), (-1, 0), (0, 4)])
def test_places_that_are_none_are_refused(places: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="places: required rising numbers of 0 … 3"):
        Batch(4, places)
