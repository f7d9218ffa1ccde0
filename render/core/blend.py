"""Blends: the conditioning or the start of a frame, as a small expression over prompts, seeds and images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

__all__ = [
    "INTERPOLATIONS",
    "Blend",
    "Circle",
    "Image",
    "Leaf",
    "Mix",
    "Offset",
    "Prompt",
    "Seed",
    "leaves",
    "mix",
    "parse_blend",
    "shift_seeds",
]

INTERPOLATIONS = ("slerp", "slerp-global", "lerp")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A leaf: the conditioning of one text."""

    text: str

    def to_list(self) -> list[Any]:
        return ["prompt", self.text]


@dataclass(frozen=True, slots=True)
class Seed:
    """A leaf: the standard normal noise drawn with one seed."""

    value: int

    def to_list(self) -> list[Any]:
        return ["seed", self.value]


@dataclass(frozen=True, slots=True)
class Image:
    """A leaf: the latents of a start image."""

    path: str
    sha256: str  # of the file

    def to_list(self) -> list[Any]:
        return ["image", self.path, self.sha256]


@dataclass(frozen=True, slots=True)
class Mix:
    """The point at `t` between two blends; t = 0 is `a`, t = 1 is `b`."""

    how: str  # one of INTERPOLATIONS
    a: Blend
    b: Blend
    t: float

    def to_list(self) -> list[Any]:
        return [self.how, self.a.to_list(), self.b.to_list(), self.t]


@dataclass(frozen=True, slots=True)
class Offset:
    """A blend, moved by `amount` times a direction: all ones, or the standard normal numbers of a seed."""

    a: Blend
    along: int | None  # seed; None is all ones
    amount: float

    def to_list(self) -> list[Any]:
        return ["offset", self.a.to_list(), self.along, self.amount]


@dataclass(frozen=True, slots=True)
class Circle:
    """The point at `turn` (0 … 1 of a whole one) on the circle through two blends: cos·a + sin·b."""

    a: Blend
    b: Blend
    turn: float

    def to_list(self) -> list[Any]:
        return ["circle", self.a.to_list(), self.b.to_list(), self.turn]


Leaf: TypeAlias = Prompt | Seed | Image
Blend: TypeAlias = Leaf | Mix | Offset | Circle


def mix(how: str, a: Blend, b: Blend, t: float) -> Blend:
    """Return the blend of `a` and `b` at `t`, in its simplest form: an end point is the end itself, to the bit.

    >>> mix("lerp", Prompt("dog"), Prompt("cat"), 0.0)
    Prompt(text='dog')
    >>> mix("lerp", Seed(7), Seed(7), 0.3)
    Seed(value=7)
    """
    if a == b or t == 0.0:
        return a
    return b if t == 1.0 else Mix(how, a, b, t)


def leaves(blend: Blend) -> Iterator[Leaf]:
    """Yield the leaves, from left to right."""
    if isinstance(blend, Mix | Circle):
        yield from leaves(blend.a)
        yield from leaves(blend.b)
    elif isinstance(blend, Offset):
        yield from leaves(blend.a)
    else:
        yield blend


def shift_seeds(blend: Blend, by: int) -> Blend:
    """Return a blend whose seeds are `by` higher; directions of an Offset stay.

    >>> shift_seeds(Mix("slerp", Seed(7), Seed(9), 0.5), 1)
    Mix(how='slerp', a=Seed(value=8), b=Seed(value=10), t=0.5)
    """
    if isinstance(blend, Seed):
        return Seed((blend.value + by) % 2**64)
    if isinstance(blend, Mix | Circle):
        return replace(blend, a=shift_seeds(blend.a, by), b=shift_seeds(blend.b, by))
    return replace(blend, a=shift_seeds(blend.a, by)) if isinstance(blend, Offset) else blend


def parse_blend(value: list[Any]) -> Blend:
    """Return the blend whose `to_list` is `value`."""
    kind, first, *rest = value
    if kind == "prompt":
        return Prompt(first)
    if kind == "seed":
        return Seed(first)
    if kind == "image":
        return Image(first, *rest)
    if kind == "offset":
        return Offset(parse_blend(first), *rest)
    if kind == "circle":
        return Circle(parse_blend(first), parse_blend(rest[0]), rest[1])
    return Mix(kind, parse_blend(first), parse_blend(rest[0]), rest[1])
