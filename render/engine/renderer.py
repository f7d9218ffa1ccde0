"""Render recipes with one loaded pipeline: encode prompts, start frames, run batches of one size, decode latents."""

from __future__ import annotations

import hashlib
import io
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.core import Blend, Image, Leaf, Prompt, Recipe, cpu_has, cpu_info, leaves
from render.engine.denoise import (
    FrameGenerator,
    NoiseSource,
    Row,
    SamplerState,
    denoise,
    initial_state,
    latents_to_decode,
)
from render.engine.interpolate import evaluate, slerp
from render.engine.threads import RowThreads, use_threads
from render.engine.windows import equal_lengths, run_by_shape
from render.media import read_image
from render.models import Conditioning, Family, Loading, Model, encode_prompt, load_family, text_encoders

__all__ = ["Renderer", "choose_dtype"]

EMBEDDINGS_BYTES = 2**30  # prompt embeddings in the cache; a prompt takes 0.6 MB (SDXL, float32) to 8 MB (FLUX.1)
UNITS_PREPARED = 3  # units whose shared results are known; frames of as many may be in flight
STATES_MAX = 64  # shared sampler states in the cache
FREE_SHARE_MIN = 0.25  # share of a GPU's memory that denoising should find free once everything is loaded


class Renderer:
    """A loaded pipeline that turns recipes into pixels on one device.

    Not thread-safe, except that `decode` may run in a second thread.
    """

    def __init__(self, model: Model, device: str, dtype: str, threads: int, media: Path = Path()) -> None:
        """Load `model`. `device` is cpu or cuda, `dtype` auto, float32 or bfloat16, `threads` torch's CPU threads.

        Recipes name their start images relative to the folder `media`.
        """
        use_threads(threads)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._media = media
        self._device = torch.device(device)
        self._row_threads = RowThreads(threads if device == "cpu" else 1)
        self._dtype = choose_dtype(self._device, dtype)
        changes = model.changes
        loading = Loading(model.path, self._device, self._dtype, changes.clip_skip, changes.loras)
        self._family: Family = load_family(model.family, loading)
        self._embeddings: OrderedDict[tuple[str, bool, str], Conditioning] = OrderedDict()  # by arguments of _encode
        self._states: OrderedDict[str, SamplerState] = OrderedDict()  # results shared between frames, by recipe key
        self._in_progress: set[str] = set()  # keys of the shared results that a frame in flight is computing
        self._shared: deque[dict[str, Recipe | None]] = deque(maxlen=UNITS_PREPARED)  # a unit: its shared_results
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.device = _describe_device(self._device, threads)

    @torch.inference_mode()
    def prepare(self, recipes: Iterable[Recipe]) -> None:
        """Get ready for the frames of a unit: encode their prompts and note which results they share.

        Shared results are computed once: the ends of tweens, frames of the same recipe, and the steps of one trajectory
        that is shown at several of its steps. If GPU memory is short, the text encoders move to the CPU afterwards.
        """
        recipes = list(recipes)
        self._shared.append(shared_results(recipes))
        for recipe in recipes:
            for leaf in leaves(recipe.prompt):
                self._encode(leaf, False, recipe.prompt_syntax)
            for leaf in leaves(recipe.negative_prompt) if recipe.guided else ():
                self._encode(leaf, True, recipe.prompt_syntax)
        if memory_is_short(self._device):
            self._move_encoders(torch.device("cpu"))
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def start(self, recipe: Recipe) -> FrameGenerator:
        """Return the frame as a generator. Nothing is computed, prompts included, before its first `next`."""
        if recipe.towards is None:
            sampled = _without_clean(recipe)
            shared = any(sampled.key in results for results in self._shared)
            end = yield from (self._sample_once(sampled) if shared else self._sample(sampled))
            return latents_to_decode(recipe, end)
        first, last = _sampled_recipes(recipe)
        a = yield from self._sample_once(first)
        b = yield from self._sample_once(last)
        return slerp(a.latents, b.latents, recipe.t, per_vector=False)

    def forget(self) -> None:
        """Drop all shared results. Call it when no frame is in flight.

        The frames that were computing some of them will not finish, and the next batches may have another size, at which
        continuing from the old results would give other bits.
        """
        self._in_progress.clear()
        self._states.clear()

    def _sample(self, recipe: Recipe) -> Generator[list[Row], list[Tensor], SamplerState]:
        """Take a recipe's steps, from noise, from its start image, or from the state of an earlier recipe."""
        noise = NoiseSource(recipe.noise)
        shape = self._family.autoencoder.latent_shape(recipe.width, recipe.height)
        earlier = self._earlier_recipe(recipe)
        if earlier is None:
            scheduler = self._family.scheduler(recipe.scheduler, recipe.steps, shape)
            start = initial_state(recipe, scheduler, shape, self._image_encoder(recipe), noise)
        else:
            start = deepcopy((yield from self._sample_once(earlier)))
            for _ in range(start.noise_draws):  # the earlier steps took them; this frame's noise continues after them
                noise.draw(shape)
        return (yield from denoise(recipe, self._guidance_pair(recipe), start, noise))

    def _earlier_recipe(self, recipe: Recipe) -> Recipe | None:
        """Return the recipe to continue from, or None to start anew.

        It is the latest one of the same trajectory that is computed or being computed, otherwise the recipe's stem. The
        others of the trajectory are passed over: to compute each for the next would be a chain as long as the steps.
        """
        key = recipe.key
        while earlier := next(filter(None, (results.get(key) for results in self._shared)), None):
            key = earlier.key
            if key in self._states or key in self._in_progress:
                return earlier
        return recipe.stem

    def _sample_once(self, recipe: Recipe) -> Generator[list[Row], list[Tensor], SamplerState]:
        """Sample a shared recipe: the first frame that asks computes it, and the others wait by yielding no rows."""
        key = recipe.key
        while key in self._in_progress:
            yield []
        if key not in self._states:
            self._in_progress.add(key)
            try:
                self._states[key] = yield from self._sample(recipe)
            finally:
                self._in_progress.discard(key)
            if len(self._states) > STATES_MAX:
                self._states.popitem(last=False)
        self._states.move_to_end(key)
        return self._states[key]

    def _guidance_pair(self, recipe: Recipe) -> tuple[Conditioning, Conditioning]:
        """Return the conditioning of the prompt and that of the negative prompt ({} without guidance)."""
        positive = self._condition(recipe.prompt, False, recipe.prompt_syntax)
        negative = self._condition(recipe.negative_prompt, True, recipe.prompt_syntax) if recipe.guided else {}
        positive, negative = equal_lengths([positive, negative])
        if recipe.embedded_guidance is not None:
            guidance = torch.tensor(recipe.embedded_guidance, dtype=torch.float32, device=self._device)
            positive, negative = positive | {"guidance": guidance}, negative | {"guidance": guidance}
        return positive, negative

    @torch.inference_mode()
    def run(self, rows: Sequence[Row], batch_rows: int) -> list[Tensor]:
        """Return the network's float32 output `[1, C, H, W]` for each row.

        The batch is filled to `batch_rows` with copies of the last row, so that the network sees one batch size. Rows of
        another number of tokens are a batch of their own.
        """
        return run_by_shape(rows, lambda own: self._run(own, batch_rows))

    def _run(self, rows: Sequence[Row], batch_rows: int) -> list[Tensor]:
        output = self._row_threads.compute([*rows, *[rows[-1]] * (batch_rows - len(rows))], self._evaluate)
        return list(torch.split(output[: len(rows)], 1))

    @torch.inference_mode()
    def _evaluate(self, rows: Sequence[Row]) -> Tensor:
        output = self._family.evaluate(
            torch.cat([row.latents for row in rows]).to(self._dtype),
            torch.stack([row.timestep.to(torch.float32) for row in rows]),
            {name: torch.stack([row.conditioning[name] for row in rows]) for name in rows[0].conditioning},
        )
        return output.float()

    @torch.inference_mode()
    def decode(self, latents: Tensor, tiled: bool) -> NDArray[np.uint8]:
        """Return the image `[height, width, 3]` of final latents. Raises ValueError if a value is not finite."""
        if not torch.isfinite(latents).all():
            raise ValueError("final latents: required finite values, got NaN or infinity")
        return self._family.autoencoder.decode(latents, tiled)

    def _condition(self, blend: Blend, negative: bool, syntax: str = "plain") -> Conditioning:
        """Return the conditioning of a blend of prompts, each of its tensors interpolated."""
        ends = {leaf: self._encode(leaf, negative, syntax) for leaf in leaves(blend)}
        ends = dict(zip(ends, equal_lengths([*ends.values()]), strict=True))
        names = next(iter(ends.values()))

        def at(name: str) -> Tensor:
            return evaluate(blend, lambda leaf: ends[leaf][name], linear=name in self._family.linear)

        return {name: at(name) for name in names}

    def _encode(self, leaf: Leaf, negative: bool, syntax: str) -> Conditioning:
        if not isinstance(leaf, Prompt):
            raise TypeError(f"prompt: required prompts, got {leaf}")
        held, key = self._embeddings, (leaf.text, negative, syntax)
        if key not in held:
            self._move_encoders(self._device)
            held[key] = encode_prompt(self._family, *key)
            while len(held) > 1 and sum(map(_size_bytes, held.values())) > EMBEDDINGS_BYTES:
                held.popitem(last=False)
        held.move_to_end(key)
        return held[key]

    def _move_encoders(self, device: torch.device) -> None:
        for encoder in text_encoders(self._family.pipeline):
            if encoder.device.type != device.type:
                encoder.to(device)

    def _image_encoder(self, recipe: Recipe) -> Callable[[Tensor], Tensor] | None:
        """Return a function from standard normal noise to a sample of the start image's latents; None without image."""
        start = recipe.image
        if start is None:
            return None
        pixels = {leaf: _read_image(self._media, leaf, (recipe.width, recipe.height)) for leaf in leaves(start)}
        encode = self._family.autoencoder.encode
        return lambda noise: evaluate(start, lambda leaf: encode(pixels[leaf], noise, recipe.tiled))


