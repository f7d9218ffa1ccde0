"""No step waits for the device: latents on the meta device, where that raises, through every scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pipelines import STABLE_DIFFUSION_NOISE
from torch import Tensor
from waits import META, no_waits

from render.core.blend import Offset, Prompt, Seed, mix
from render.core.recipe import Recipe
from render.core.vocabulary import DIFFUSION_SCHEDULERS, FLOW_SCHEDULERS
from render.engine.denoise import NoiseSource, Row, denoise, initial_state, latents_to_decode
from render.engine.transfers import numbers_on_cpu
from render.models.families.schedulers import FlowSchedulers, Schedulers

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),  # diffusers' LMS and DEIS on NumPy 2
]
SHAPE = (1, 4, 8, 8)
MAKERS: dict[str, Any] = dict.fromkeys(DIFFUSION_SCHEDULERS, Schedulers(STABLE_DIFFUSION_NOISE)) | dict.fromkeys(
    FLOW_SCHEDULERS, FlowSchedulers({"num_train_timesteps": 1000, "shift": 3.0}, 2, False)
)
STEPS = 6


def sampled(recipe: Recipe, device: torch.device, answer: Callable[[Row], Tensor]) -> Tensor:
    """Final latents of a recipe whose network is `answer`, all its latents on one device."""
    noise = NoiseSource(recipe.noise, device)
    scheduler = MAKERS[recipe.scheduler](recipe.scheduler, recipe.steps, SHAPE)
    image = (lambda drawn: 0.5 * drawn) if recipe.skipped_steps else None
    frame = denoise(recipe, ({}, {}), initial_state(recipe, scheduler, SHAPE, image, noise), noise)
    rows = next(frame)
    while True:
        assert all(row.timestep.device.type == "cpu" for row in rows)
        try:
            rows = frame.send([answer(row) for row in rows])
        except StopIteration as end:
            return latents_to_decode(recipe, end.value)


def recipe_of(scheduler: str, **fields: Any) -> Recipe:
    return Recipe(Prompt("p"), Prompt("n"), fields.pop("noise", Seed(1)), 64, 64, STEPS, 3.0, scheduler, "m", **fields)


@pytest.mark.parametrize("fields", [{}, {"skipped_steps": 2}, {"stop": 4}], ids=["noise", "image", "stopped"])
@pytest.mark.parametrize("scheduler", MAKERS)
def test_no_scheduler_waits_for_the_device(scheduler: str, fields: dict[str, int]) -> None:
    walk = Offset(mix("slerp-global", Seed(1), Seed(2), 0.25), 3, 0.1)
    with no_waits():
        latents = sampled(recipe_of(scheduler, noise=walk, **fields), META, lambda row: 0.1 * row.latents)
    assert (latents.is_meta, latents.shape, latents.dtype) == (True, SHAPE, torch.float32)


def test_the_stand_in_finds_waits() -> None:
    """Without our contexts, the same loop over diffusers' schedulers does wait."""
    x, scheduler = torch.empty(SHAPE, device="meta"), MAKERS["unipc"]("unipc", STEPS, SHAPE)
    with no_waits(), pytest.raises(AssertionError, match="waits for the device"):
        scheduler.step(x, scheduler.timesteps[0], x)
    with no_waits(), pytest.raises(AssertionError, match="waits for the device"):
        MAKERS["ddim"]("ddim", STEPS, SHAPE).add_noise(x, x, scheduler.timesteps[:1])
    with no_waits(), pytest.raises(AssertionError, match="copies Python numbers"):
        torch.tensor([1.0], device=META)
    with no_waits(), pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta tensors"):
        bool(x.isfinite().all())


@pytest.mark.parametrize("fields", [{}, {"skipped_steps": 2}], ids=["noise", "image"])
@pytest.mark.parametrize("scheduler", MAKERS)
def test_numbers_on_the_cpu_are_the_same_numbers(
    scheduler: str, fields: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the context that a GPU gets, entered on the CPU: nothing else may come out."""
    recipe = recipe_of(scheduler, **fields)
    cpu = torch.device("cpu")
    plain = sampled(recipe, cpu, lambda row: 0.1 * row.latents.sin())
    monkeypatch.setattr("render.engine.denoise.numbers_on_cpu", lambda device: numbers_on_cpu(META))
    monkeypatch.setattr("render.engine.denoise.STILL", frozenset())
    monkeypatch.setattr("render.engine.denoise.QUIET", frozenset())
    assert torch.equal(sampled(recipe, cpu, lambda row: 0.1 * row.latents.sin()), plain)


@pytest.mark.parametrize("scheduler", MAKERS)
def test_all_noise_is_the_frame_s_own(scheduler: str) -> None:
    """Torch's own generator is left alone, also by schedulers that get no noise to draw from."""
    before = torch.get_rng_state()
    sampled(recipe_of(scheduler), torch.device("cpu"), lambda row: 0.1 * row.latents.sin())
    assert torch.equal(torch.get_rng_state(), before)
