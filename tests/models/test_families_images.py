"""Every family from an image, and stopped on the way, against diffusers."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

import diffusers
import PIL.Image
import pytest
import torch
from pairs import MARKS, TOLERANCE, MakePair, picture, rendered
from torch import Tensor

from render.core.blend import Image, mix
from render.core.recipe import Recipe

pytest_plugins = ["pairs"]
pytestmark = MARKS


@pytest.mark.parametrize("skipped", [2, 7])
@pytest.mark.parametrize(
    ("variant", "scheduler"),
    [
        *(
            (variant, scheduler)
            for variant in ("sd", "sd-v", "sdxl")
            for scheduler in ("ddim", "euler_a", "heun", "dpm++2m")
        ),
        *product(("sd3", "sd35"), ("flow-euler", "flow-heun")),
        ("flux-dev", "flow-euler"),
        ("flux-schnell", "flow-euler"),
    ],
)
def test_pictures_from_a_picture(
    pair: MakePair, start_image: Image, variant: str, scheduler: str, skipped: int
) -> None:
    small = pair(variant)
    recipe = small.recipe(
        image=start_image, skipped_steps=skipped, steps=10, scheduler=scheduler, width=96, guidance=3.0
    )
    rounding = -1e-6 if variant.startswith(("sd3", "flux")) else 1e-6  # down: the skipped steps, or those that are left
    small.check(recipe, image=picture(start_image), strength=1 - skipped / 10 + rounding)


def test_a_picture_of_another_size_is_resized(pair: MakePair, start_image: Image) -> None:
    small = pair("sd")
    resized = picture(start_image).resize((64, 64), PIL.Image.Resampling.LANCZOS)
    recipe = small.recipe(image=start_image, skipped_steps=3, steps=6)
    small.check(recipe, image=resized, strength=0.5)


def test_pictures_from_a_walk_between_pictures(pair: MakePair, start_image: Image, tmp_path: Path) -> None:
    small = pair("pixart")
    path = tmp_path / "grey.png"
    PIL.Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    other = Image(str(path), hashlib.sha256(path.read_bytes()).hexdigest())

    def at(t: float) -> Recipe:
        return small.recipe(image=mix("slerp", start_image, other, t), skipped_steps=2)

    first, middle, last = rendered(small.renderer, [at(0.0), at(0.5), at(1.0)])
    ends = rendered(small.renderer, [small.recipe(image=end, skipped_steps=2) for end in (start_image, other)])
    assert torch.equal(first, ends[0])
    assert torch.equal(last, ends[1])
    assert not torch.equal(middle, first)


def test_an_image_that_is_another_is_refused(pair: MakePair, start_image: Image) -> None:
    small = pair("sd")
    recipe = small.recipe(image=Image(start_image.path, "0" * 64), skipped_steps=1)
    with pytest.raises(ValueError, match=r"start\.png: required a file of SHA-256 0{64}, got"):
        rendered(small.renderer, [recipe])


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize(
    ("variant", "scheduler"), [("sd", "ddim"), ("sdxl", "dpm++2m"), ("sd3", "flow-euler"), ("flux-dev", "flow-euler")]
)
def test_latents_after_some_steps(pair: MakePair, variant: str, scheduler: str, stop: int) -> None:
    """As diffusers hands them to `callback_on_step_end`."""
    small, seen = pair(variant), {}

    def keep(_pipeline: object, step: int, _t: object, values: dict[str, Tensor]) -> dict[str, Tensor]:
        seen[step + 1] = values["latents"].clone()
        return {}

    recipe = small.recipe(scheduler=scheduler, stop=stop)
    (latents,) = rendered(small.renderer, [recipe])
    small.theirs(recipe, output_type="latent", callback_on_step_end=keep)
    theirs = seen[stop]
    if variant.startswith("flux"):
        theirs = small.stock._unpack_latents(theirs, 64, 64, small.stock.vae_scale_factor)
    torch.testing.assert_close(latents, theirs, atol=TOLERANCE * float(theirs.abs().max()), rtol=0)


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_a", "heun", "lms"])
def test_the_clean_image_that_a_step_foretells(pair: MakePair, scheduler: str) -> None:
    """At the last step it is the image itself, for schedulers that end without noise."""
    small = pair("sd")
    foretold, image, earlier = rendered(
        small.renderer,
        [
            small.recipe(scheduler=scheduler, steps=6, clean=True),
            small.recipe(scheduler=scheduler, steps=6),
            small.recipe(scheduler=scheduler, steps=6, clean=True, stop=2),
        ],
    )
    assert not torch.allclose(earlier, image, atol=0.05)
    if scheduler in {"euler", "euler_a"}:
        torch.testing.assert_close(foretold, image, atol=1e-4, rtol=0)


def test_an_image_that_is_noised_on_the_way(pair: MakePair, start_image: Image) -> None:
    """q(x_t | x_0) by diffusers' scheduler; with no step left the image itself."""
    small = pair("sd")
    recipes = [
        small.recipe(image=start_image, steps=5, skipped_steps=skipped, stop=0, width=96) for skipped in (5, 3, 0)
    ]
    clean, *noised = rendered(small.renderer, recipes)
    generator = torch.Generator().manual_seed(7)
    pixels = small.stock.image_processor.preprocess(picture(start_image))
    latents = small.stock.vae.encode(pixels).latent_dist.sample(generator) * small.stock.vae.config.scaling_factor
    torch.testing.assert_close(clean, latents, atol=1e-4, rtol=0)
    noise = torch.randn(latents.shape, generator=generator)
    scheduler = diffusers.PNDMScheduler.from_config(small.stock.scheduler.config)
    scheduler.set_timesteps(5)
    for found, skipped in zip(noised, (3, 0), strict=True):
        expected = scheduler.add_noise(latents, noise, scheduler.timesteps[skipped : skipped + 1])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
