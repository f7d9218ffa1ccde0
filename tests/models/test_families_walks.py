"""Every family along a walk and in company, to the bit."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
import torch
from pairs import FITTING, MARKS, MakePair, rendered
from pipelines import VARIANTS

from render.core.blend import Prompt, Seed, mix
from render.core.recipe import Recipe
from render.core.walk import Keyframe
from render.plan.units import evaluations_of

pytest_plugins = ["pairs"]
pytestmark = MARKS


@pytest.mark.parametrize("how", ["slerp", "slerp-global", "lerp"])
@pytest.mark.parametrize("variant", ["sd", "sdxl", "sd3", "flux-dev", "pixart"])
def test_a_walk_begins_and_ends_on_plain_pictures(pair: MakePair, variant: str, how: str) -> None:
    """To the bit, in one batch or in several, and every tensor moves in between."""
    small = pair(variant)
    a, b = (Prompt("a red cat"), Prompt("a blue house by the sea")), (Prompt(""), Prompt("snow"))

    def at(t: float) -> Recipe:
        noise = mix("slerp-global", Seed(1), Seed(2), t)
        return small.recipe(prompt=mix(how, *a, t), negative_prompt=mix(how, *b, t), noise=noise, steps=2)

    first, middle, last = rendered(small.renderer, [at(0.0), at(0.5), at(1.0)], rows=4)
    plain = [small.recipe(prompt=a[n], negative_prompt=b[n], noise=Seed(n + 1), steps=2) for n in (0, 1)]
    assert torch.equal(first, rendered(small.renderer, plain[:1], rows=4)[0])
    assert torch.equal(last, rendered(small.renderer, plain[1:], rows=4)[0])
    assert torch.isfinite(middle).all()
    ends = [small.renderer._condition(prompt, False, "plain") for prompt in a]
    between = small.renderer._condition(mix(how, *a, 0.5), False, "plain")
    for name, tensor in between.items():
        assert not torch.equal(tensor, ends[0][name]), name
        assert not torch.equal(tensor, ends[1][name]), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_do_not_depend_on_their_company(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    recipes = [
        small.recipe(),
        small.recipe(guidance=1.0, noise=Seed(1)),
        small.recipe(steps=2, prompt=Prompt("sun")),
        small.recipe(noise=Seed(9), scheduler=FITTING[variant][-1]),
    ]
    together = rendered(small.renderer, recipes, rows=5)
    for recipe, latents in zip(recipes, together, strict=True):
        assert torch.equal(latents, rendered(small.renderer, [recipe], rows=5)[0])


@pytest.mark.parametrize("scheduler", ["flow-euler", "flow-heun", "flow-dpm++2m", "flow-unipc"])
def test_rows_asked_are_those_planned(pair: MakePair, make_keyframe: Callable[..., Keyframe], scheduler: str) -> None:
    small = pair("sd3")
    for steps in (1, 2, 5):
        frame, asked = small.renderer.start(small.recipe(scheduler=scheduler, steps=steps)), 0
        with contextlib.suppress(StopIteration):
            rows = next(frame)
            while True:
                asked += len(rows)
                rows = frame.send([torch.zeros_like(row.latents) for row in rows])
        assert asked == 2 * evaluations_of(make_keyframe(scheduler=scheduler, steps=steps))
