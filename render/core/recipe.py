"""The frozen values of a render: keyframes, walks, recipes, frames, units and receipts.

A frame's *recipe* holds everything that fixes its pixels. Its canonical JSON is stored with the image, and the hash of
that JSON is the frame's *key*: two frames with one key have the same pixels (at one row count, on one kind of device).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import MISSING, Field, asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, TypeAlias

from render.core.blend import Blend, parse_blend
from render.core.errors import StoreError

__all__ = [
    "MAIN",
    "PIXELS_VERSION",
    "SEED_MAX",
    "Frame",
    "Group",
    "Keyframe",
    "Receipt",
    "Recipe",
    "Target",
    "Unit",
    "Walk",
    "canonical_json",
]

PIXELS_VERSION = 1  # raised whenever a change of this code changes pixels; part of every recipe
SEED_MAX = 2**63 - 1
MAIN = "main"  # the job's `model`, as column `model` and the job's `models` name it


def canonical_json(value: object) -> str:
    """JSON with one spelling: sorted keys, no spaces, no NaN.

    >>> canonical_json({"b": 1.0, "a": [None, "é"]})
    '{"a":[null,"é"],"b":1.0}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


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
    embedded_guidance: float | None = None  # guidance that is an input of the network
    image: Blend | None = None  # what to start from instead of noise alone
    skipped_steps: int = 0  # of `steps`, that a start image does not need
    stop: int | None = None  # steps to take; None: all that are left
    clean: bool = False  # end in the clean image that the last step taken foretells
    tiled: bool = False  # the autoencoder works in tiles, which changes pixels
    stem: Recipe | None = None  # the frame whose first `stop` steps stand for as many `skipped_steps` of this one
    towards: Recipe | None = None  # the frame to whose final latents this one's are turned
    t: float = 0.0  # how far

    @property
    def guided(self) -> bool:
        """Whether a step asks the network for two rows (negative and positive) instead of one."""
        return self.guidance > 1.0

    @cached_property
    def json(self) -> str:
        """The canonical JSON; blends are nested lists such as `["slerp",["prompt","a"],["prompt","b"],0.5]`."""
        return canonical_json({**self._told(), "version": PIXELS_VERSION})

    def _told(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if self._tells(field)}
        lists = {name: value.to_list() if hasattr(value, "to_list") else value for name, value in values.items()}
        return {name: value._told() if isinstance(value, Recipe) else value for name, value in lists.items()}

    def _tells(self, field: Field[Any]) -> bool:
        """Whether a field is not what it is where nothing is said: so a new one leaves the keys of old frames alone."""
        return bool(field.default is MISSING or getattr(self, field.name) != field.default)

    @cached_property
    def key(self) -> str:
        """The first 32 hexadecimal digits of the SHA-256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:32]

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """The recipe of a stored frame. Raises StoreError where another pixel version wrote it."""
        told = json.loads(text)
        version = told.pop("version")
        if version != PIXELS_VERSION:
            raise StoreError(f"recipe: required pixel version {PIXELS_VERSION}, got {version}")
        return cls._from_told(told)

    @classmethod
    def _from_told(cls, told: dict[str, Any]) -> Recipe:
        blends = {name: parse_blend(value) for name, value in told.items() if isinstance(value, list)}
        recipes = {name: cls._from_told(value) for name, value in told.items() if isinstance(value, dict)}
        return cls(**told | blends | recipes)


@dataclass(frozen=True, slots=True)
class Target:
    """What recipes need to know of a model."""

    fingerprint: str
    guidance_embeds: bool = False  # guidance is an input of the network, classifier-free guidance a setting beside it
    tile_above: int | None = None  # pixels a side, above which the autoencoder works in tiles


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One manifest row with every default filled in."""

    row: int  # data row of the user's manifest, the first is 1; the same at every point of a sweep
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
    true_guidance: float = 1.0  # classifier-free guidance of a model whose `guidance` is an input of the network
    model: str = MAIN  # MAIN or a key of the job's `models`
    motion: str = "line"  # one of render.motion's MOTIONS; this and the rest are those of a walk's first keyframe
    loop: str = "none"  # one of LOOPS; `cycle` leads a line from its last keyframe back to the first
    step_size: float = 0.005  # of a drift, what every frame adds to each number of the embeddings
    direction: str = "ones"  # one of DIRECTIONS, of a drift
    vary_noise: bool = False  # whether each cell of a grid starts from its own noise
    anchor: float = 0.0  # 0 … 1, part of a line's steps that all frames of a leg share
    tween: int = 0  # frames between neighbours of a line that are made of their latents alone
    every: int = 1  # of the motions denoise and diffuse, steps between frames
    shown: str = "latents"  # one of SHOWN, of the motion denoise
    fps: float = 0.0  # frames per second of the walk's animations; 0: the job's
    image: str = ""  # start image, relative to the job's folder of images
    image_sha256: str = ""
    strength: float = 0.8  # 0 … 1, how much of the start image is noised away
    audio: str = ""  # sound of the walk, relative to the job's folder of media
    audio_sha256: str = ""
    time_s: float = 0.0  # where in the sound the keyframe stands
    onset_pace: tuple[float, ...] = ()  # with easing onsets: where each frame stands, 0 here … 1 at the next keyframe
    labels: tuple[Any, ...] = ()  # values of the manifest's extra columns, in their order


@dataclass(frozen=True, slots=True)
class Walk:
    """Consecutive keyframes of one name. A still is a walk of one keyframe without a name in the manifest."""

    name: str
    keyframes: tuple[Keyframe, ...]
    still: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A recipe with its place."""

    walk: str
    index: int  # from 0
    recipe: Recipe
    keyframe: Keyframe  # the start of the frame's leg: its prompt, seed and labels go into the store's columns


Group: TypeAlias = tuple[str, int, int]  # (model, width, height): frames of one group share units


@dataclass(frozen=True, slots=True)
class Unit:
    """A fixed list of frames of one model and shape: the grain of scheduling, retry, file and commit.

    `id` is the unit's slot in the commit ledger: its number, then `-0`/`-1` for each bisection and `-r` for each retry
    of quarantined frames.
    """

    id: str
    of: int  # number of units in the plan, for the file's name
    frames: tuple[Frame, ...]
    batch_rows: int  # batch size, counted in network inputs

    @property
    def group(self) -> Group:
        """The model's name in the job, width and height in pixels, of every frame."""
        keyframe = self.frames[0].keyframe
        return keyframe.model, keyframe.width, keyframe.height

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
    batch_rows: int
    blank: tuple[int, ...] = ()  # positions in the unit of frames of a single colour
    quarantined: tuple[int, ...] = ()  # positions in the unit of frames that failed; the rest is in the shard

    @classmethod
    def of_quarantined(cls, unit: Unit) -> Receipt:
        """Return the receipt of a unit whose frames are all in quarantine, so that it has no shard."""
        return cls(
            unit=unit.id,
            file=None,
            frames=0,
            size_bytes=0,
            sha256="",
            seconds=0.0,
            batch_rows=unit.batch_rows,
            quarantined=tuple(range(len(unit.frames))),
        )

    def to_json(self) -> str:
        return canonical_json(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        fields = json.loads(text)
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)
