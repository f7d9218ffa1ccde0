"""Which contact sheets an output folder gets: of sweeps, grids, walks and stills."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, islice, product
from pathlib import Path

import numpy as np

from render.motion import frame_count
from render.recipe import Walk
from render.sheet import Pixels, Sheet, write_sheet
from render.store import ImageStore
from render.sweep import Axis, Sweep

__all__ = ["write_sheets"]

STRIP = 12  # frames of a walk's strip at most
STILLS = 8  # columns of the stills' sheet
PAPER = 255  # level of a cell whose frame is not committed


def write_sheets(
    store: ImageStore, walks: Callable[[], Iterable[Walk]], sweep: Sweep, kinds: Sequence[str], cell: int
) -> Iterator[Path]:
    """Write the sheets of some kinds (sweep, grid, walk, still) below OUT/sheets; yields the files."""
    folder = store.path / "sheets"
    folder.mkdir(exist_ok=True)
    if "sweep" in kinds and sweep.axes:
        for name, points in _swept(walks(), sweep.count):
            yield from write_sheet(
                folder / f"sweep-{name}.png", _firsts(store, points), _layout(sweep, points[0], cell)
            )
    for walk in (walk for walk in walks() if not walk.still):
        grid = walk.keyframes[0].motion == "grid"
        if ("grid" if grid else "walk") in kinds and walk.name in store:
            yield from _write_walk(store, walk, cell, grid)
    stills = [first for first in _rows(walks()) if first.still] if "still" in kinds else []
    if stills:
        sheet = Sheet(STILLS, captions=tuple(still.keyframes[0].prompt for still in stills), cell=cell)
        yield from write_sheet(folder / "stills.png", _firsts(store, stills), sheet)


def _rows(walks: Iterable[Walk]) -> Iterator[Walk]:
    """The walks, and of each row of stills the first image."""
    for _, same in groupby(walks, key=lambda walk: walk.keyframes[0].row):
        yield next(same)


def _swept(walks: Iterable[Walk], count: int) -> Iterator[tuple[str, list[Walk]]]:
    """(name, the copies at every point) of each still and walk of the manifest."""
    rows = _rows(walks)
    while points := list(islice(rows, count)):
        yield points[0].name.split(" ")[0] if points[0].still else _base(points[0].name, points[-1].name), points


def _base(first: str, last: str) -> str:
    """What two points of one walk have in common in their names: `zoo` of `zoo seed=1` and `zoo seed=2`."""
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same].rpartition(" ")[0] or first


def _layout(sweep: Sweep, first: Walk, cell: int) -> Sheet:
    """The last group across, the others down."""
    *down, across = sweep.axes
    rows = tuple("; ".join(labels) for labels in product(*map(_labels, down))) if down else ()
    title = f"{first.keyframes[0].prompt}: {' × '.join(axis.name for axis in (*down, across))}"
    return Sheet(len(across), rows, _labels(across), title=title, cell=cell)


def _labels(axis: Axis) -> tuple[str, ...]:
    """The values at each point."""
    return tuple(", ".join(str(value) or "none" for value in point) for point in axis.values)


def _write_walk(store: ImageStore, walk: Walk, cell: int, grid: bool) -> tuple[Path, ...]:
    """All cells of a grid, or a strip of frames evenly along a walk."""
    count = frame_count(walk)
    shown = range(count) if grid else np.linspace(0, count - 1, min(count, STRIP)).round().astype(int).tolist()
    frames = store.frames(walk.name)
    places = {index: place for place, index in enumerate(frames.indices)}
    size = walk.keyframes[0].height, walk.keyframes[0].width
    images = (np.asarray(frames[places[i]].image()) if i in places else _blank(size) for i in shown)
    sheet = Sheet(walk.keyframes[0].frames if grid else len(shown), title=walk.name, cell=cell)
    if not grid:
        sheet = replace(sheet, captions=tuple(str(index) for index in shown))
    return write_sheet(store.path / "sheets" / f"{walk.name}.png", images, sheet)


def _firsts(store: ImageStore, walks: Sequence[Walk]) -> Iterator[Pixels]:
    for walk, frame in zip(walks, store.firsts(walk.name for walk in walks), strict=True):
        size = walk.keyframes[0].height, walk.keyframes[0].width
        yield np.asarray(frame.image()) if frame else _blank(size)


def _blank(size: tuple[int, int]) -> Pixels:
    return np.full((*size, 3), PAPER, np.uint8)