def shared_results(recipes: Iterable[Recipe]) -> dict[str, Recipe | None]:
    """Return the results wanted by several frames: key → the earlier recipe of its trajectory to continue from, if any.

    Recipes are of one trajectory if they differ in `stop` only: a later one repeats the steps of an earlier one.
    """
    sampled = [one for recipe in recipes for one in _sampled_recipes(recipe)]
    counts = Counter(recipe.key for recipe in sampled)
    shared: dict[str, Recipe | None] = {key: None for key, count in counts.items() if count > 1}
    trajectories: dict[str, dict[int, Recipe]] = defaultdict(dict)  # key of all steps → steps taken → recipe
    for recipe in sampled:
        trajectories[replace(recipe, stop=None).key][recipe.steps if recipe.stop is None else recipe.stop] = recipe
    for trajectory in trajectories.values():
        for earlier, later in pairwise(trajectory[taken] for taken in sorted(trajectory)):
            shared |= {earlier.key: shared.get(earlier.key), later.key: earlier}
    return shared


def _sampled_recipes(recipe: Recipe) -> tuple[Recipe, ...]:
    """Return the recipes whose sampling gives a frame's latents: the two ends of a tween, otherwise the frame's own."""
    if recipe.towards is None:
        return (_without_clean(recipe),)
    return _without_clean(replace(recipe, towards=None, t=0.0)), _without_clean(recipe.towards)


