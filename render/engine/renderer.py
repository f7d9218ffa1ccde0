"""One pipeline held: prompts encoded once, frames started, rows run at a fixed count, latents decoded."""

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
from render.engine.denoise import Evaluations, NoiseSource, Row, Stem, begin, denoise, shown
from render.engine.interpolate import evaluate, slerp
from render.engine.threads import RowThreads, use_threads
from render.media import read_image
from render.models import Conditioning, Family, Loading, Model, load_family, text_encoders

__all__ = ["Renderer", "choose_dtype"]

EMBEDDINGS_BYTES = 2**30  # of prompts that are held; SDXL takes 0.6 MB each in float32, FLUX.1 8 MB
UNITS_AWAITED = 3  # units whose frames may be in flight
SHARED_HELD = 64  # frames whose latents others go on from
MEMORY_SHORT = 0.25  # part of a GPU's memory that is to be free for denoising once everything is loaded


class Renderer:
    """Turns recipes into pixels on one device. Not thread-safe, but `decode` may run beside the rest."""

    def __init__(self, model: Model, device: str, dtype: str, threads: int, images: Path = Path()) -> None:
        """Load `model`. `device` is cpu or cuda, `dtype` auto, float32 or bfloat16, `threads` torch's CPU threads.

        Start images lie in the folder `images`.
        """
        use_threads(threads)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._images = images
        self._device = torch.device(device)
        self._row_threads = RowThreads(threads if device == "cpu" else 1)
        self._dtype = choose_dtype(self._device, dtype)
        changes = model.changes
        loading = Loading(model.path, self._device, self._dtype, changes.clip_skip, changes.loras)
        self._family: Family = load_family(model.family, loading)
        self._embeddings: OrderedDict[tuple[str, bool], Conditioning] = OrderedDict()
        self._shared: OrderedDict[str, Stem] = OrderedDict()  # by the recipe's key
        self._sharing: set[str] = set()  # that a frame in flight is rendering
        self._awaited: deque[dict[str, Recipe | None]] = deque(maxlen=UNITS_AWAITED)  # of each unit: see _awaited
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.device = _describe(self._device, threads)

    @torch.inference_mode()
    def prepare(self, recipes: Iterable[Recipe]) -> None:
        """Encode the prompts of a unit's frames; where memory is short, the text encoders leave the GPU after that.

        What several of its frames come to is rendered once: tweens' neighbours, frames of one recipe, and the steps
        of an image that is shown on its way.
        """
        recipes = list(recipes)
        self._awaited.append(_awaited(recipes))
        for recipe in recipes:
            for leaf in leaves(recipe.prompt):
                self._encode(leaf, negative=False)
            for leaf in leaves(recipe.negative_prompt) if recipe.guided else ():
                self._encode(leaf, negative=True)
        if memory_short(self._device):
            self._move_encoders(torch.device("cpu"))
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def start(self, recipe: Recipe) -> Evaluations:
        """The frame as a generator; it encodes its prompts when it first runs."""
        if recipe.towards is None:
            way = _way(recipe)
            shared = any(way.key in awaited for awaited in self._awaited)
            return shown(recipe, (yield from (self._share(way) if shared else self._render(way))))
        first, last = _ends(recipe)
        a = yield from self._share(first)
        b = yield from self._share(last)
        return slerp(a.latents, b.latents, recipe.t, per_vector=False)

    def forget(self) -> None:
        """Nothing is in flight: what a frame began to render for others will not be finished.

        Nor will what is held be gone on from, as the next batches may have another row count.
        """
        self._sharing.clear()
        self._shared.clear()

    def _render(self, recipe: Recipe) -> Generator[list[Row], list[Tensor], Stem]:
        """A frame's steps, from noise, from its start image, from its stem or from a frame earlier on its way."""
        noise = NoiseSource(recipe.noise)
        shape = self._family.autoencoder.latent_shape(recipe.width, recipe.height)
        before = self._before(recipe)
        if before is None:
            scheduler = self._family.scheduler(recipe.scheduler, recipe.steps, shape)
            start = begin(recipe, scheduler, shape, self._start_image(recipe), noise)
        else:
            start = deepcopy((yield from self._share(before)))
            for _ in range(start.draws):  # taken before; this frame's noise goes on behind them
                noise.draw(shape)
        return (yield from denoise(recipe, self._conditioning(recipe), start, noise))

    def _before(self, recipe: Recipe) -> Recipe | None:
        """What it goes on from: the last frame on its way that is rendered or being rendered, else its stem."""
        key = recipe.key
        while before := next(filter(None, (awaited.get(key) for awaited in self._awaited)), None):
            key = before.key
            if key in self._shared or key in self._sharing:
                return before
        return recipe.stem

    def _share(self, recipe: Recipe) -> Generator[list[Row], list[Tensor], Stem]:
        """What a recipe comes to, rendered by the first frame that asks; others that ask meanwhile wait for it."""
        key = recipe.key
        while key in self._sharing:
            yield []
        if key not in self._shared:
            self._sharing.add(key)
            try:
                self._shared[key] = yield from self._render(recipe)
            finally:
                self._sharing.discard(key)
            if len(self._shared) > SHARED_HELD:
                self._shared.popitem(last=False)
        self._shared.move_to_end(key)
        return self._shared[key]

    def _conditioning(self, recipe: Recipe) -> tuple[Conditioning, Conditioning]:
        """Of the prompt and of the negative prompt."""
        positive = self._condition(recipe.prompt, negative=False)
        negative = self._condition(recipe.negative_prompt, negative=True) if recipe.guided else {}
        if recipe.embedded_guidance is not None:
            guidance = torch.tensor(recipe.embedded_guidance, dtype=torch.float32, device=self._device)
            positive, negative = positive | {"guidance": guidance}, negative | {"guidance": guidance}
        return positive, negative

    @torch.inference_mode()
    def run(self, rows: Sequence[Row], count: int) -> list[Tensor]:
        """The network's float32 output `[1, C, H, W]` for each row; copies of the last row fill the batch to `count`."""
        output = self._row_threads.compute([*rows, *[rows[-1]] * (count - len(rows))], self._evaluate)
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
        """The image `[height, width, 3]` of final latents. Raises ValueError where they are not finite."""
        if not torch.isfinite(latents).all():
            raise ValueError("final latents: required finite values, got NaN or infinity")
        return self._family.autoencoder.decode(latents, tiled)

    def _condition(self, blend: Blend, negative: bool) -> Conditioning:
        """Every named tensor of the conditioning at the blend's point."""
        ends = {leaf: self._encode(leaf, negative) for leaf in leaves(blend)}
        names = next(iter(ends.values()))

        def at(name: str) -> Tensor:
            return evaluate(blend, lambda leaf: ends[leaf][name], linear=name in self._family.linear)

        return {name: at(name) for name in names}

    def _encode(self, leaf: Leaf, negative: bool) -> Conditioning:
        if not isinstance(leaf, Prompt):
            raise TypeError(f"prompt: required prompts, got {leaf}")
        held, key = self._embeddings, (leaf.text, negative)
        if key not in held:
            self._move_encoders(self._device)
            held[key] = self._family.encode(leaf.text, negative)
            while len(held) > 1 and sum(map(_size_bytes, held.values())) > EMBEDDINGS_BYTES:
                held.popitem(last=False)
        held.move_to_end(key)
        return held[key]

    def _move_encoders(self, device: torch.device) -> None:
        for encoder in text_encoders(self._family.pipeline):
            if encoder.device.type != device.type:
                encoder.to(device)

    def _start_image(self, recipe: Recipe) -> Callable[[Tensor], Tensor] | None:
        """A draw of the start image's latents for given noise."""
        start = recipe.image
        if start is None:
            return None
        pixels = {leaf: _read_image(self._images, leaf, (recipe.width, recipe.height)) for leaf in leaves(start)}
        encode = self._family.autoencoder.encode
        return lambda noise: evaluate(start, lambda leaf: encode(pixels[leaf], noise, recipe.tiled))


