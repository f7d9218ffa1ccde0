"""The denoiser against diffusers' own pipeline, and against itself: alone, in company, in any order, split over batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from render.cluster.lane import Lane
from render.core.blend import Mix, Prompt, Seed, mix
from render.core.recipe import Keyframe, Recipe
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.engine.denoise import NoiseSource, Row, begin, denoise, pack_rows
from render.engine.interpolate import slerp
from render.engine.renderer import Renderer
from render.engine.threads import use_threads
from render.models.families.schedulers import DIFFUSION
from render.models.model import Model
from render.plan.units import evaluations_of

# diffusers' LMS and DEIS hand tensors to NumPy; torch's __array__ and __array_wrap__ are not those of NumPy 2 yet.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")]

ROWS = 5  # odd, so that the two rows of guided frames fall into different batches now and then
MakeRecipe = Callable[..., Recipe]


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


def render(
    renderer: Renderer, recipes: Sequence[Recipe], rows: int = ROWS, asked: list[int] | None = None
) -> list[Tensor]:
    """Final latents of recipes, all through one batch loop, in the recipes' order. `asked` takes each batch's rows."""
    waiting = iter(enumerate(recipes))

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    def run(batch: list[Row]) -> list[Tensor]:
        if asked is not None:
            asked.append(len(batch))
        return renderer.run(batch, rows)

    done: dict[int, Tensor] = {}
    for token, result in pack_rows(admit, run, rows):
        assert isinstance(result, Tensor), result
        assert token not in done
        done[token] = result
    return [done[token] for token in range(len(recipes))]


@pytest.fixture(scope="module")
def stock(starter: Model, one_thread: None) -> Any:
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        starter.path, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def stock_images(stock: Any, starter: Model, recipe: Recipe, output_type: str) -> Any:
    """What diffusers makes of a recipe without blends."""
    assert isinstance(recipe.prompt, Prompt)
    assert isinstance(recipe.negative_prompt, Prompt)
    assert isinstance(recipe.noise, Seed)
    name, settings = DIFFUSION[recipe.scheduler]
    config = diffusers.DDIMScheduler.load_config(starter.path, subfolder="scheduler")
    stock.scheduler = getattr(diffusers, name).from_config(config, **settings)
    return stock(
        recipe.prompt.text,
        negative_prompt=recipe.negative_prompt.text,
        width=recipe.width,
        height=recipe.height,
        num_inference_steps=recipe.steps,
        guidance_scale=recipe.guidance,
        generator=torch.Generator().manual_seed(recipe.noise.value),
        output_type=output_type,
    ).images


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("scheduler", DIFFUSION_SCHEDULERS)
def test_final_latents_are_those_of_diffusers(
    renderer: Renderer, stock: Any, starter: Model, make_recipe: MakeRecipe, scheduler: str, guidance: float
) -> None:
    recipe = make_recipe(scheduler=scheduler, guidance=guidance, steps=4, width=96)
    (ours,) = render(renderer, [recipe])
    theirs = stock_images(stock, starter, recipe, "latent")
    # Latents reach about 6; float32 sums in another order at another batch size: 5e-5 was the largest difference seen.
    torch.testing.assert_close(ours, theirs, atol=5e-4, rtol=0)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("scheduler", ["pndm", "heun", "dpm++2m", "dpm++ sde", "unipc", "lcm"])
def test_few_steps_are_those_of_diffusers(
    renderer: Renderer, stock: Any, starter: Model, make_recipe: MakeRecipe, scheduler: str, steps: int
) -> None:
    """Schedulers of higher order start and end with lower ones."""
    recipe = make_recipe(scheduler=scheduler, guidance=1.0, steps=steps)
    (ours,) = render(renderer, [recipe])
    torch.testing.assert_close(ours, stock_images(stock, starter, recipe, "latent"), atol=5e-4, rtol=0)


@pytest.mark.parametrize("negative", ["", "a blue square"])
def test_image_is_that_of_diffusers(
    renderer: Renderer, stock: Any, starter: Model, make_recipe: MakeRecipe, negative: str
) -> None:
    recipe = make_recipe(negative_prompt=Prompt(negative), steps=4, width=96, height=64)
    (latents,) = render(renderer, [recipe])
    image = renderer.decode(latents, tiled=False)
    assert (image.shape, image.dtype) == ((64, 96, 3), np.uint8)
    difference = np.abs(image - stock_images(stock, starter, recipe, "np")[0] * 255.0)
    assert difference.max() < 0.51  # rounding takes half a level


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


@pytest.mark.parametrize("guidance", [3.0, 1.0])
@pytest.mark.parametrize("scheduler", DIFFUSION_SCHEDULERS)
def test_rows_asked_are_those_planned(
    renderer: Renderer, make_recipe: MakeRecipe, make_keyframe: Callable[..., Keyframe], scheduler: str, guidance: float
) -> None:
    """With a network that answers zeros: the scheduler's timesteps alone decide."""
    for steps in (1, 2, 3, 4, 7, 20):
        recipe = make_recipe(scheduler=scheduler, steps=steps, guidance=guidance)
        frame, asked = renderer.start(recipe), 0
        rows = next(frame)
        try:
            while True:
                asked += len(rows)
                rows = frame.send([torch.zeros_like(row.latents) for row in rows])
        except StopIteration:
            pass
        planned = evaluations_of(make_keyframe(scheduler=scheduler, steps=steps)) * (2 if guidance > 1 else 1)
        assert asked == planned, f"{scheduler}, {steps} steps"


