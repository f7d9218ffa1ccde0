"""Every family against diffusers' own pipeline of it, on small pipelines with random weights.

Tolerance in float32: 5e-4 of the latents' largest value, and one level of 255 in the image. Ours runs both rows of a frame
in a batch of a fixed size, diffusers in one of its own; sums in another order are all that differs (the largest difference
seen is a hundredth of that). In bfloat16 diffusers keeps the latents in bfloat16 between the steps and we in float32, so
pictures differ by what rounding to 8 bits of mantissa does at every step.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache, wraps
from itertools import product
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch
from pipelines import VARIANTS, make_lora, make_pipeline
from sentencepiece import SentencePieceTrainer
from torch import Tensor

import render.engine.renderer
from render.core.blend import Image, Prompt, Seed, mix
from render.core.recipe import Recipe
from render.core.walk import Keyframe
from render.engine.denoise import pack_rows
from render.engine.renderer import Renderer
from render.models.model import Changes, Model, resolve_model
from render.plan.units import evaluations_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`"),  # peft, of a second LoRA
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),  # diffusers' LMS and DEIS on NumPy 2
]

TOLERANCE = 5e-4  # of the latents' largest value
ABSENT = {"sd3-no-t5": {"text_encoder_3": None, "tokenizer_3": None}}  # diffusers wants to be told again
DPM = {"algorithm_type": "dpmsolver++"}
DIFFUSION: dict[str, tuple[Any, dict[str, Any]]] = {  # name → what it has to be in diffusers
    "ddim": (diffusers.DDIMScheduler, {}),
    "pndm": (diffusers.PNDMScheduler, {"skip_prk_steps": True}),
    "lms": (diffusers.LMSDiscreteScheduler, {}),
    "euler": (diffusers.EulerDiscreteScheduler, {}),
    "euler_a": (diffusers.EulerAncestralDiscreteScheduler, {}),
    "heun": (diffusers.HeunDiscreteScheduler, {}),
    "dpm++2m": (diffusers.DPMSolverMultistepScheduler, DPM),
    "dpm++2m karras": (diffusers.DPMSolverMultistepScheduler, {**DPM, "use_karras_sigmas": True}),
    "dpm++ sde": (diffusers.DPMSolverSinglestepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": (diffusers.UniPCMultistepScheduler, {}),
    "deis": (diffusers.DEISMultistepScheduler, {}),
    "lcm": (diffusers.LCMScheduler, {}),
}
FLOWING = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
FLOW: dict[str, tuple[Any, dict[str, Any]]] = {
    "flow-euler": (diffusers.FlowMatchEulerDiscreteScheduler, {}),
    "flow-heun": (diffusers.FlowMatchHeunDiscreteScheduler, {}),
    "flow-dpm++2m": (diffusers.DPMSolverMultistepScheduler, {**DPM, **FLOWING}),
    "flow-unipc": (diffusers.UniPCMultistepScheduler, FLOWING),
}
FLUX = {"flux-dev": tuple(name for name in FLOW if name != "flow-heun"), "flux-schnell": ("flow-euler",)}
FITTING = {
    variant: FLUX.get(variant, tuple(FLOW) if variant.startswith("sd3") else tuple(DIFFUSION)) for variant in VARIANTS
}
EVERY_SCHEDULER = [(variant, name) for variant in VARIANTS for name in FITTING[variant]]


PLAIN = Changes()


class Pair:
    """Our renderer of a small pipeline, and diffusers' pipeline of the same folder."""

    def __init__(self, variant: str, folder: Path, dtype: str = "float32", changes: Changes = PLAIN) -> None:
        self.variant, self.folder, self._dtype = variant, folder, dtype
        self.model: Model = resolve_model(str(folder), None, Path.cwd(), changes=changes)

    @property
    def renderer(self) -> Renderer:
        return _renderer(self.model, self._dtype)

    @property
    def stock(self) -> Any:
        return _stock(self.folder, self.variant, self._dtype)

    def recipe(self, **fields: Any) -> Recipe:
        default: dict[str, Any] = {
            "prompt": Prompt("a photo of a red cat"),
            "negative_prompt": Prompt("night"),
            "noise": Seed(7),
            "width": 64,
            "height": 64,
            "steps": 4,
            "guidance": 4.0,
            "scheduler": self.model.sampling.scheduler,
            "model": self.model.fingerprint,
            "embedded_guidance": 3.5 if self.model.facts.guidance_embeds else None,
        }
        return Recipe(**{**default, **fields})

    def check(self, recipe: Recipe, **settings: Any) -> None:
        """Our latents and image are diffusers'."""
        (latents,) = rendered(self.renderer, [recipe])
        steps: list[Tensor] = []
        image = self.theirs(recipe, steps, output_type="np", **settings)[0] * 255.0
        theirs = self._unpacked(steps[-1], recipe)
        atol = TOLERANCE * float(theirs.abs().max())
        torch.testing.assert_close(latents, theirs, atol=atol, rtol=0)
        assert np.abs(self.renderer.decode(latents, recipe.tiled) - image).max() <= 1

    def theirs(self, recipe: Recipe, steps: list[Tensor] | None = None, **settings: Any) -> Any:
        """What diffusers makes of a recipe without blends: latents `[1, C, H, W]` or images in 0 … 1.

        `steps` takes the latents after each step, as the scheduler returns them.
        """
        assert isinstance(recipe.prompt, Prompt)
        assert isinstance(recipe.negative_prompt, Prompt)
        assert isinstance(recipe.noise, Seed)
        stock = self._as_asked(recipe)
        if steps is not None:
            stock.scheduler.step = _noted(stock.scheduler.step, steps)
        asked: dict[str, Any] = {
            "num_inference_steps": recipe.steps,
            "guidance_scale": recipe.guidance if recipe.embedded_guidance is None else recipe.embedded_guidance,
            "negative_prompt": recipe.negative_prompt.text or None,
            "generator": torch.Generator().manual_seed(recipe.noise.value),
            **({} if recipe.image and self.variant.startswith("sd") and "sd3" not in self.variant else size_of(recipe)),
        }
        if self.variant.startswith("flux"):
            asked["true_cfg_scale"] = recipe.guidance
            asked["negative_prompt"] = recipe.negative_prompt.text
        if self.variant == "pixart":
            asked |= {"clean_caption": False, "use_resolution_binning": False}
            asked["negative_prompt"] = recipe.negative_prompt.text
        found = stock(recipe.prompt.text, **asked, **settings).images
        return self._unpacked(found, recipe) if settings["output_type"] == "latent" else found

    def _unpacked(self, latents: Tensor, recipe: Recipe) -> Tensor:
        """Latents `[1, C, H, W]`; Flux has them in patches."""
        if not self.variant.startswith("flux"):
            return latents
        unpacked: Tensor = self.stock._unpack_latents(latents, recipe.height, recipe.width, self.stock.vae_scale_factor)
        return unpacked

    def _as_asked(self, recipe: Recipe) -> Any:
        """The pipeline of the kind that a recipe needs, with its scheduler."""
        stock = self.stock
        if recipe.image:
            stock = getattr(diffusers, f"{type(stock).__name__.removesuffix('Pipeline')}Img2ImgPipeline").from_pipe(
                stock
            )
            stock.set_progress_bar_config(disable=True)
        scheduler, settings = (DIFFUSION | FLOW)[recipe.scheduler]
        own = "scheduler_config.json"
        config = scheduler.load_config(self.folder / "scheduler" / own)
        if "use_flow_sigmas" in settings:
            settings = {**settings, "flow_shift": config["shift"]}
        stock.scheduler = scheduler.from_config(config, **settings)
        return stock


