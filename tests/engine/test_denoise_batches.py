"""Frames in batches: alone, in company, in any order, split over batches, beside one that fails."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from renders import ROWS, MakeRecipe, render
from torch import Tensor

from render.core.blend import Prompt, Seed, mix
from render.core.recipe import Recipe
from render.engine.batch import Batch
from render.engine.denoise import Row, pack_rows
from render.engine.renderer import Renderer
from render.engine.threads import use_threads
from render.models.model import Model

pytestmark = pytest.mark.slow


class Spy:
    """A family that notes the rows of every call of the network."""

    def __init__(self, family: Any) -> None:
        self._family = family
        self.rows: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: dict[str, Tensor]) -> Tensor:
        counts = {latents.shape[0], timesteps.shape[0], *(tensor.shape[0] for tensor in conditioning.values())}
        assert len(counts) == 1
        self.rows.append(counts.pop())
        output: Tensor = self._family.evaluate(latents, timesteps, conditioning)
        return output


def company(make_recipe: MakeRecipe) -> list[Recipe]:
    """Frames of every kind that may share a batch."""
    return [
        make_recipe(),
        make_recipe(steps=5, scheduler="euler_a", noise=Seed(1)),
        make_recipe(guidance=1.0, scheduler="lms", noise=Seed(2)),
        make_recipe(steps=2, scheduler="heun", guidance=5.5),
        make_recipe(steps=4, scheduler="dpm++ sde", prompt=Prompt("a green triangle")),
        make_recipe(steps=1, guidance=0.0),
        make_recipe(scheduler="pndm", noise=mix("slerp-global", Seed(1), Seed(2), 0.25)),
        make_recipe(scheduler="unipc", prompt=mix("slerp", Prompt("a"), Prompt("b"), 0.5), guidance=1.5),
    ]


@pytest.fixture(scope="module")
def alone(renderer: Renderer, make_recipe: MakeRecipe) -> dict[Recipe, Tensor]:
    return {recipe: render(renderer, [recipe])[0] for recipe in company(make_recipe)}


@pytest.mark.parametrize("order", ["as listed", "reversed", "shuffled", "shuffled again", "each twice"])
def test_bits_do_not_depend_on_company_or_order(
    renderer: Renderer, make_recipe: MakeRecipe, alone: dict[Recipe, Tensor], order: str
) -> None:
    recipes = company(make_recipe)
    if order == "reversed":
        recipes.reverse()
    elif order == "each twice":
        recipes = [recipe for recipe in recipes for _ in range(2)]
    elif order != "as listed":
        Random(order).shuffle(recipes)
    for recipe, latents in zip(recipes, render(renderer, recipes), strict=True):
        assert torch.equal(latents, alone[recipe]), recipe.json


def test_bits_are_the_same_where_rows_of_a_frame_fall_into_two_batches(
    renderer: Renderer, make_recipe: MakeRecipe
) -> None:
    recipes = [make_recipe(noise=Seed(seed)) for seed in range(3)]
    asked: list[int] = []
    together = render(renderer, recipes, rows=3, asked=asked)
    assert asked[0] == 3  # of three frames with two rows each: the second one is torn
    assert sum(asked) == 3 * 2 * 3
    for recipe, latents in zip(recipes, together, strict=True):
        assert torch.equal(latents, render(renderer, [recipe], rows=3)[0])


def test_one_row_serves_guided_frames(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    asked: list[int] = []
    (latents,) = render(renderer, [make_recipe()], rows=1, asked=asked)
    assert asked == [1] * 6
    torch.testing.assert_close(latents, render(renderer, [make_recipe()])[0], atol=5e-4, rtol=0)


def test_bits_do_not_depend_on_global_random_state(
    renderer: Renderer, make_recipe: MakeRecipe, alone: dict[Recipe, Tensor]
) -> None:
    recipe = company(make_recipe)[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        before = torch.random.get_rng_state()
        (latents,) = render(renderer, [recipe])
        assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(latents, alone[recipe])


def test_network_sees_one_row_count(
    renderer: Renderer, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(renderer._family)
    monkeypatch.setattr(renderer, "_family", spy)
    asked: list[int] = []
    render(renderer, company(make_recipe), rows=4, asked=asked)
    assert set(spy.rows) == {4}
    assert len(spy.rows) == len(asked)
    assert min(asked) < 4  # the tail was filled


def test_a_frame_that_raises_leaves_the_others(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    good, bad = make_recipe(), make_recipe(prompt=Seed(3))  # a seed is no prompt
    waiting = iter([("good", good), ("bad", bad)])

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    results = dict(pack_rows(admit, lambda batch: renderer.run(batch, Batch.full(ROWS)), ROWS))
    assert isinstance(results["bad"], TypeError)
    assert torch.equal(results["good"], render(renderer, [good])[0])


def test_run_that_raises_ends_the_loop() -> None:
    """Whose fault it is, is not known here; `lane` finds out."""

    def frame() -> Any:
        return (yield [Row(torch.zeros(1), torch.tensor(0), {})])

    def run(batch: list[Row]) -> list[Tensor]:
        raise RuntimeError("broken")

    frames = iter([("a", frame())])
    with pytest.raises(RuntimeError, match="broken"):
        list(pack_rows(lambda wait: next(frames, None), run, 2))


def test_admit_is_asked_to_wait_only_when_nothing_is_pending() -> None:
    def frame() -> Any:
        (output,) = yield [Row(torch.zeros(1), torch.tensor(0), {})]
        return output

    answers = iter([("a", frame()), None, ("b", frame()), None, None])
    waits: list[bool] = []

    def admit(wait: bool) -> Any:
        waits.append(wait)
        return next(answers)

    assert [token for token, _ in pack_rows(admit, lambda batch: [row.latents for row in batch], 2)] == ["a", "b"]
    assert waits == [True, False, True, False, True]


def test_frames_without_steps_are_yielded() -> None:
    """A generator may finish before it asks for anything."""

    def frame() -> Any:
        return torch.ones(1)
        yield

    frames = iter([("a", frame()), ("b", frame())])
    results = list(pack_rows(lambda wait: next(frames, None), lambda batch: [], 2))
    assert [token for token, _ in results] == ["a", "b"]


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_a_rows_place_in_the_batch_does_not_show(
    starter: Model, make_recipe: MakeRecipe, threads: int, size: tuple[int, int]
) -> None:
    """On any number of CPU threads, at every row count that is planned."""
    renderer = Renderer(starter, "cpu", "float32", threads)
    recipes = [make_recipe(width=size[0], height=size[1], steps=1, noise=Seed(seed)) for seed in range(9)]
    rows = [row for recipe in recipes for row in next(renderer.start(recipe))]
    try:
        for count in (2, 4, 8, 16):
            whole = renderer.run(rows[:count], Batch.full(count))
            for place in range(count):
                turned = renderer.run([*rows[place:count], *rows[:place]], Batch.full(count))
                assert torch.equal(turned[0], whole[place])
    finally:
        use_threads(1)
