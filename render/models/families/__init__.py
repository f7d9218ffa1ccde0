"""Families: the code of each model architecture, one module each, all behind the Protocol `Family`.

A family is a module of this package that is named in `MODULES` and defines three names:

- `PIPELINE`: the diffusers pipeline class that `model_index.json` names;
- `read_facts(config)`: returns the `Facts` of a model from its JSON files; planning uses nothing else;
- `load(loading)`: returns the loaded `Family`, which renders.

The pipeline's own methods encode prompts. `families.parts` loads the pipeline, merges LoRAs and wraps the autoencoder;
`families.schedulers` makes schedulers. A family's own part is to call its network. `families.pixart` is a short example.
To test a new family against diffusers, add a small pipeline of it to `tests/pipelines.py`.

This module imports neither torch nor diffusers; `load` does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from render.models.families.parts import Autoencoder

__all__ = [
    "MODULES",
    "UNUSED",
    "Conditioning",
    "Config",
    "Encoder",
    "Facts",
    "Family",
    "Loading",
    "SamplingDefaults",
    "load_family",
    "pipelines",
    "read_facts",
]

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # pipeline components that are never loaded
MODULES = ("sd", "sdxl", "sd3", "flux", "pixart")
Conditioning: TypeAlias = "dict[str, Tensor]"  # name → tensor for one prompt, without a batch dimension
Config: TypeAlias = Callable[[str], dict[str, Any]]  # component → its JSON configuration, {} if missing


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """Sampling settings of a model, used when neither manifest nor job gives others."""

    width: int  # pixels
    height: int  # pixels
    steps: int
    guidance: float
    scheduler: str


@dataclass(frozen=True, slots=True)
class Encoder:
    """Token limit of a text encoder."""

    tokenizer: str  # name of the tokenizer's component
    max_tokens: int  # special tokens included
    special_tokens: int  # that mark start and end

    @property
    def room(self) -> int:
        """Tokens left for the prompt."""
        return self.max_tokens - self.special_tokens


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a model that its JSON files tell."""

    networks: tuple[str, ...]  # required components with weights
    others: tuple[str, ...]  # required components without weights
    encoders: tuple[Encoder, ...]
    sampling: SamplingDefaults
    size_multiple: int  # pixels; width and height must be multiples of it
    size_min: int  # pixels a side
    size_max: int  # pixels a side
    schedulers: tuple[str, ...]  # that fit the model, of SCHEDULERS
    guidance_embeds: bool = False  # guidance is an input of the network, not classifier-free guidance
    clip_layers: int = 0  # layers of the CLIP encoders; `clip_skip` must be smaller. 0: no such setting
    loras: bool = True  # diffusers can load LoRAs into it
    weighted: bool = False  # prompts may have weights: CLIP encoders alone, and cross-attention to their tokens


@dataclass(frozen=True, slots=True)
class Loading:
    """Model folder to load, and the settings to load it with."""

    path: Path  # of the model folder
    device: torch.device
    dtype: torch.dtype
    clip_skip: int | None = None  # number of last layers of the CLIP encoders to leave out
    loras: tuple[tuple[Path, float], ...] = ()  # (file, weight)


class Family(Protocol):
    """Loaded pipeline of one architecture."""

    @property
    def pipeline(self) -> Any:
        """Pipeline of diffusers. Its components `text_encoder…` may be moved to another device between prompts."""

    @property
    def autoencoder(self) -> Autoencoder:
        """Autoencoder between images and latents."""

    @property
    def linear(self) -> frozenset[str]:
        """Names of conditioning tensors that must be interpolated linearly; the others follow the walk's setting."""

    def encode(self, prompt: str, negative: bool) -> Conditioning:
        """Return the conditioning of one prompt, on the device. All its tensors can be interpolated.

        `negative` says that it is a negative prompt, which some pipelines encode in another way.
        """

    def scheduler(self, name: str, steps: int, latents: tuple[int, ...]) -> Any:
        """Return a new diffusers scheduler for one frame, its timesteps set for latents of shape `[1, C, H, W]`.

        Its timesteps and sigmas are on the CPU.
        """

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the network's output `[B, C, H, W]` for latents `[B, C, H, W]` and timesteps `[B]`.

        `conditioning` has the tensors of `encode`, `[B, …]`. If `Facts.guidance_embeds`, it also has `guidance`, `[B]` in
        float32, on the CPU. Nothing here may wait for the device: no value of a tensor is read, and what comes from the
        CPU is sent by `copy_to`.
        """


def pipelines() -> dict[str, str]:
    """Return diffusers pipeline class → name of the family's module."""
    return {_module(name).PIPELINE: name for name in MODULES}


def read_facts(family: str, config: Config) -> Facts:
    """Return the facts of a model of one family. Raises KeyError, TypeError or ValueError for a broken configuration."""
    facts: Facts = _module(family).read_facts(config)
    return facts


def load_family(family: str, loading: Loading) -> Family:
    """Load a model with its family's module."""
    loaded: Family = _module(family).load(loading)
    return loaded


def _module(name: str) -> Any:
    return import_module(f"render.models.families.{name}")
