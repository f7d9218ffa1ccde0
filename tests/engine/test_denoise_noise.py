"""The noise of a frame: of a seed, between two seeds, and of samplers that draw at every step."""

from __future__ import annotations

import pytest
import torch
from renders import MakeRecipe, render
from torch import Tensor

from render.core.blend import Mix, Prompt, Seed, mix
from render.core.recipe import Recipe
from render.engine.denoise import NoiseSource
from render.engine.renderer import Renderer

pytestmark = pytest.mark.slow


def draws(source: NoiseSource, count: int = 3) -> list[Tensor]:
    return [source.draw((1, 4, 64, 64)) for _ in range(count)]


def test_noise_is_that_of_the_seed() -> None:
    generator = torch.Generator().manual_seed(11)
    for draw in draws(NoiseSource(Seed(11))):
        assert torch.equal(draw, torch.randn((1, 4, 64, 64), generator=generator))


@pytest.mark.parametrize(("t", "seed"), [(0.0, 1), (1.0, 2)])
def test_ends_of_a_mix_are_its_seeds(t: float, seed: int) -> None:
    """To the bit, even where `mix` has not simplified the blend."""
    for mixed, plain in zip(
        draws(NoiseSource(Mix("slerp-global", Seed(1), Seed(2), t))), draws(NoiseSource(Seed(seed))), strict=True
    ):
        assert torch.equal(mixed, plain)


@pytest.mark.parametrize("t", [0.1, 0.25, 0.5, 0.9])
def test_noise_keeps_its_deviation(t: float) -> None:
    """A lerp would fall to 0.71 in the middle. 16 384 numbers: the deviation's own is 0.0055."""
    for draw in draws(NoiseSource(mix("slerp-global", Seed(1), Seed(2), t))):
        assert abs(draw.std().item() - 1) < 0.025
        assert abs(draw.mean().item()) < 0.04


def test_a_seed_in_two_places_is_drawn_once() -> None:
    there_and_back = Mix("slerp-global", Seed(1), Mix("slerp-global", Seed(2), Seed(1), 1.0), 0.5)
    assert torch.equal(NoiseSource(there_and_back).draw((8,)), NoiseSource(Seed(1)).draw((8,)))


def test_randn_is_the_frame_s_inside_and_torch_s_outside() -> None:
    source = NoiseSource(Seed(5))
    with source:
        inside = torch.randn((8,), dtype=torch.float64)
    assert inside.dtype == torch.float64
    assert torch.equal(inside.float(), torch.randn((8,), generator=torch.Generator().manual_seed(5)))
    generator = torch.Generator().manual_seed(6)
    expected = torch.randn((8,), generator=torch.Generator().manual_seed(6))
    assert torch.equal(torch.randn((8,), generator=generator), expected)


def test_noise_of_prompts_is_refused() -> None:
    with pytest.raises(TypeError, match="required seeds"):
        NoiseSource(Prompt("a"))


@pytest.mark.parametrize("scheduler", ["ddim", "euler_a", "dpm++ sde", "lcm"])
def test_step_noise_moves_along_a_walk(renderer: Renderer, make_recipe: MakeRecipe, scheduler: str) -> None:
    """Samplers that draw at every step: neighbours on a walk stay near, its ends are the plain renders."""

    def at(t: float) -> Recipe:
        return make_recipe(scheduler=scheduler, noise=mix("slerp-global", Seed(1), Seed(2), t), steps=4)

    first, middle, near, last = render(renderer, [at(0.0), at(0.5), at(0.51), at(1.0)])
    plain = render(renderer, [make_recipe(scheduler=scheduler, noise=Seed(seed), steps=4) for seed in (1, 2)])
    assert torch.equal(first, plain[0])
    assert torch.equal(last, plain[1])
    apart = (first - last).abs().mean()
    assert 0 < (middle - near).abs().mean() < apart / 10
