"""lerp, slerp and blends on tensors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from render.core.blend import INTERPOLATIONS, Circle, Leaf, Mix, Offset, Prompt, Seed
from render.engine.interpolate import circle, evaluate, interpolate, lerp, offset, slerp

pytestmark = pytest.mark.usefixtures("one_thread")


def noise(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("how", INTERPOLATIONS)
def test_ends_and_kind_are_kept(how: str, dtype: torch.dtype) -> None:
    a, b = noise(1, 7, 16).to(dtype), noise(2, 7, 16).to(dtype)
    assert torch.equal(interpolate(how, a, b, 0.0), a)
    assert torch.equal(interpolate(how, a, b, 1.0), b)
    middle = interpolate(how, a, b, 0.5)
    assert (middle.shape, middle.dtype) == (a.shape, dtype)


@pytest.mark.parametrize("how", INTERPOLATIONS)
def test_halves_are_symmetric(how: str) -> None:
    a, b = noise(1, 7, 16), noise(2, 7, 16)
    torch.testing.assert_close(interpolate(how, a, b, 0.3), interpolate(how, b, a, 0.7))


def test_lerp_is_its_formula() -> None:
    assert lerp(torch.tensor([0.0, 2.0]), torch.tensor([4.0, 2.0]), 0.25).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("degrees", [10, 60, 90, 150])
@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_slerp_turns_evenly(degrees: float, t: float) -> None:
    a, turn = torch.tensor([1.0, 0.0]), math.radians(degrees)
    b = torch.tensor([math.cos(turn), math.sin(turn)])
    expected = torch.tensor([math.cos(t * turn), math.sin(t * turn)])
    for per_vector in (True, False):
        torch.testing.assert_close(slerp(a, b, t, per_vector), expected, atol=1e-6, rtol=0)


def test_norms_do_not_overflow_in_half_precision() -> None:
    """Squares of 300 are above float16's 65 504: the angle would come out as 90° and the middle too long."""
    a = torch.full((4, 64), 300.0, dtype=torch.float16)
    b = a.clone()
    b[:, ::2] *= 0.5
    for per_vector in (True, False):
        middle = slerp(a, b, 0.5, per_vector)
        assert torch.isfinite(middle).all()
        expected = slerp(a.double().float(), b.float(), 0.5, per_vector)
        torch.testing.assert_close(middle.float(), expected, atol=0.3, rtol=0)
        assert b.float().norm() < middle.float().norm() < a.float().norm()


def test_one_angle_a_vector_or_one_for_all() -> None:
    """Two tokens, one turning by 90° and one standing still, are two different walks."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    b = torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(a, b, 0.5, per_vector=True), torch.tensor([[half, half], [0.0, 1.0]]))
    weight = math.sin(math.pi / 6) / math.sin(math.pi / 3)  # the angle of the flat vectors is 60°
    torch.testing.assert_close(slerp(a, b, 0.5, per_vector=False), torch.tensor([[weight, weight], [0.0, 2 * weight]]))


@pytest.mark.parametrize(
    "scale",
    [
        2.0,  # parallel
        1.0,  # the same
        -1.0,  # antiparallel: no plane to turn in
        -0.5,
        0.0,  # no direction at all
    ],
)
@pytest.mark.parametrize("per_vector", [True, False])
def test_without_an_angle_slerp_is_lerp(scale: float, per_vector: bool) -> None:
    a = noise(1, 3, 8)
    b = a * scale
    torch.testing.assert_close(slerp(a, b, 0.25, per_vector), lerp(a, b, 0.25))


def test_fall_back_is_per_vector() -> None:
    """A token that stands still does not make the others lerp."""
    a, b = noise(1, 2, 8), noise(2, 2, 8)
    b[0] = a[0]
    result = slerp(a, b, 0.5, per_vector=True)
    torch.testing.assert_close(result[0], a[0])
    torch.testing.assert_close(result[1], slerp(a[1], b[1], 0.5, per_vector=True))


def test_deviation_of_noise() -> None:
    """Why noise is slerped."""
    a, b = noise(1, 1, 4, 64, 64), noise(2, 1, 4, 64, 64)
    assert interpolate("slerp-global", a, b, 0.5).std().item() == pytest.approx(1, abs=0.02)
    assert interpolate("lerp", a, b, 0.5).std().item() == pytest.approx(math.sqrt(0.5), abs=0.02)


def test_blends_nest() -> None:
    values = {Prompt("a"): torch.tensor([0.0]), Prompt("b"): torch.tensor([8.0]), Seed(1): torch.tensor([2.0])}
    blend = Mix("lerp", Mix("lerp", Prompt("a"), Prompt("b"), 0.5), Seed(1), 0.5)
    assert evaluate(blend, lambda leaf: values[leaf]).item() == 3.0
    assert evaluate(Prompt("b"), lambda leaf: values[leaf]) is values[Prompt("b")]


# Circles and offsets


@pytest.mark.parametrize("turn", [0.1, 0.25, 0.7])
def test_a_circle_of_noises_is_noise(turn: float) -> None:
    a, b = (torch.randn(100_000, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    point = circle(a, b, turn)
    assert abs(point.std().item() - 1) < 0.01
    angle = 2 * np.pi * turn
    np.testing.assert_allclose(point.numpy(), np.cos(angle) * a.numpy() + np.sin(angle) * b.numpy(), atol=1e-6)


def test_an_offset_along_ones_and_along_noise() -> None:
    a = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(offset(a, None, 0.5), a + 0.5)
    noise = torch.randn((2, 3), generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(offset(a, 4, 0.5), a + 0.5 * noise)
    assert offset(a.bfloat16(), 4, 0.5).dtype == torch.bfloat16


def test_blends_of_every_kind_are_evaluated() -> None:
    leaf: dict[Leaf, Tensor] = {Seed(1): torch.tensor([1.0, 0.0]), Seed(2): torch.tensor([0.0, 1.0])}
    quarter = Circle(Seed(1), Seed(2), 0.25)
    torch.testing.assert_close(evaluate(quarter, leaf.__getitem__), torch.tensor([0.0, 1.0]))
    moved = Offset(Mix("lerp", Seed(1), Seed(2), 0.5), None, 1.0)
    torch.testing.assert_close(evaluate(moved, leaf.__getitem__), torch.tensor([1.5, 1.5]))
    bent = Mix("slerp", Seed(1), Seed(2), 0.5)
    torch.testing.assert_close(evaluate(bent, leaf.__getitem__), torch.tensor([0.5**0.5, 0.5**0.5]))
    torch.testing.assert_close(
        evaluate(Offset(bent, None, 1.0), leaf.__getitem__, linear=True), torch.tensor([0.5, 0.5])
    )
