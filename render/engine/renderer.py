"""Render recipes with one loaded pipeline: encode prompts, start frames, run batches of one size, decode latents."""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.core import IMAGE_BYTES, Blend, Image, Leaf, Prompt, Recipe, leaves, local_file, media_path
from render.engine.batch import Batch
from render.engine.compile import CompiledParts
from render.engine.decode import Decoder
from render.engine.denoise import (
    FrameGenerator,
    NoiseSource,
    Row,
    SamplerState,
    denoise,
    initial_state,
    latents_to_decode,
)
from render.engine.device import choose_dtype, describe_device, library_versions
from render.engine.interpolate import evaluate, slerp
from render.engine.prompts import PromptCache, PromptKey
from render.engine.samples import SAMPLES, sample_rows
from render.engine.sharing import sampled_recipes, shared_results, without_clean
from render.engine.stacking import ConditioningStacks
from render.engine.threads import RowThreads, use_threads
from render.engine.tuner import CudaInstruments, Tunable, Tuner
from render.engine.windows import equal_lengths, run_by_shape
from render.media import read_image
from render.models import Conditioning, Family, Loading, Model, copy_to, encode_prompt, load_family, text_encoders

__all__ = ["Renderer"]

UNITS_PREPARED = 64  # units whose shared results are known; frames of as many may be in flight
STATES_MAX = 64  # shared sampler states in the cache
SINGLE = Batch.full(1)