def _without_clean(recipe: Recipe) -> Recipe:
    """Return the recipe with the same steps that ends in noisy latents: showing x̂₀ needs no sampling of its own."""
    return replace(recipe, clean=False) if recipe.clean else recipe


def _read_image(root: Path, leaf: Leaf, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image file as RGB `[height, width, 3]` of the given (width, height), resized by Lanczos if need be.

    Raises ValueError if the file's hash is not the one in the recipe.
    """
    if not isinstance(leaf, Image):
        raise TypeError(f"image: required images, got {leaf}")
    data = (root / leaf.path).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != leaf.sha256:
        raise ValueError(f"image {leaf.path}: required a file of SHA-256 {leaf.sha256}, got {found}")
    image = read_image(io.BytesIO(data))
    return np.array(image if image.size == size else image.resize(size, PIL.Image.Resampling.LANCZOS))


def _size_bytes(conditioning: Conditioning) -> int:
    return sum(tensor.nbytes for tensor in conditioning.values())


def memory_is_short(device: torch.device) -> bool:
    """Return whether a GPU has less free memory than denoising may want; False for a CPU."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return free < FREE_SHARE_MIN * total


def choose_dtype(device: torch.device, dtype: str) -> torch.dtype:
    """Return the dtype by its name; for `auto`, bfloat16 if the device multiplies it in hardware, else float32."""
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def _describe_device(device: torch.device, threads: int) -> str:
    """Return the device's name, for a CPU with its thread count: the pixels' last bits depend on both."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_info('model name') or 'CPU'}, {threads} thread{'s' if threads > 1 else ''}"
