"""What only a GPU shows: that nothing in the loop waits for it, and that decoding beside it gives the same images.

Left out where there is none. On one: `pytest tests/engine/test_cuda.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from renders import MakeRecipe, render
from torch import Tensor

from render.core.blend import Prompt, Seed, mix
from render.core.recipe import Recipe
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.engine.renderer import Renderer
from render.models.model import Model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),  # diffusers' LMS and DEIS on NumPy 2
]


@pytest.fixture(scope="module")
def on_gpu(starter: Model) -> Renderer:
    return Renderer(starter, "cuda", "bfloat16", threads=1)


@contextmanager
def waits_forbidden() -> Iterator[None]:
    """Context in which torch raises where it waits for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def recipes_of(make_recipe: MakeRecipe) -> list[Recipe]:
    """A frame of every scheduler, between two prompts and two seeds."""
    prompt = mix("slerp", Prompt("a red circle"), Prompt("a cat"), 0.25)
    noise = mix("slerp-global", Seed(1), Seed(2), 0.25)
    return [make_recipe(scheduler=name, steps=5, prompt=prompt, noise=noise) for name in DIFFUSION_SCHEDULERS]


def test_nothing_in_the_loop_waits_for_the_gpu(on_gpu: Renderer, make_recipe: MakeRecipe) -> None:
    recipes = recipes_of(make_recipe)
    on_gpu.prepare(recipes)
    expected = render(on_gpu, recipes, rows=6)  # the first batch loads kernels
    torch.cuda.synchronize()
    with waits_forbidden():
        found = render(on_gpu, recipes, rows=6)
    assert all(map(torch.equal, found, expected))


def test_images_decoded_beside_other_work_are_the_same(on_gpu: Renderer, make_recipe: MakeRecipe) -> None:
    """Decoded while the GPU still computes the latents and has other work queued behind them."""
    recipes = recipes_of(make_recipe)
    four = on_gpu.tuner.batches(64, 64, 6, 4).decoder
    quiet = render(on_gpu, recipes, rows=6)
    torch.cuda.synchronize()
    expected = on_gpu.decode(quiet, False, four)
    for _ in range(5):
        busy: list[Tensor] = render(on_gpu, recipes, rows=6)
        square = torch.ones(8192, 8192, device="cuda", dtype=torch.bfloat16)
        for _ in range(20):
            square = square @ square
        for one, other in zip(on_gpu.decode(busy, False, four), expected, strict=True):
            assert isinstance(one, np.ndarray)
            assert np.array_equal(one, np.asarray(other))
        del busy, square
