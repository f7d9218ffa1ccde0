"""Frames that go on from others, or lie between their latents: steps that several need are taken once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from renders import ROWS, MakeRecipe, render
from torch import Tensor

from render.cluster.lane import Lane
from render.core.blend import Prompt, Seed
from render.core.recipe import Recipe
from render.core.walk import Keyframe
from render.engine.batch import Batch
from render.engine.denoise import Row, pack_rows
from render.engine.interpolate import slerp
from render.engine.renderer import Renderer
from render.plan.units import evaluations_of

pytestmark = pytest.mark.slow


def anchored(make_recipe: MakeRecipe, seed: int, **fields: Any) -> Recipe:
    """Half of six steps shared."""
    stem = make_recipe(steps=6, stop=3, prompt=Prompt("a green triangle"), **fields)
    return make_recipe(
        steps=6, skipped_steps=3, stem=stem, noise=Seed(seed), prompt=Prompt(f"picture {seed}"), **fields
    )


@pytest.mark.parametrize("scheduler", ["ddim", "euler_a", "heun", "pndm", "dpm++2m", "unipc", "lcm", "dpm++ sde"])
@pytest.mark.parametrize("shared", [1, 2, 6])
def test_a_frame_that_goes_on_from_itself_is_itself(
    renderer: Renderer, make_recipe: MakeRecipe, scheduler: str, shared: int
) -> None:
    """To the bit: what multistep schedulers remember and what ancestral ones draw go along."""
    plain = make_recipe(scheduler=scheduler, steps=6)
    stem = make_recipe(scheduler=scheduler, steps=6, stop=shared)
    goes_on = make_recipe(scheduler=scheduler, steps=6, skipped_steps=shared, stem=stem)
    whole, parts = render(renderer, [plain, goes_on])
    assert torch.equal(whole, parts)


def test_shared_steps_are_taken_once(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    renderer.forget()
    recipes = [anchored(make_recipe, seed) for seed in range(4)]
    asked: list[int] = []
    together = render(renderer, recipes, asked=asked)
    assert sum(asked) == 2 * (3 + 4 * 3)
    for recipe, latents in zip(recipes, together, strict=True):
        renderer.forget()
        assert torch.equal(render(renderer, [recipe])[0], latents)  # however the walk is split


@pytest.mark.parametrize(
    ("scheduler", "clean"),
    [
        *((name, False) for name in ("ddim", "euler_a", "heun", "lms", "pndm", "unipc", "dpm++ sde")),
        *((name, True) for name in ("ddim", "euler_a", "heun", "lms")),  # the others return no predicted clean image
    ],
)
def test_steps_of_an_image_on_its_way_are_taken_once(
    renderer: Renderer,
    make_recipe: MakeRecipe,
    make_keyframe: Callable[..., Keyframe],
    scheduler: str,
    clean: bool,
) -> None:
    """Whatever the unit holds of them; each alone takes its own from the start, to the same bits."""
    whole = make_recipe(scheduler=scheduler, steps=5)
    recipes = [*(replace(whole, stop=stop, clean=clean) for stop in (1, 2, 4)), whole]
    alone = render(renderer, recipes)
    renderer.forget()
    renderer.prepare(recipes)
    asked: list[int] = []
    together = render(renderer, recipes, asked=asked)
    renderer._shared.clear()
    assert sum(asked) == 2 * evaluations_of(make_keyframe(scheduler=scheduler, steps=5))
    for mine, other in zip(alone, together, strict=True):
        assert torch.equal(mine, other)


def test_a_long_way_outlives_a_batch_that_fails(
    renderer: Renderer, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind is lost with it; a frame late on the way takes its steps anew, not frame by frame."""
    whole = make_recipe(steps=700, guidance=1.0)
    recipes = [*(replace(whole, stop=stop) for stop in range(1, 700)), whole]
    renderer.forget()
    renderer.prepare(recipes)
    waiting, calls = iter(enumerate(recipes)), iter(range(10_000))

    def failing(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        if next(calls) == 690:
            raise RuntimeError("a passing fault")
        return [row.latents * 0.5 for row in rows]

    monkeypatch.setattr(renderer, "run", failing)
    found = dict(Lane(renderer, Batch.full(ROWS), lambda wait: next(waiting, None)).run())
    renderer._shared.clear()
    assert len(found) == 700
    assert all(isinstance(latents, Tensor) for latents in found.values())


def test_frames_that_share_do_not_run_in_lockstep(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    """What waits for a stem takes up rows as there is room; else all of a unit would be in memory, and end together."""
    renderer.forget()
    recipes = [anchored(make_recipe, seed) for seed in range(20)]
    waiting = iter(enumerate(recipes))
    asked: list[int] = []

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    def run(batch: list[Row]) -> list[Tensor]:
        asked.append(len(batch))
        return renderer.run(batch, Batch.full(4))

    done = [len(asked) for _ in pack_rows(admit, run, 4)]
    assert sum(asked) == 2 * (3 + 20 * 3)
    assert done[0] <= 3 + 3 + 1  # batches: the stem, then the first two frames
    assert done[9] <= len(asked) * 0.6


def test_frames_of_latents_alone(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    renderer.forget()
    a, b = make_recipe(noise=Seed(1)), make_recipe(noise=Seed(2))
    asked: list[int] = []
    between = [replace(a, towards=b, t=t) for t in (0.25, 0.75)]
    found = render(renderer, between, asked=asked)
    assert sum(asked) == 2 * 2 * 3
    ends = render(renderer, [a, b])
    for recipe, latents in zip(between, found, strict=True):
        assert torch.equal(latents, slerp(ends[0], ends[1], recipe.t, per_vector=False))


def test_a_stem_that_fails_fails_its_frames_and_no_others(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    stem = make_recipe(prompt=Seed(3), stop=1)  # a seed is no prompt
    bad = [make_recipe(stem=stem, skipped_steps=1, noise=Seed(n)) for n in range(3)]
    waiting = iter([*enumerate(bad), (3, make_recipe())])

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    results = dict(pack_rows(admit, lambda batch: renderer.run(batch, Batch.full(ROWS)), ROWS))
    assert [type(results[n]) for n in range(4)] == [TypeError, TypeError, TypeError, Tensor]


def test_frames_that_share_outlive_a_batch_that_fails(
    renderer: Renderer, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer.forget()
    recipes = [anchored(make_recipe, seed) for seed in range(3)]
    waiting = iter(enumerate(recipes))
    run, calls = renderer.run, iter(range(1000))

    def failing(rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        if next(calls) == 1:
            raise RuntimeError("a passing fault")
        return run(rows, batch)

    monkeypatch.setattr(renderer, "run", failing)
    found = dict(Lane(renderer, Batch.full(ROWS), lambda wait: next(waiting, None)).run())
    monkeypatch.undo()
    for n, recipe in enumerate(recipes):
        latents = found[n]
        assert isinstance(latents, Tensor)
        assert torch.equal(latents, render(renderer, [recipe])[0])
