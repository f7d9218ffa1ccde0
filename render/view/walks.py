"""Walks to play: frames in order, keyframes, the place of each frame between prompts, distances of neighbours."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from typing import Any

import numpy as np

from render.core import StoreError
from render.view.marks import Mark
from render.view.viewer import Viewer

__all__ = ["Line", "Player", "Step", "distances_of", "line_of", "number_of_walks", "player_of", "steps_of", "walks_of"]

SIDE = 64  # pixels, of the pictures whose distance is taken
WALK_FRAMES_MAX = 5000


@dataclass(frozen=True, slots=True)
class Step:
    """One frame of a walk."""

    key: str
    index: int
    seed: int
    prompts: tuple[str, ...]  # that it lies between, one at a keyframe
    t: float  # place between the first and the last of them, 0 … 1
    is_keyframe: bool
    blank: bool

    def as_json(self) -> dict[str, Any]:
        names = ("key", "index", "seed", "prompts", "t", "is_keyframe")
        return {name: getattr(self, name) for name in names}


def walks_of(viewer: Viewer, first: int, count: int) -> list[dict[str, Any]]:
    """Return some walks of several frames: name, frames, key of the first one, prompts of the first and the last."""
    sql = (
        "SELECT walk, count(*) AS frames, first(prompt ORDER BY frame) AS prompt, "
        "last(prompt ORDER BY frame) AS last_prompt, "
        "first(key ORDER BY frame) AS key, first(shard ORDER BY frame) AS shard, first(row ORDER BY frame) AS row, "
        "min(shard) AS place FROM frames GROUP BY walk HAVING count(*) > 1 ORDER BY place, min(row), walk LIMIT ? OFFSET ?"
    )
    rows = viewer.query(sql, (count, first))
    viewer.remember(rows)
    return rows


def number_of_walks(viewer: Viewer) -> int:
    """Return the number of walks that have several frames."""
    sql = "SELECT count(*) AS n FROM (SELECT walk FROM frames GROUP BY walk HAVING count(*) > 1)"
    return int(viewer.query(sql)[0]["n"])


def steps_of(viewer: Viewer, walk: str) -> list[Step]:
    """Return the frames of a walk in order. Raises KeyError when there are none."""
    columns = "key, frame, seed, prompt, shard, row, blank"
    sql = f"SELECT {columns} FROM frames WHERE walk = ? ORDER BY frame, shard, row LIMIT {WALK_FRAMES_MAX}"
    rows = viewer.query(sql, (walk,))
    if not rows:
        raise KeyError(walk)
    viewer.remember(rows)
    recipes = viewer.recipes([(row["shard"], row["row"]) for row in rows])
    steps = []
    for row in rows:
        recipe = json.loads(recipes[row["shard"], row["row"]])
        prompts, t = between(recipe["prompt"])
        moves = [between(recipe[name])[1] for name in ("prompt", "negative_prompt", "noise", "image") if name in recipe]
        inside = any(0 < place < 1 for place in [*moves, float(recipe.get("t", 0.0))])
        t = t or next((place for place in moves if place), 0.0)
        steps.append(Step(row["key"], row["frame"], row["seed"], prompts, t, not inside, row["blank"]))
    return steps if sum(not step.is_keyframe for step in steps) else _by_rows(steps, rows)


def _by_rows(steps: list[Step], rows: list[dict[str, Any]]) -> list[Step]:
    """Return the steps of a walk without blends, as guidance alone moves: a keyframe is where the row changes."""
    changes = [True, *(a["prompt"] != b["prompt"] or a["seed"] != b["seed"] for a, b in pairwise(rows))]
    changes[-1] = True
    return [
        Step(one.key, one.index, one.seed, one.prompts, one.t, changed, one.blank)
        for one, changed in zip(steps, changes, strict=True)
    ]


def between(blend: list[Any]) -> tuple[tuple[str, ...], float]:
    """Return the texts that a blend lies between, and its place: 0 at its first, 1 at its last one.

    >>> between(["slerp", ["prompt", "dog"], ["prompt", "cat"], 0.25])
    (('dog', 'cat'), 0.25)
    >>> between(["prompt", "dog"])
    (('dog',), 0.0)
    """
    kind, first, *rest = blend
    if kind in ("prompt", "seed", "image"):
        return (str(first),), 0.0
    if kind == "offset":
        return between(first)[0], 0.0
    texts = (*between(first)[0], *between(rest[0])[0])
    return tuple(dict.fromkeys(texts)), float(rest[1])


@dataclass(frozen=True, slots=True)
class Player:
    """What the player of a walk needs."""

    json: str  # of the frames: picture, key, index, seed, prompts, t, marks
    first: str  # address of the first picture
    ticks: tuple[float, ...]  # places of the keyframes, 0 … 1000


def player_of(steps: Sequence[Step], address: Callable[[Step], str], marks: Mapping[str, Mark]) -> Player:
    """Return the player of a walk, whose pictures have some addresses, and their keys some marks."""
    frames = [{"src": address(step)} | step.as_json() | marks[step.key].as_json() for step in steps]
    last = max(1, len(steps) - 1)
    ticks = tuple(round(1000 * place / last, 2) for place, step in enumerate(steps) if step.is_keyframe)
    return Player(json.dumps(frames, ensure_ascii=False), address(steps[0]), ticks)


@dataclass(frozen=True, slots=True)
class Line:
    """Distances of neighbours as a line; in percent of full scale."""

    points: str  # of an SVG polyline in a box of 1000 × 60
    mean: float
    most: float
    at: int  # place of the frame that is farthest from the one before


def line_of(distances: Sequence[float | None]) -> Line:
    """Return the distances of a walk's neighbours as a line."""
    known = [(place, value) for place, value in enumerate(distances, 1) if value is not None]
    if not known:
        return Line("", 0.0, 0.0, 0)
    at, most = max(known, key=itemgetter(1))
    points = (f"{1000 * place / len(distances):.2f},{58 - 56 * value / max(most, 1e-9):.2f}" for place, value in known)
    mean = sum(value for _, value in known) / len(known)
    return Line(" ".join(points), 100 * mean, 100 * most, at)


def distances_of(viewer: Viewer, steps: list[Step]) -> list[float | None]:
    """Return the mean absolute difference of each frame to the one before, 0 … 1; None where a picture can't be read."""
    found: list[float | None] = []
    before = None
    for step in steps:
        now = _pixels(viewer, step.key)
        comparable = before is not None and now is not None and before.shape == now.shape
        found.append(float(np.abs(now - before).mean()) / 255 if comparable else None)
        before = now
    return found[1:]


def _pixels(viewer: Viewer, key: str) -> Any:
    """Return a picture as float32 [64, 64, 3] or less, its sides in proportion; None for a damaged one."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(viewer.picture(key).data)) as image:
            image.draft("RGB", (SIDE, SIDE))
            shrunk = image.convert("RGB")
            shrunk.thumbnail((SIDE, SIDE), PIL.Image.Resampling.BOX)
    except (StoreError, KeyError, OSError, SyntaxError, ValueError):
        return None
    return np.asarray(shrunk, np.float32)
