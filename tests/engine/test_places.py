"""Safe places of a batch, measured on networks with planted unsafe ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from render.engine.batch import Batch
from render.engine.places import equal_places, safe_batch

SAMPLES = (0.3, 1.7, -2.9)


def network(*groups: tuple[int, ...], only_above: float = -10.0) -> Callable[[list[float]], Tensor]:
    """A network `[rows, 5]` whose places in group n > 0 err in the last bit, each group by another number of bits."""

    def compute(rows: list[float]) -> Tensor:
        outputs = torch.sin(torch.tensor(rows))[:, None] + torch.linspace(0.1, 1.0, 5)
        for number, group in enumerate(groups, 1):
            for place in group:
                if rows[place] > only_above:
                    outputs.view(torch.int32)[place, 2] += number
        return outputs

    return compute


@pytest.mark.parametrize(
    ("rows", "groups", "safe", "exact"),
    [
        (1, (), (0,), True),
        (8, (), range(8), True),
        (8, ((7,),), range(7), True),  # the last tile: SDXL on an H200
        (32, (range(24, 32),), range(24), True),  # SD 1.5 on an H200
        (4, ((2, 3),), (0, 1), True),  # two groups of half the batch: the one with the lowest place
        (4, ((0, 3),), (0, 3), True),  # … which need not be the usual order
        (8, ((0, 1), (2, 3)), (4, 5, 6, 7), True),
        (9, ((0, 1, 2), (3, 4, 5)), range(9), False),  # three groups of a third: less than half
        (16, tuple((n,) for n in range(2, 16)), range(16), False),  # 14 of 15 others: SD 1.5 at 16 on an H200
    ],
)
def test_the_largest_group_is_safe(
    rows: int, groups: tuple[tuple[int, ...], ...], safe: range | tuple[int, ...], exact: bool
) -> None:
    assert safe_batch(network(*groups), SAMPLES, rows) == Batch(rows, tuple(safe), exact)


def test_a_place_that_errs_on_one_sample_only_is_not_safe() -> None:
    assert safe_batch(network((5,), only_above=1.0), SAMPLES, 8).places == (0, 1, 2, 3, 4, 6, 7)


def test_one_call_a_sample_at_the_real_size() -> None:
    calls: list[list[float]] = []
    compute = network((3,))
    safe_batch(lambda rows: (calls.append(rows), compute(rows))[1], SAMPLES, 8)  # type: ignore[func-returns-value]
    assert calls == [[sample] * 8 for sample in SAMPLES]


def test_bits_are_compared_not_values() -> None:
    """-0 equals 0, NaN does not equal NaN; of bits the opposite is true."""
    zeros = torch.tensor([[0.0], [-0.0], [0.0], [float("nan")], [float("nan")]])
    assert equal_places(zeros) == [0, 1, 0, 3, 3]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_images_of_any_dtype_and_layout_are_compared(dtype: torch.dtype) -> None:
    images = torch.arange(3 * 2 * 4 * 4).reshape(1, 3, 8, 4).repeat(4, 1, 1, 1).to(dtype)
    images[2, 1, 3, 1] += 8
    assert equal_places(images.to(memory_format=torch.channels_last)) == [0, 0, 2, 0]
