"""A motion: a way from the keyframes of a walk to its frames, as one entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from render.core import Keyframe, Walk
from render.plan.frames import Leg

__all__ = ["Caption", "Motion", "prompt_of"]

Caption: TypeAlias = tuple[str, str]  # (full caption of a frame, short one: only what changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """One motion: its keyframes, its legs, its captions, and the manifest columns (by name) that it uses."""

    name: str
    keyframes: int | None  # required number; None for any
    keyframes_doc: str  # Markdown, for the table in docs/manifest.md
    frames_doc: str  # likewise
    legs: Callable[[Walk], Iterator[Leg]]
    captions: Callable[[Walk], Iterator[Caption]]  # of every frame, in order
    takes: tuple[str, ...] = ()  # columns that only the motions that name them use; elsewhere they stay empty
    ignores: tuple[str, ...] = ()  # columns that all other motions use, but not this one; in it they stay empty
    first_row_only: tuple[str, ...] = ()  # columns of keyframes that are empty in later rows
    fixed: tuple[str, ...] = ()  # columns of keyframes that in later rows are empty, or as in the first row
    equal: tuple[str, ...] = ()  # columns of keyframes that are the same in all rows, defaults filled in
    distinct: tuple[str, ...] = ()  # columns of keyframes that differ from the first row's in all others
    frames_range: tuple[int, int] | None = None  # of the first row's `frames`
    needs_image: bool = False  # every keyframe has a start image
    closes: bool = False  # the first frame follows the last one
    table_width: Callable[[Walk], int] | None = (
        None  # columns of the table that its frames fill row by row; None: a strip
    )
    heading: Callable[[Walk], str] | None = None  # text above its images; None: its prompts, one after the other


def prompt_of(keyframe: Keyframe) -> str:
    """Return the prompt on one line: a subtitle ends at an empty one."""
    return " ".join(keyframe.prompt.split()) or "(empty prompt)"
