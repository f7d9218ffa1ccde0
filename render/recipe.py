"""The frozen values of a render: keyframes, walks, blends, recipes, frames, units and receipts.

A frame's *recipe* holds everything that fixes its pixels. Its canonical JSON is stored with the image, and the hash of
that JSON is the frame's *key*: two frames with one key have the same pixels (at one row count, on one kind of device).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

__all__ = [
    "EASINGS",
    "FORMATS",
    "INTERPOLATIONS",
    "PIXELS_VERSION",
    "SCHEDULERS",
    "SEED_MAX",
    "STORE_COLUMNS",
    "Blend",
    "Frame",
    "InputError",
    "JobError",
    "Keyframe",
    "ManifestError",
    "Mix",
    "ModelError",
    "Prompt",
    "Receipt",
    "Recipe",
    "RunError",
    "Seed",
    "StoreError",
    "Unit",
    "Walk",
    "canonical_json",
    "mix",
]

PIXELS_VERSION = 1  # raised whenever a change of this code changes pixels; part of every recipe
SEED_MAX = 2**63 - 1
EASINGS = ("linear", "smooth", "ease-in", "ease-out")
INTERPOLATIONS = ("slerp", "slerp-global", "lerp")
SCHEDULERS = (
    "ddim",
    "pndm",
    "lms",
    "euler",
    "euler_a",
    "heun",
    "dpm++2m",
    "dpm++2m karras",
    "dpm++ sde",
    "unipc",
    "deis",
    "lcm",
)
FORMATS = ("png", "webp", "jpeg")
STORE_COLUMNS = (
    "image",
    "prompt",
    "negative_prompt",
    "seed",
    "step",
    "cfg",
    "sampler",
    "width",
    "height",
    "timestamp",
    "key",
    "walk",
    "frame",
    "recipe",
    "sha256",
    "model",
    "revision",
    "rows",
    "device",
    "dtype",
    "render_ms",
)


class InputError(ValueError):
    """Something the user gave can't be used; nothing has started and nothing is lost."""


class ManifestError(InputError):
    """The rows of a manifest that can't be rendered, all at once."""


class JobError(InputError):
    """A job file, an override or a setting that can't be used."""


class ModelError(InputError):
    """A model that is not there, is not safe to load, or is of a kind not supported."""


class StoreError(InputError):
    """An output folder that does not fit the job, or whose content is not what was committed."""


class RunError(RuntimeError):
    """A run that can't go on; what is committed stays, and the same command resumes it."""


def canonical_json(value: object) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN.

    >>> canonical_json({"b": 1.0, "a": [None, "é"]})
    '{"a":[null,"é"],"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A leaf of a blend: the conditioning of one text."""

    text: str

    def to_list(self) -> list[Any]:
        return ["prompt", self.text]


@dataclass(frozen=True, slots=True)
class Seed:
    """A leaf of a blend: the standard normal noise drawn with one seed."""

    value: int

    def to_list(self) -> list[Any]:
        return ["seed", self.value]


@dataclass(frozen=True, slots=True)
class Mix:
    """The point at `t` between two blends; t = 0 is `a`, t = 1 is `b`."""

    how: str  # one of INTERPOLATIONS
    a: Blend
    b: Blend
    t: float

    def to_list(self) -> list[Any]:
        return [self.how, self.a.to_list(), self.b.to_list(), self.t]


Blend: TypeAlias = Prompt | Seed | Mix


def mix(how: str, a: Blend, b: Blend, t: float) -> Blend:
    """The blend of `a` and `b` at `t`, in its simplest form: an end point is the end itself, to the bit.

    >>> mix("lerp", Prompt("dog"), Prompt("cat"), 0.0)
    Prompt(text='dog')
    >>> mix("lerp", Seed(7), Seed(7), 0.3)
    Seed(value=7)
    """
    if a == b or t == 0.0:
        return a
    return b if t == 1.0 else Mix(how, a, b, t)


def _blend(value: list[Any]) -> Blend:
    kind = value[0]
    if kind == "prompt":
        return Prompt(value[1])
    if kind == "seed":
        return Seed(value[1])
    return Mix(kind, _blend(value[1]), _blend(value[2]), value[3])