def _noted(step: Callable[..., Any], steps: list[Tensor]) -> Callable[..., Any]:
    """A scheduler's `step` that also notes the latents it returns."""

    @wraps(step)  # pipelines look at its parameters
    def noted(*args: Any, **kwargs: Any) -> Any:
        found = step(*args, **kwargs)
        steps.append(found[0])
        return found

    return noted


def size_of(recipe: Recipe) -> dict[str, int]:
    return {"width": recipe.width, "height": recipe.height}


@cache
def _renderer(model: Model, dtype: str) -> Renderer:
    return Renderer(model, "cpu", dtype, threads=1)


@cache
def _stock(folder: Path, variant: str, dtype: str) -> Any:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, **ABSENT.get(variant, {})
    )
    pipeline.set_progress_bar_config(disable=True)
    if variant.startswith("sd") and not hasattr(pipeline.text_encoder, "text_model"):
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)  # transformers 5 has moved it
    return pipeline


def rendered(renderer: Renderer, recipes: Sequence[Recipe], rows: int = 3) -> list[Tensor]:
    """Final latents of recipes, all through one batch loop, in the recipes' order."""
    waiting = iter(enumerate(recipes))

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    done = dict(pack_rows(admit, lambda batch: renderer.run(batch, rows), rows))
    for result in done.values():
        if isinstance(result, Exception):
            raise result
    return [done[token] for token in range(len(recipes))]  # type: ignore[misc]


MakePair = Callable[..., Pair]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    base = tmp_path_factory.mktemp("pipelines")
    return cache(lambda variant: make_pipeline(variant, base / variant))


