"""A walk through keyframes that all differ, and what its frames are made for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from render.core.recipe import Target
from render.core.walk import Keyframe, Walk

MakeKeyframe = Callable[..., Keyframe]
TARGET = Target("m", tile_above=512)


def walk_of(make_keyframe: MakeKeyframe, *counts: int, **fields: Any) -> Walk:
    """A walk whose keyframes differ in prompt, seed and guidance; `counts` are their frames."""
    keyframes = [
        make_keyframe(row=i + 1, prompt=f"p{i}", negative_prompt=f"n{i}", seed=i, frames=count, guidance=2.0 + i)
        for i, count in enumerate(counts)
    ]
    return Walk("w", tuple(keyframes), 64, 64, **fields)
