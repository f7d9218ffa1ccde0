"""Recipes: everything that fixes the pixels of a frame.

A recipe's canonical JSON is stored with the image, and the hash of that JSON is the frame's *key*: two frames with one
key have the same pixels, at one batch size, device and dtype.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, Field, dataclass, fields, replace
from functools import cached_property
from typing import Any

from render.core.blend import Blend, parse_blend, shift_seeds
from render.core.errors import StoreError
from render.core.schedulers import scheduler_calls

__all__ = [
    "PIXELS_VERSION",
    "SEED_MAX",
    "Recipe",
    "Target",
    "canonical_json",
]

PIXELS_VERSION = 1  # raised whenever a change of this code changes pixels; part of every recipe
SEED_MAX = 2**64 - 1  # the largest that torch takes


def canonical_json(value: object) -> str:
    """Return JSON with one spelling: sorted keys, no spaces, no NaN.

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
    image: Blend | None = None  # start image
    skipped_steps: int = 0  # of `steps`, that a start image does not need
    stop: int | None = None  # steps to take; None: all that are left
    clean: bool = False  # end in the clean image x̂₀ that the last step predicts (`pred_original_sample`)
    tiled: bool = False  # the autoencoder works in tiles, which changes pixels
    prompt_syntax: str = "plain"  # of both prompts, one of SYNTAXES
    stem: Recipe | None = None  # recipe whose first `stop` steps are taken in place of this one's first steps
    towards: Recipe | None = None  # recipe to whose final latents this one's are interpolated, by slerp
    t: float = 0.0  # place between them, 0 … 1

    @property
    def guided(self) -> bool:
        """True with classifier-free guidance: a step has two network inputs, of the negative and the positive prompt."""
        return self.guidance > 1.0

    @property
    def rows(self) -> int:
        """Network inputs that a step has at once: two with classifier-free guidance."""
        return 2 if self.guided else 1

    @property
    def evaluations(self) -> int:
        """Estimate of the network inputs that the frame takes in all, beside what it shares with others of its unit.

        The shared first steps of a stem count as nobody's, a tween as one step, and a frame that shows a step of a
        trajectory as that step.
        """
        if self.towards is not None or self.stop is not None:
            return self.rows
        shared = self.stem.stop or 0 if self.stem is not None else 0
        return self.rows * scheduler_calls(self.scheduler, self.steps - self.skipped_steps - shared, self.steps)

    @cached_property
    def json(self) -> str:
        """The canonical JSON; blends are nested lists such as `["slerp",["prompt","a"],["prompt","b"],0.5]`."""
        return canonical_json({**self._set_values(), "version": PIXELS_VERSION})

    def _set_values(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in fields(self) if self._is_set(field)}
        lists = {name: value.to_list() if hasattr(value, "to_list") else value for name, value in values.items()}
        return {name: value._set_values() if isinstance(value, Recipe) else value for name, value in lists.items()}

    def _is_set(self, field: Field[Any]) -> bool:
        """Return True for a field that is not at its default: a new field leaves the keys of old frames alone."""
        return bool(field.default is MISSING or getattr(self, field.name) != field.default)

    @cached_property
    def key(self) -> str:
        """The first 32 hexadecimal digits of the SHA-256 of `json`."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:32]

    def with_seeds(self, shift: int) -> Recipe:
        """Return the recipe with `shift` added to every seed of its noise, that of its shared parts included."""
        if not shift:
            return self
        stem, towards = (part and part.with_seeds(shift) for part in (self.stem, self.towards))
        return replace(self, noise=shift_seeds(self.noise, shift), stem=stem, towards=towards)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Return the recipe of a stored frame. Raises StoreError for one that another pixel version wrote."""
        values = json.loads(text)
        version = values.pop("version")
        if version != PIXELS_VERSION:
            raise StoreError(f"recipe: required pixel version {PIXELS_VERSION}, got {version}")
        try:
            return cls._from_values(values)
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"recipe: required one of this version of nightrender, got {error}") from error

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> Recipe:
        blends = {name: parse_blend(value) for name, value in values.items() if isinstance(value, list)}
        recipes = {name: cls._from_values(value) for name, value in values.items() if isinstance(value, dict)}
        return cls(**values | blends | recipes)


@dataclass(frozen=True, slots=True)
class Target:
    """The facts about a model that recipes depend on."""

    fingerprint: str
    guidance_embeds: bool = False  # guidance is an input of the network, classifier-free guidance a setting beside it
    tile_above: int | None = None  # pixels a side, above which the autoencoder works in tiles
    prompt_syntax: str = "plain"  # one of SYNTAXES
