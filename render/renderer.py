"""One pipeline held: prompts encoded once, frames started, rows run at a fixed count, latents decoded."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from render.denoise import Evaluations, Row, denoise
from render.families import Conditioning, load_family
from render.interpolate import evaluate
from render.model import Model
from render.recipe import Blend, Prompt, Recipe, Seed

__all__ = ["Renderer", "choose_dtype"]

EMBEDDINGS_HELD = 1024  # prompts; SD 1.5 takes 0.24 MB each in float32


class Renderer:
    """Turns recipes into pixels on one device. Not thread-safe, but `decode` may run beside the rest."""

    def __init__(self, model: Model, device: str, dtype: str, threads: int) -> None:
        """Load `model`. `device` is cpu or cuda, `dtype` auto, float32 or bfloat16, `threads` torch's CPU threads."""
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._device = torch.device(device)
        self._dtype = choose_dtype(self._device, dtype)
        self._family = load_family(model.family, model.path, self._device, self._dtype)
        self._embeddings: OrderedDict[str, Conditioning] = OrderedDict()
        self.dtype = str(self._dtype).removeprefix("torch.")
        self.device = _describe(self._device, threads)

    @torch.inference_mode()
    def start(self, recipe: Recipe) -> Evaluations:
        """The frame as a generator; it encodes its prompts when it first runs."""
        latents = yield from denoise(
            recipe,
            positive=self._condition(recipe.prompt),
            negative=self._condition(recipe.negative_prompt) if recipe.guided else {},
            scheduler=self._family.scheduler(recipe.scheduler, recipe.steps),
            shape=self._family.latent_shape(recipe.width, recipe.height),
        )
        return latents

    @torch.inference_mode()
    def run(self, rows: Sequence[Row], count: int) -> list[Tensor]:
        """The network's float32 output `[1, C, H, W]` for each row; copies of the last row fill the batch to `count`."""
        filled = [*rows, *[rows[-1]] * (count - len(rows))]
        output = self._family.evaluate(
            torch.cat([row.latents for row in filled]).to(self._dtype),
            torch.stack([row.timestep.to(torch.float32) for row in filled]),
            {name: torch.stack([row.conditioning[name] for row in filled]) for name in rows[0].conditioning},
        )
        return list(torch.split(output[: len(rows)].float(), 1))

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """The image `[height, width, 3]` of final latents. Raises ValueError where they are not finite."""
        if not torch.isfinite(latents).all():
            raise ValueError("final latents: required finite values, got NaN or infinity")
        return self._family.decode(latents)

    def _condition(self, blend: Blend) -> Conditioning:
        """Every named tensor of the conditioning at the blend's point."""

        def encoded(name: str) -> Callable[[Prompt | Seed], Tensor]:
            return lambda leaf: self._encode(leaf)[name]

        return {name: evaluate(blend, encoded(name)) for name in self._encode(Prompt(""))}

    def _encode(self, leaf: Prompt | Seed) -> Conditioning:
        if not isinstance(leaf, Prompt):
            raise TypeError(f"prompt: required prompts, got {leaf}")
        prompt = leaf.text
        if prompt not in self._embeddings:
            self._embeddings[prompt] = self._family.encode(prompt)
            if len(self._embeddings) > EMBEDDINGS_HELD:
                self._embeddings.popitem(last=False)
        self._embeddings.move_to_end(prompt)
        return self._embeddings[prompt]


def choose_dtype(device: torch.device, dtype: str) -> torch.dtype:
    """The dtype asked for; for `auto` bfloat16 where the device multiplies it in hardware, else float32."""
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def _cpu_info(key: str) -> str:
    """A line of Linux' /proc/cpuinfo, "" where there is none."""
    if not os.path.exists("/proc/cpuinfo"):
        return ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "")


def _cpu_has(flag: str) -> bool:
    return flag in _cpu_info("flags").split()


def _describe(device: torch.device, threads: int) -> str:
    """What the pixels' last bits depend on: the device's name, for a CPU its thread count as well."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{_cpu_info('model name') or 'CPU'}, {threads} thread{'s' if threads > 1 else ''}"
