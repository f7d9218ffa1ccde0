"""Our renderer of a small pipeline with random weights, and diffusers' own pipeline of the same folder.

Tolerance in float32: 5e-4 of the latents' largest value, and one level of 255 in the image. Ours runs both rows of a frame
in a batch of a fixed size, diffusers in one of its own; sums in another order are all that differs (the largest difference
seen is a hundredth of that). In bfloat16 diffusers keeps the latents in bfloat16 between the steps and we in float32, so
pictures differ by what rounding to 8 bits of mantissa does at every step.

Test files name this module in `pytest_plugins`, for its fixtures. They also import its functions first, which pytest would
take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache, wraps
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import pytest
import torch
from numpy.typing import NDArray
from pipelines import VARIANTS, make_pipeline
from torch import Tensor

from render.core.blend import Image, Prompt, Seed
from render.core.recipe import Recipe
from render.engine.batch import Batch
from render.engine.denoise import pack_rows
from render.engine.renderer import Renderer
from render.models.model import Changes, Model, resolve_model

MARKS = [
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
        return load_stock(self.folder, self.variant, self._dtype)

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
        assert np.abs(image_of(self.renderer, latents, recipe.tiled) - image).max() <= 1

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
    """Return a scheduler's `step` that also notes the latents it returns."""

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
def load_stock(folder: Path, variant: str, dtype: str) -> Any:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder, dtype=getattr(torch, dtype), local_files_only=True, **ABSENT.get(variant, {})
    )
    pipeline.set_progress_bar_config(disable=True)
    if variant.startswith("sd") and not hasattr(pipeline.text_encoder, "text_model"):
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)  # transformers 5 has moved it
    return pipeline


def image_of(renderer: Renderer, latents: Tensor, tiled: bool) -> NDArray[np.uint8]:
    (image,) = renderer.decode([latents], tiled)
    assert isinstance(image, np.ndarray)
    return image


def rendered(renderer: Renderer, recipes: Sequence[Recipe], rows: int = 3) -> list[Tensor]:
    """Final latents of recipes, all through one batch loop, in the recipes' order."""
    waiting = iter(enumerate(recipes))

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    done = dict(pack_rows(admit, lambda batch: renderer.run(batch, Batch.full(rows)), rows))
    for result in done.values():
        if isinstance(result, Exception):
            raise result
    return [done[token] for token in range(len(recipes))]


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


@pytest.fixture(scope="session")
def start_image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    levels = np.linspace(0, 255, 64 * 96 * 3).reshape(64, 96, 3).astype(np.uint8)
    levels[20:40, 30:60] = (250, 40, 10)
    path = tmp_path_factory.mktemp("images") / "start.png"
    PIL.Image.fromarray(levels).save(path)
    return Image(str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def picture(image: Image) -> PIL.Image.Image:
    with PIL.Image.open(image.path) as opened:
        return opened.convert("RGB")