def test_a_frame_that_raises_leaves_the_others(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    good, bad = make_recipe(), make_recipe(prompt=Seed(3))  # a seed is no prompt
    waiting = iter([("good", good), ("bad", bad)])

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    results = dict(pack_rows(admit, lambda batch: renderer.run(batch, ROWS), ROWS))
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


def test_guidance_formula_and_order() -> None:
    """The negative row comes first; one row where guidance is 1 or less. A scheduler that returns the output shows it."""

    class Echo:
        timesteps = torch.tensor([3, 1])
        order = 1
        init_noise_sigma = 2.0

        def scale_model_input(self, x: Tensor, t: Tensor) -> Tensor:
            return x / 2

        def step(self, output: Tensor, t: Tensor, x: Tensor) -> SchedulerOutput:
            return SchedulerOutput(prev_sample=output)

    recipe = Recipe(Prompt("p"), Prompt("n"), Seed(0), 8, 8, 2, 3.0, "ddim", "m")
    positive, negative = {"embeddings": torch.tensor(1.0)}, {"embeddings": torch.tensor(0.0)}
    noise = NoiseSource(recipe.noise)
    frame = denoise(recipe, (positive, negative), begin(recipe, Echo(), (1, 1, 2, 2), None, noise), noise)
    rows = next(frame)
    assert [row.conditioning for row in rows] == [negative, positive]
    assert torch.equal(rows[0].latents, torch.randn((1, 1, 2, 2), generator=torch.Generator().manual_seed(0)))
    rows = frame.send([torch.full((1, 1, 2, 2), 1.0), torch.full((1, 1, 2, 2), 2.0)])
    assert rows[0].timestep == 1
    assert rows[0].latents.unique().tolist() == [(1 + 3 * (2 - 1)) / 2]


# Frames that go on from others


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
        *((name, True) for name in ("ddim", "euler_a", "heun", "lms")),  # the others foretell no clean image
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
    renderer._awaited.clear()
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

    def failing(rows: Sequence[Row], count: int) -> list[Tensor]:
        if next(calls) == 690:
            raise RuntimeError("a passing fault")
        return [row.latents * 0.5 for row in rows]

    monkeypatch.setattr(renderer, "run", failing)
    found = dict(Lane(renderer, ROWS, lambda wait: next(waiting, None)).run())
    renderer._awaited.clear()
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
        return renderer.run(batch, 4)

    done = [len(asked) for _ in pack_rows(admit, run, 4)]
    assert sum(asked) == 2 * (3 + 20 * 3)
    assert done[0] <= 3 + 3 + 1  # batches: the stem, then the first two frames
    assert done[9] <= len(asked) * 0.6


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
            whole = renderer.run(rows[:count], count)
            for place in range(count):
                turned = renderer.run([*rows[place:count], *rows[:place]], count)
                assert torch.equal(turned[0], whole[place])
    finally:
        use_threads(1)


def test_frames_of_latents_alone(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    renderer.forget()
    a, b = make_recipe(noise=Seed(1)), make_recipe(noise=Seed(2))
    asked: list[int] = []
    between = [replace(a, towards=b, t=t) for t in (0.25, 0.75)]
    found = render(renderer, between, asked=asked)
    assert sum(asked) == 2 * 2 * 3
    ends = render(renderer, [a, b])
    for recipe, latents in zip(between, found, strict=True):
        assert torch.equal(latents, slerp(*ends, recipe.t, per_vector=False))


def test_a_stem_that_fails_fails_its_frames_and_no_others(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    stem = make_recipe(prompt=Seed(3), stop=1)  # a seed is no prompt
    bad = [make_recipe(stem=stem, skipped_steps=1, noise=Seed(n)) for n in range(3)]
    waiting = iter([*enumerate(bad), (3, make_recipe())])

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    results = dict(pack_rows(admit, lambda batch: renderer.run(batch, ROWS), ROWS))
    assert [type(results[n]) for n in range(4)] == [TypeError, TypeError, TypeError, Tensor]


def test_frames_that_share_outlive_a_batch_that_fails(
    renderer: Renderer, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer.forget()
    recipes = [anchored(make_recipe, seed) for seed in range(3)]
    waiting = iter(enumerate(recipes))
    run, calls = renderer.run, iter(range(1000))

    def failing(rows: Sequence[Row], count: int) -> list[Tensor]:
        if next(calls) == 1:
            raise RuntimeError("a passing fault")
        return run(rows, count)

    monkeypatch.setattr(renderer, "run", failing)
    found = dict(Lane(renderer, ROWS, lambda wait: next(waiting, None)).run())
    monkeypatch.undo()
    assert all(torch.equal(found[n], render(renderer, [recipe])[0]) for n, recipe in enumerate(recipes))