@pytest.fixture(scope="session")
def pair(folders: Callable[[str], Path], one_thread: None) -> MakePair:
    def make(variant: str, dtype: str = "float32", changes: Changes = PLAIN) -> Pair:
        return Pair(variant, folders(variant), dtype, changes)

    return make


def test_schedulers_that_fit_are_those_that_are_tested(pair: MakePair) -> None:
    assert {variant: pair(variant).model.facts.schedulers for variant in VARIANTS} == FITTING


@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize(("variant", "scheduler"), EVERY_SCHEDULER)
def test_pictures_are_those_of_diffusers(pair: MakePair, variant: str, scheduler: str, guidance: float) -> None:
    small = pair(variant)
    small.check(small.recipe(scheduler=scheduler, guidance=guidance))


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 128)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_of_other_sizes(pair: MakePair, variant: str, width: int, height: int) -> None:
    small = pair(variant)
    small.check(small.recipe(width=width, height=height, prompt=Prompt("an old boat on a lake"), noise=Seed(3)))


@pytest.mark.parametrize("steps", [1, 9, 20])
@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_of_other_step_counts(pair: MakePair, variant: str, steps: int) -> None:
    small = pair(variant)
    small.check(small.recipe(steps=steps, guidance=2.5))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_without_a_negative_prompt(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    small.check(small.recipe(negative_prompt=Prompt("")))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_in_bfloat16(pair: MakePair, variant: str) -> None:
    """As near to diffusers' in bfloat16 as that is to its own in float32, or nearer."""
    small, exact = pair(variant, "bfloat16"), pair(variant)
    recipe = small.recipe(guidance=2.0)
    (latents,) = rendered(small.renderer, [recipe])
    theirs = small.theirs(recipe, output_type="latent").float()
    rounding = (theirs - exact.theirs(recipe, output_type="latent")).pow(2).mean().sqrt()
    assert rounding > 0
    assert (latents - theirs).pow(2).mean().sqrt() <= 1.5 * rounding


def test_a_distilled_model_s_guidance_is_a_value_of_each_row(pair: MakePair) -> None:
    small = pair("flux-dev")
    recipes = [small.recipe(embedded_guidance=value, guidance=1.0) for value in (1.0, 3.5, 9.0)]
    together = rendered(small.renderer, recipes, rows=3)
    for recipe, latents in zip(recipes, together, strict=True):
        theirs = small.theirs(recipe, output_type="latent")
        torch.testing.assert_close(latents, theirs, atol=TOLERANCE * float(theirs.abs().max()), rtol=0)
    assert not torch.allclose(together[0], together[2], atol=0.01)


@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_latent_consistency_models(pair: MakePair, variant: str, tmp_path: Path) -> None:
    """Their UNet takes the guidance scale beside the timestep."""
    stock = _stock.__wrapped__(pair(variant).folder, variant, "float32")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel.from_config({**stock.unet.config, "time_cond_proj_dim": 32})
    unet.load_state_dict(stock.unet.state_dict(), strict=False)
    stock.register_modules(unet=unet)
    stock.save_pretrained(tmp_path / "lcm")
    small = Pair(variant, tmp_path / "lcm")
    recipes = [small.recipe(scheduler="lcm", guidance=1.0, embedded_guidance=scale) for scale in (2.0, 8.5)]
    for recipe in recipes:
        small.check(recipe)
    assert not torch.allclose(*rendered(small.renderer, recipes), atol=0.01)


# Image to image


@pytest.fixture(scope="session")
def start_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    levels = np.linspace(0, 255, 64 * 96 * 3).reshape(64, 96, 3).astype(np.uint8)
    levels[20:40, 30:60] = (250, 40, 10)
    path = tmp_path_factory.mktemp("images") / "start.png"
    PIL.Image.fromarray(levels).save(path)
    return Image(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


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


def picture(image: Image) -> PIL.Image.Image:
    with PIL.Image.open(image.path) as opened:
        return opened.convert("RGB")


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


# Frames on the way


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


# Changes of a model


@pytest.mark.parametrize("variant", ["sd", "sd-v", "sdxl", "sd3"])
def test_layers_that_are_skipped(pair: MakePair, variant: str) -> None:
    small, whole = pair(variant, changes=Changes(clip_skip=1)), pair(variant)
    recipe = small.recipe()
    small.check(recipe, clip_skip=1)
    assert small.model.fingerprint != whole.model.fingerprint
    assert not torch.allclose(rendered(small.renderer, [recipe])[0], rendered(whole.renderer, [recipe])[0], atol=0.01)


@pytest.mark.parametrize("variant", ["sd", "sdxl", "sd3", "flux-dev"])
def test_loras_are_those_of_diffusers(
    pair: MakePair, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pair(variant)
    files = [make_lora(variant, plain.folder, tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]
    small = Pair(variant, plain.folder, changes=Changes(loras=((files[0], 0.8), (files[1], -0.3))))
    stock = _stock.__wrapped__(plain.folder, variant, "float32")
    for number, file in enumerate(files):
        stock.load_lora_weights(tmp_path, weight_name=file.name, adapter_name=str(number), local_files_only=True)
    stock.set_adapters(["0", "1"], [0.8, -0.3])
    monkeypatch.setattr(Pair, "stock", stock)
    small.check(small.recipe())
    assert not torch.allclose(*(rendered(one.renderer, [small.recipe()])[0] for one in (small, plain)), atol=0.05)


def test_loras_are_part_of_the_fingerprint(pair: MakePair, tmp_path: Path) -> None:
    plain = pair("sd")
    one, two = (make_lora("sd", plain.folder, tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    lists = [(), ((one, 0.8),), ((one, 0.8), (two, -0.3)), ((one, 0.8), (two, -0.4)), ((two, -0.3), (one, 0.8))]
    assert len({Pair("sd", plain.folder, changes=Changes(loras=loras)).model.fingerprint for loras in lists}) == 5


def test_a_lora_of_another_model_is_refused(pair: MakePair, tmp_path: Path) -> None:
    file = make_lora("flux-dev", pair("flux-dev").folder, tmp_path / "flux.safetensors")
    with pytest.raises(
        ValueError,
        match=r"flux\.safetensors: required weights for unet, text_encoder, got some for text_encoder, transf",
    ):
        _ = Pair("sd", pair("sd").folder, changes=Changes(loras=((file, 1.0),))).renderer


# Walks


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
    ends = [small.renderer._condition(prompt, negative=False) for prompt in a]
    between = small.renderer._condition(mix(how, *a, 0.5), negative=False)
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


def test_a_tokenizer_of_sentencepiece(pair: MakePair, tmp_path: Path) -> None:
    """Older folders have no other; how many words it loses is not told."""
    folder = shutil.copytree(pair("pixart").folder, tmp_path / "old")
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    words = iter(["a red cat on a mat", "a blue house by the sea", "an old boat in the snow"] * 20)
    with (folder / "tokenizer" / "spiece.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=words, model_writer=file, vocab_size=60, hard_vocab_limit=False, minloglevel=2,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        )  # fmt: skip
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 300, "extra_ids": 0}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    small = Pair("pixart", folder)
    small.check(small.recipe())
    assert list(small.model.lost_words(["word " * 400])) == []


# Memory


@pytest.mark.parametrize("variant", ["sd", "sd3"])
def test_tiles_are_those_of_diffusers(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    recipe = small.recipe(width=128, height=96, tiled=True)
    (latents,) = rendered(small.renderer, [recipe])
    whole, tiled = (small.renderer.decode(latents, tiles) for tiles in (False, True))
    assert not np.array_equal(whole, tiled)
    small.stock.vae.enable_tiling()
    try:
        theirs = small.theirs(recipe, output_type="np")[0] * 255.0
    finally:
        small.stock.vae.disable_tiling()
    assert np.abs(tiled - theirs).max() <= 1


def test_text_encoders_leave_a_device_that_is_short_of_memory(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go once the prompts at hand are encoded, and come back for the next that are not."""
    small = pair("sd3")
    renderer = Renderer(small.model, "cpu", "float32", threads=1)
    moves: list[str] = []
    monkeypatch.setattr(render.engine.renderer, "memory_is_short", lambda device: True)
    monkeypatch.setattr(renderer, "_move_encoders", lambda device: moves.append(str(device)))
    family = renderer._family
    encoded: list[str] = []

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def encode(self, prompt: str, negative: bool) -> Any:
            encoded.append(prompt)
            moves.append("encode")
            return family.encode(prompt, negative)

    monkeypatch.setattr(renderer, "_family", Noting())
    walk = mix("slerp", Prompt("a"), Prompt("b"), 0.5)
    renderer.prepare([small.recipe(prompt=walk), small.recipe(prompt=Prompt("b"), guidance=1.0)])
    assert encoded == ["a", "b", "night"]
    assert moves[-1] == "cpu"
    moves.clear()
    rendered(renderer, [small.recipe(prompt=walk)])
    assert moves == []
    renderer.prepare([small.recipe(prompt=Prompt("c"))])
    assert moves == ["cpu", "encode", "cpu"]  # to the renderer's device, which is a CPU here, and away again
