"""A motion: a way from the keyframes of a walk to its frames, as one entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from render.core import Keyframe, Walk
from render.plan.frames import Leg

__all__ = ["Caption", "Motion", "prompt_of"]

Caption: TypeAlias = tuple[str, str]  # line of text for a frame; the same in short: what moves, as far as it has got


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """Everything that is known of one motion. Columns are called by their names in `render.core.columns`."""

    name: str
    keyframes: int | None  # required number; None for any
    keyframes_told: str  # Markdown, for the table in docs/manifest.md
    frames_told: str  # likewise
    legs: Callable[[Walk], Iterator[Leg]]
    captions: Callable[[Walk], Iterator[Caption]]  # of every frame, in order
    takes: tuple[
        str, ...
    ] = ()  # settings of a walk that have a meaning in this motion; others leave them at their default
    ignores: tuple[str, ...] = ()  # columns of keyframes that change nothing in it, and have to be empty
    once: tuple[str, ...] = ()  # columns of keyframes that only the first row may have
    held: tuple[str, ...] = ()  # columns of keyframes that stay as the walk begins
    same: tuple[str, ...] = ()  # columns of keyframes that are the same in all rows, after defaults
    distinct: tuple[str, ...] = ()  # columns of keyframes that differ from the first row's in all others
    frames_range: tuple[int, int] | None = None  # of the first row's `frames`
    needs_image: bool = False  # every keyframe has a start image
    closes: bool = False  # the first frame follows the last one
    columns: Callable[[Walk], int] | None = None  # columns of the table that its frames make, row by row; None: a strip
    heading: Callable[[Walk], str] | None = None  # text above its images; None: its prompts, one after the other


def prompt_of(keyframe: Keyframe) -> str:
    """Return the prompt on one line: a subtitle ends at an empty one."""
    return " ".join(keyframe.prompt.split()) or "(empty prompt)"
