"""One module an architecture, all behind one Protocol: encode a prompt, run rows through the network, decode."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Conditioning", "Family", "load_family"]

Conditioning = dict[str, Tensor]  # named tensors of one prompt, without a batch dimension; all of them interpolate


class Family(Protocol):
    """The code that knows one architecture."""

    device: torch.device
    dtype: torch.dtype

    def encode(self, prompt: str) -> Conditioning:
        """The conditioning of one prompt."""

    def latent_shape(self, width: int, height: int) -> tuple[int, ...]:
        """Shape of one frame's latents, `[1, C, H, W]`, for an image of so many pixels."""

    def scheduler(self, name: str, steps: int) -> Any:
        """A new diffusers scheduler with its timesteps set. One frame owns it."""

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's output `[R, C, H, W]` for R rows: latents `[R, C, H, W]`, timesteps `[R]`, conditioning `[R, …]`."""

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """The image `[height, width, 3]` of final latents `[1, C, H, W]`. Raises ValueError where it is not finite."""


def load_family(name: str, path: Path, device: torch.device, dtype: torch.dtype) -> Family:
    """Load the model folder at `path` with the family module `name`."""
    family: Family = import_module(f"render.families.{name}").load(path, device, dtype)
    return family
