"""Walks and their keyframes: the rows of a manifest once every default is filled in.

A field has the name of its column; `render.core.columns` says what each may hold, and takes the defaults from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from render.core.splits import TRAIN

__all__ = ["MAIN", "Keyframe", "Walk", "still_name"]

MAIN = "main"  # the job's `model`, as column `model` and the job's `models` name it


@dataclass(frozen=True, slots=True)
class Keyframe:
    """One row of a manifest: a point that a walk goes through, or a still."""

    row: int  # data row of the user's manifest, the first is 1; the same at every point of a sweep
    prompt: str
    negative_prompt: str
    seed: int  # 0 … SEED_MAX
    frames: int  # from this keyframe up to, not including, the next one
    easing: str  # one of EASINGS, for the leg that starts here
    interpolation: str  # one of INTERPOLATIONS, for the prompts of the leg that starts here
    steps: int
    guidance: float
    scheduler: str
    true_guidance: float = 1.0  # classifier-free guidance of a model whose `guidance` is an input of its network
    image: str = ""  # start image, relative to the job's folder of media
    image_sha256: str = ""
    strength: float = 0.8  # 0 … 1, part of the start image that is noised away
    time_s: float = 0.0  # place of the keyframe in the walk's sound
    onset_pace: tuple[float, ...] = ()  # with easing onsets: position of each frame, 0 here … 1 at the next keyframe
    labels: Mapping[str, Any] = field(default_factory=dict)  # values of the manifest's further columns


@dataclass(frozen=True, slots=True)
class Walk:
    """Consecutive keyframes of one name, and what holds for all of them. A still is a walk of one keyframe."""

    name: str  # with the point of a sweep behind it
    keyframes: tuple[Keyframe, ...]
    width: int  # pixels
    height: int  # pixels
    still: bool = False
    point: str = ""  # of the job's sweep, as `guidance=2.0 seed=1`
    model: str = MAIN  # MAIN or a key of the job's `models`
    motion: str = "line"  # one of render.plan's MOTIONS
    loop: str = "none"  # one of LOOPS; `cycle` leads a line from its last keyframe back to the first
    step_size: float = 0.005  # of a drift: amount by which each frame moves every number of the embeddings
    direction: str = "ones"  # of a drift, one of DIRECTIONS
    vary_noise: bool = False  # of a grid: each cell starts from its own noise
    anchor: float = 0.0  # of a line: 0 … 1, part of the steps that all frames of a leg share
    tween: int = 0  # of a line: frames between neighbours that are decoded from interpolated latents alone
    every: int = 1  # of the motions denoise and diffuse: steps between frames
    shown: str = "latents"  # of the motion denoise, one of SHOWN
    fps: float = 0.0  # frames per second of the walk's animations; 0: the job's
    audio: str = ""  # sound of the walk, relative to the job's folder of media
    audio_sha256: str = ""
    split: str = TRAIN  # of the data set; its frames go into shards of that name

    @property
    def start(self) -> Keyframe:
        """The first keyframe."""
        return self.keyframes[0]

    @property
    def base_name(self) -> str:
        """The name without the point of a sweep: the same at every point."""
        return self.name.removesuffix(f" {self.point}") if self.point else self.name


def still_name(row: int) -> str:
    """Return the name of the still, or of all images, of a manifest's row."""
    return f"still-{row:06d}"
