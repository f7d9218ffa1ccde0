"""One module an architecture, all behind one Protocol. Loads neither torch nor diffusers: a family does when it loads.

A family is a module of this package that is named in `MODULES` and has three names:

- `PIPELINE`: the diffusers pipeline class that `model_index.json` names;
- `read_facts(config)`: what is known of a model from its JSON files, which is all that planning sees;
- `load(loading)`: the `Family`, which renders.

The pipeline's own methods encode prompts. `families.parts` loads it, merges its LoRAs and has the autoencoder,
`families.schedulers` makes schedulers; what is left to a family is what its network is given. `families.pixart` is a
short example. Its parity with diffusers is shown by adding a small pipeline to `tests/pipelines.py`.
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

UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # components of diffusers that are not loaded
MODULES = ("sd", "sdxl", "sd3", "flux", "pixart")
Conditioning: TypeAlias = "dict[str, Tensor]"  # named tensors of one prompt, without a batch dimension
Config: TypeAlias = Callable[[str], dict[str, Any]]  # the JSON configuration of a component, {} where there is none


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What suits a model where neither manifest nor job says otherwise."""

    width: int  # pixels
    height: int  # pixels
    steps: int
    guidance: float
    scheduler: str


@dataclass(frozen=True, slots=True)
class Encoder:
    """How much of a prompt a text encoder reads."""

    tokenizer: str  # component
    tokens: int  # at most, with its own
    own: int  # tokens that mark start and end


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a model from its JSON files."""

    networks: tuple[str, ...]  # components with weights; all are required
    others: tuple[str, ...]  # further components that are required
    encoders: tuple[Encoder, ...]
    sampling: SamplingDefaults
    size_multiple: int  # width and height are multiples of it, in pixels
    size_min: int  # pixels a side
    size_max: int  # pixels a side
    schedulers: tuple[str, ...]  # that fit, of recipe.SCHEDULERS
    guidance_embeds: bool = False  # guidance is an input of the network, not the weight between two of its outputs
    clip_layers: int = 0  # of the CLIP encoders, fewer of which `clip_skip` may leave out; 0: it has no such setting
    loras: bool = True  # whether diffusers loads LoRAs into it


@dataclass(frozen=True, slots=True)
class Loading:
    """What to load, and how."""

    path: Path  # of the model folder
    device: torch.device
    dtype: torch.dtype
    clip_skip: int | None = None  # last layers of the CLIP encoders that are left out
    loras: tuple[tuple[Path, float], ...] = ()  # file, weight


class Family(Protocol):
    """A loaded pipeline of one architecture."""

    @property
    def pipeline(self) -> Any:
        """Of diffusers. Its components called `text_encoder…` may be moved to another device between prompts."""

    @property
    def autoencoder(self) -> Autoencoder:
        """Between images and latents."""

    @property
    def linear(self) -> frozenset[str]:
        """Names of the conditioning's tensors that only ever interpolate linearly; the others do as a walk asks."""

    def encode(self, prompt: str, negative: bool) -> Conditioning:
        """The conditioning of one prompt on the device; every tensor of it interpolates. Negative prompts may differ."""

    def scheduler(self, name: str, steps: int, latents: tuple[int, ...]) -> Any:
        """A new diffusers scheduler with its timesteps set for latents of a shape `[1, C, H, W]`. One frame owns it."""

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """The network's output `[R, C, H, W]` for R rows: latents `[R, C, H, W]`, timesteps `[R]`, conditioning `[R, …]`.

        Conditioning has `encode`'s names, and `guidance`, `[R]` in float32, where `Facts.guidance_embeds`.
        """


def pipelines() -> dict[str, str]:
    """Pipeline class of diffusers → module of this package."""
    return {_module(name).PIPELINE: name for name in MODULES}


def read_facts(family: str, config: Config) -> Facts:
    """What is known of a model of one family. Raises KeyError, TypeError or ValueError for a broken configuration."""
    facts: Facts = _module(family).read_facts(config)
    return facts


def load_family(family: str, loading: Loading) -> Family:
    """Load a model with one family's module."""
    loaded: Family = _module(family).load(loading)
    return loaded


def _module(name: str) -> Any:
    return import_module(f"render.models.families.{name}")