def _awaited(recipes: Iterable[Recipe]) -> dict[str, Recipe | None]:
    """The keys of what several frames come to, each with what it goes on from where that is a frame on the same way."""
    ways = [_way(end) for recipe in recipes for end in _ends(recipe)]
    counts = Counter(way.key for way in ways)
    found: dict[str, Recipe | None] = {key: None for key, count in counts.items() if count > 1}
    stops: dict[str, dict[int, Recipe]] = defaultdict(dict)  # those of one way, by the steps they take
    for way in ways:
        stops[replace(way, stop=None).key][way.steps if way.stop is None else way.stop] = way
    for along in stops.values():
        for before, after in pairwise(along[taken] for taken in sorted(along)):
            found |= {before.key: found.get(before.key), after.key: before}
    return found


def _way(recipe: Recipe) -> Recipe:
    """The recipe of the latents behind a frame: where it shows a clean image, of the steps that foretold it."""
    return replace(recipe, clean=False) if recipe.clean else recipe


def _ends(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipes that a frame's latents lie between; its own where it is no tween."""
    return (recipe,) if recipe.towards is None else (replace(recipe, towards=None, t=0.0), recipe.towards)


def _read_image(root: Path, leaf: Leaf, size: tuple[int, int]) -> NDArray[np.uint8]:
    """RGB `[height, width, 3]` of an image file. Raises ValueError where it is not the one that the recipe means."""
    if not isinstance(leaf, Image):
        raise TypeError(f"image: required images, got {leaf}")
    data = (root / leaf.path).read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != leaf.sha256:
        raise ValueError(f"image {leaf.path}: required a file of SHA-256 {leaf.sha256}, got {found}")
    image = read_image(io.BytesIO(data))
    return np.array(image if image.size == size else image.resize(size, PIL.Image.Resampling.LANCZOS))


def _size_bytes(conditioning: Conditioning) -> int:
    return sum(tensor.nbytes for tensor in conditioning.values())


def memory_short(device: torch.device) -> bool:
    """Whether a GPU has less free memory than denoising may want. A CPU's text encoders have nowhere to go."""
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    return free < MEMORY_SHORT * total


def choose_dtype(device: torch.device, dtype: str) -> torch.dtype:
    """The dtype asked for; for `auto` bfloat16 where the device multiplies it in hardware, else float32."""
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def _describe(device: torch.device, threads: int) -> str:
    """What the pixels' last bits depend on: the device's name, for a CPU its thread count as well."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_info('model name') or 'CPU'}, {threads} thread{'s' if threads > 1 else ''}"