@dataclass(frozen=True)
class Recipe:
    """Everything that fixes the pixels of one frame."""

    prompt: Blend
    negative_prompt: Blend
    noise: Blend
    width: int  # pixels
    height: int  # pixels
    steps: int
    guidance: float  # classifier-free guidance scale; off at 1 and below
    scheduler: str  # one of SCHEDULERS
    model: str  # fingerprint of the model's configs and weights

    @property
    def guided(self) -> bool:
        """Whether a step asks the network for two rows (negative and positive) instead of one."""
        return self.guidance > 1.0

    @cached_property
    def json(self) -> str:
        """The canonical JSON; blends are nested lists such as `["slerp",["prompt","a"],["prompt","b"],0.5]`."""
        blends = {name: getattr(self, name).to_list() for name in ("prompt", "negative_prompt", "noise")}
        plain = {name: getattr(self, name) for name in ("width", "height", "steps", "guidance", "scheduler", "model")}
        return canonical_json({**blends, **plain, "version": PIXELS_VERSION})

    @cached_property
    def key(self) -> str:
        """The first 32 hexadecimal digits of the SHA-256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:32]

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe of a stored frame. Raises StoreError where another pixel version wrote it."""
        fields = json.loads(text)
        version = fields.pop("version")
        if version != PIXELS_VERSION:
            raise StoreError(f"recipe: required pixel version {PIXELS_VERSION}, got {version}")
        values: dict[str, Any] = {k: _blend(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One manifest row with every default filled in."""

    row: int  # data row of the manifest, the first is 1
    prompt: str
    negative_prompt: str
    seed: int  # 0 … SEED_MAX
    frames: int  # from this keyframe up to, not including, the next one
    easing: str  # one of EASINGS, for the leg that starts here
    interpolation: str  # one of INTERPOLATIONS, for the prompts of the leg that starts here
    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str
    labels: tuple[Any, ...] = ()  # values of the manifest's extra columns, in their order


@dataclass(frozen=True, slots=True)
class Walk:
    """Consecutive keyframes of one name. A still is a walk of one keyframe without a name in the manifest."""

    name: str
    keyframes: tuple[Keyframe, ...]
    still: bool = False

    @property
    def frame_count(self) -> int:
        return sum(keyframe.frames for keyframe in self.keyframes[:-1]) + 1


@dataclass(frozen=True, slots=True)
class Frame:
    """A recipe with its place."""

    walk: str
    index: int  # from 0
    recipe: Recipe
    keyframe: Keyframe  # the start of the frame's leg: its prompt, seed and labels go into the store's columns


@dataclass(frozen=True, slots=True)
class Unit:
    """A fixed list of frames of one shape: the grain of scheduling, retry, file and commit.

    `id` is the unit's slot in the commit ledger: its number, then `-0`/`-1` for each bisection and `-r` for each retry
    of quarantined frames.
    """

    id: str
    of: int  # number of units in the plan, for the file's name
    frames: tuple[Frame, ...]
    rows: int  # rows of the denoiser

    @property
    def shape(self) -> tuple[int, int]:
        """(width, height) in pixels, of every frame."""
        return self.frames[0].recipe.width, self.frames[0].recipe.height

    def part(self, suffix: str, positions: Iterable[int]) -> Unit:
        """The unit of some of this one's frames, with a ledger slot below this one's."""
        return replace(self, id=f"{self.id}-{suffix}", frames=tuple(self.frames[p] for p in positions))

    def halves(self) -> tuple[Unit, Unit]:
        middle = len(self.frames) // 2
        return self.part("0", range(middle)), self.part("1", range(middle, len(self.frames)))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a unit; as JSON it is the unit's commit record."""

    unit: str
    file: str | None  # shard below data/, None where every frame is in quarantine
    frames: int  # in the shard
    size_bytes: int
    sha256: str  # of the shard file
    seconds: float
    rows: int
    blank: tuple[int, ...] = ()  # positions in the unit of frames of a single colour
    quarantined: tuple[int, ...] = ()  # positions in the unit of frames that failed; the rest is in the shard

    def to_json(self) -> str:
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        fields = json.loads(text)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)