class Renderer:
    """A loaded pipeline that turns recipes into pixels on one device.

    Not thread-safe, except that `decode` may run in a second thread.
    """

    def __init__(
        self, model: Model, device: str, dtype: str, threads: int, media: Path = Path(), compiles: bool = False
    ) -> None:
        """Load `model`. `device` is cpu or cuda, `dtype` auto, float32 or bfloat16, `threads` torch's CPU threads.

        Recipes name their start images relative to the folder `media`, which may be a URL. With `compiles` network and
        decoder are compiled.
        """
        use_threads(threads)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._media = media
        self._device = torch.device(device)
        self._row_threads = RowThreads(threads if device == "cpu" else 1)
        self._guidance_embeds = model.facts.guidance_embeds
        self._dtype = choose_dtype(self._device, dtype)
        loading = Loading(model.path, self._device, self._dtype, model.changes.clip_skip, model.loras)
        self._family: Family = load_family(model.family, loading)
        self.decoder = Decoder(self._family.autoencoder, self._device)
        compiled = CompiledParts(self._family.pipeline, self._device) if compiles else None
        tunable = Tunable(
            samples=self._sample_rows,
            evaluate=self._evaluate_batch,
            decode=self._decode_rows,
            eager=compiled.eager if compiled else nullcontext,
        )
        self.tuner = Tuner(tunable, CudaInstruments(self._device) if device == "cuda" else None, compiles)
        self._prompts = PromptCache(
            partial(encode_prompt, self._family), lambda: text_encoders(self._family.pipeline), self._device
        )
        self._states: OrderedDict[str, SamplerState] = OrderedDict()  # results shared between frames, by recipe key
        self._in_progress: set[str] = set()  # keys of the shared results that a frame in flight is computing
        self._stacks = ConditioningStacks()
        self._shared: deque[dict[str, Recipe | None]] = deque(maxlen=UNITS_PREPARED)  # a unit: its shared_results
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.device = describe_device(self._device, threads)
        self.fingerprint, self.compiles, self.versions = model.fingerprint, compiles, library_versions()

    @torch.inference_mode()
    def prepare(self, recipes: Iterable[Recipe], ahead: Iterable[Recipe] = ()) -> None:
        """Get ready for the frames of a unit: encode their prompts and note which results they share.

        Shared results are computed once: the ends of tweens, frames of the same recipe, and the steps of one trajectory
        that is shown at several of its steps. Where GPU memory is short, the text encoders leave it afterwards; the prompts
        of `ahead`, frames of following units, are encoded before they do.
        """
        recipes = list(recipes)
        self._shared.append(shared_results(recipes))
        self._prompts.hold(_prompts_of(recipes), _prompts_of(ahead))

    @torch.inference_mode()
    def start(self, recipe: Recipe) -> FrameGenerator:
        """Return the frame as a generator. Nothing is computed, prompts included, before its first `next`."""
        if recipe.towards is None:
            sampled = without_clean(recipe)
            shared = any(sampled.key in results for results in self._shared)
            end = yield from (self._sample_once(sampled) if shared else self._sample(sampled))
            return self.decoder.queued(latents_to_decode(recipe, end))
        first, last = sampled_recipes(recipe)
        a = yield from self._sample_once(first)
        b = yield from self._sample_once(last)
        return self.decoder.queued(slerp(a.latents, b.latents, recipe.t, per_vector=False))

    def forget(self) -> None:
        """Drop all shared results. Call it when no frame is in flight.

        The frames that were computing some of them will not finish, and the next batches may have another size, at which
        continuing from the old results would give other bits.
        """
        self._in_progress.clear()
        self._states.clear()
        self._stacks.clear()

    def _sample(self, recipe: Recipe) -> Generator[list[Row], list[Tensor], SamplerState]:
        """Take a recipe's steps, from noise, from its start image, or from the state of an earlier recipe."""
        noise = NoiseSource(recipe.noise, self._device)
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
            guidance = torch.tensor(
                recipe.embedded_guidance, dtype=torch.float32
            )  # on the CPU: its value is known there
            positive, negative = positive | {"guidance": guidance}, negative | {"guidance": guidance}
        return positive, negative

    @torch.inference_mode()
    def run(self, rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        """Return the network's float32 output `[1, C, H, W]` for each of 1 … `batch.capacity` rows.

        The rows lie at the batch's safe places, and copies of the last row at all others, so that the network sees one
        batch size. Rows of another number of tokens are a batch of their own.
        """
        return run_by_shape(rows, lambda own: self._run(own, batch))

    def _run(self, rows: Sequence[Row], batch: Batch) -> list[Tensor]:
        return batch.take(torch.split(self._evaluate_batch(batch.fill(rows)), 1), len(rows))

    def _evaluate_batch(self, rows: Sequence[Row]) -> Tensor:
        self._stacks.begin(rows)
        return self._row_threads.compute(rows, self._evaluate)

    @torch.inference_mode()
    def _sample_rows(self, width: int, height: int) -> list[Row]:
        shape = self._family.autoencoder.latent_shape(width, height)
        self._prompts.hold((text, False, "plain") for text, _ in SAMPLES)  # encoders that have no room move once
        return sample_rows(
            shape, self._device, lambda text: self._prompts.get((text, False, "plain")), self._guidance_embeds
        )

    @torch.inference_mode()
    def _decode_rows(self, rows: Sequence[Row]) -> Tensor:
        return self._family.autoencoder.decode_values(torch.cat([row.latents for row in rows]), tiled=False)

    @torch.inference_mode()
    def _evaluate(self, rows: Sequence[Row]) -> Tensor:
        latents = torch.cat([row.latents for row in rows]).to(self._dtype)
        output = self._family.evaluate(
            latents.contiguous() if self.compiles else latents,  # each layout in memory would be compiled for
            copy_to(torch.stack([row.timestep.to(torch.float32) for row in rows]), self._device),
            self._stacks.stacked(rows),
        )
        return output.float()

    def decode(
        self, latents: Sequence[Tensor], tiled: bool, batch: Batch = SINGLE
    ) -> list[NDArray[np.uint8] | ValueError]:
        """Return the images of final latents of one shape, or what is wrong with each: see `Decoder.decode`."""
        return self.decoder.decode(latents, tiled, batch)

    def _condition(self, blend: Blend, negative: bool, syntax: str) -> Conditioning:
        """Return the conditioning of a blend of prompts, each of its tensors interpolated."""
        ends = {leaf: self._prompts.get(_prompt_key(leaf, negative, syntax)) for leaf in leaves(blend)}
        ends = dict(zip(ends, equal_lengths([*ends.values()]), strict=True))
        names = next(iter(ends.values()))

        def at(name: str) -> Tensor:
            return evaluate(blend, lambda leaf: ends[leaf][name], linear=name in self._family.linear)

        return {name: at(name) for name in names}

    def _image_encoder(self, recipe: Recipe) -> Callable[[Tensor], Tensor] | None:
        """Return a function from standard normal noise to a sample of the start image's latents; None without image."""
        start = recipe.image
        if start is None:
            return None
        pixels = {leaf: _read_image(self._media, leaf, (recipe.width, recipe.height)) for leaf in leaves(start)}
        encode = self._family.autoencoder.encode
        return lambda noise: evaluate(start, lambda leaf: encode(pixels[leaf], noise, recipe.tiled))


def _prompts_of(recipes: Iterable[Recipe]) -> Iterator[PromptKey]:
    """Yield the prompts of recipes, and the negative ones of guided recipes."""
    for recipe in recipes:
        syntax, negatives = recipe.prompt_syntax, leaves(recipe.negative_prompt) if recipe.guided else ()
        yield from (_prompt_key(leaf, False, syntax) for leaf in leaves(recipe.prompt))
        yield from (_prompt_key(leaf, True, syntax) for leaf in negatives)


def _prompt_key(leaf: Leaf, negative: bool, syntax: str) -> PromptKey:
    if not isinstance(leaf, Prompt):
        raise TypeError(f"prompt: required prompts, got {leaf}")
    return leaf.text, negative, syntax


def _read_image(root: Path, leaf: Leaf, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return an image file as RGB `[height, width, 3]` of the given (width, height), resized by Lanczos if need be.

    Raises ValueError if the file's hash is not the one in the recipe.
    """
    if not isinstance(leaf, Image):
        raise TypeError(f"image: required images, got {leaf}")
    data = local_file(media_path(root, leaf.path), IMAGE_BYTES, leaf.sha256).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != leaf.sha256:
        raise ValueError(f"image {leaf.path}: required a file of SHA-256 {leaf.sha256}, got {found}")
    image = read_image(io.BytesIO(data))
    return np.array(image if image.size == size else image.resize(size, PIL.Image.Resampling.LANCZOS))
