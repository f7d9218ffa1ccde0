"""The contact sheets of an output folder: of sweeps, grids, walks and stills."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from render.core import Walk, still_name
from render.job import Axis, Sweep
from render.output.captions import heading, origin, places
from render.output.layout import Pixels, Sheet
from render.output.sheet import write_sheet
from render.plan import frame_count, motion_of, moving_numbers
from render.store import ImageStore, OutputFolder

__all__ = ["write_sheets"]

STRIP = 12  # frames of a walk's strip at most
CHART = 100, 10  # frames of a walk that compares values at most, and columns
WIDTH = 8  # columns of images of stills at most
MARKS = (  # of stills with equal captions, tried in turn
    "model {0.model}",
    "{0.start.scheduler}",
    "guidance {0.start.guidance:g}",
    "{0.start.steps} steps",
    "seed {0.start.seed}",
    "row {0.start.row}",
)
PAPER, CROSS = (224, 224, 224), (160, 160, 160)  # of a cell whose frame is not committed

_Planned: TypeAlias = tuple[Path, Iterator[Pixels], Sheet]  # its images are read as they are asked for


def write_sheets(
    store: ImageStore,
    walks: Callable[[], Iterable[Walk]],
    sweep: Sweep,
    kinds: Sequence[str],
    cell: int,
    around: Callable[[Path], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[Path]:
    """Write the sheets of some kinds (sweep, grid, walk, images, still) below OUT/sheets; yields the files.

    Each of the first four has a folder there, so that a sheet is named as the walk or still is. `around` is entered for
    each sheet that is written, and may keep what is raised.
    """
    for path, images, sheet in _sheets(store, walks, sweep, kinds, cell):
        files: tuple[Path, ...] = ()
        with around(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            files = write_sheet(path, images, sheet)
        yield from files


def _sheets(
    store: ImageStore, walks: Callable[[], Iterable[Walk]], sweep: Sweep, kinds: Sequence[str], cell: int
) -> Iterator[_Planned]:
    folder = OutputFolder(store.path).sheets
    if "sweep" in kinds and sweep.axes:
        for name, points in _swept(walks(), sweep):
            if not any(point.name in store for point in points):
                continue
            sheet = _layout(sweep, name, points[0], cell)
            yield folder / "sweep" / f"{name}.png", _firsts(store, points), sheet
    for walk in (walk for walk in walks() if not walk.still):
        kind = "grid" if motion_of(walk).table_width else "walk"
        if kind in kinds and walk.name in store:
            yield _of_walk(folder / kind / f"{walk.name}.png", walk, store, cell)
    for images in _rows(walks()) if "images" in kinds else ():
        if len(images) > 1 and any(image.name in store for image in images):
            yield _of_images(folder / "images", images, store, cell)
    stills = [first for first, *_ in _rows(walks()) if first.still] if "still" in kinds else []
    if any(still.name in store for still in stills):
        sheet = Sheet(WIDTH, captions=tuple(_still_captions(stills)), cell=cell)
        yield folder / "stills.png", _firsts(store, stills), sheet


def _rows(walks: Iterable[Walk]) -> Iterator[list[Walk]]:
    """Yield the walks one by one, and together all images of a row of stills, at each point of a sweep."""
    for _, same in groupby(walks, key=lambda walk: (walk.start.row, walk.point if walk.still else walk.name)):
        yield list(same)


def _swept(walks: Iterable[Walk], sweep: Sweep) -> Iterator[tuple[str, list[Walk]]]:
    """Yield (name, the copies at every point) of each still and walk of the manifest."""
    rows = (first for first, *_ in _rows(walks))
    while points := list(islice(rows, sweep.count)):
        yield points[0].base_name, points


def _layout(sweep: Sweep, name: str, first: Walk, cell: int) -> Sheet:
    """Return the layout of a sweep's sheet: the last group across, the others down."""
    *down, across = sweep.axes
    prompt = "" if "prompt" in sweep.columns else first.start.prompt
    return Sheet(
        columns=len(across),
        row_labels=tuple("; ".join(labels) for labels in product(*map(_labels, down))) if down else (),
        column_labels=_labels(across),
        row_title="; ".join(axis.name for axis in down),
        column_title=across.name,
        title=f"{name}: {prompt}" if prompt else name,
        cell=cell,
    )


def _labels(axis: Axis) -> tuple[str, ...]:
    """Return a label for each point of an axis: its values."""
    return tuple(", ".join(str(value) or "none" for value in point) for point in axis.values)


def _of_walk(path: Path, walk: Walk, store: ImageStore, cell: int) -> _Planned:
    """Plan the sheet of a walk: all cells of a grid, or frames evenly along it, as a strip or as a chart of values."""
    count, table = frame_count(walk), motion_of(walk).table_width
    most, columns = (count, table(walk)) if table else CHART if moving_numbers(walk) else (STRIP, STRIP)
    shown = np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
    frames = store.frames(walk.name)
    stored = {index: place for place, index in enumerate(frames.indices)}
    images = (np.asarray(frames[stored[i]].image()) if i in stored else _blank(walk) for i in shown)
    sheet = Sheet(min(columns, len(shown)), title=f"{walk.name}: {heading(walk)}", cell=cell)
    if not table:
        texts = places(walk)
        sheet = replace(sheet, captions=tuple(texts[index] for index in shown))
    return path, images, sheet


def _of_images(folder: Path, images: Sequence[Walk], store: ImageStore, cell: int) -> _Planned:
    """Plan the sheet of all images of a row of stills."""
    first, point = images[0], images[0].point
    row = still_name(first.start.row)
    title = f"{heading(first)} ({point})" if point else heading(first)
    captions = tuple(f"seed {image.start.seed}" for image in images)
    sheet = Sheet(min(math.isqrt(len(images) - 1) + 1, WIDTH), captions=captions, title=title, cell=cell)
    return folder / f"{f'{row} {point}'.strip()}.png", _firsts(store, images), sheet


def _still_captions(stills: Sequence[Walk]) -> Iterator[str]:
    """Yield the prompts, and in front of them, where nothing is cut, the settings in which stills side by side differ."""
    several = len({still.start.negative_prompt for still in stills}) > 1
    labels: list[tuple[str, ...]] = []  # the prompt, and its marks
    for still in stills:
        start = still.start
        negative = f", without {start.negative_prompt}" if several and start.negative_prompt else ""
        point = still.point.replace("_", " ").replace("=", " ")  # that it can wrap
        labels.append((start.prompt + negative, point))
    labels = _distinguish(labels, [origin(still.start) for still in stills])
    for mark in MARKS:
        labels = _distinguish(labels, [mark.format(still) for still in stills])
    for prompt, *marks in labels:
        before = ", ".join(filter(None, marks))
        yield f"{before}: {prompt}" if before else prompt


def _distinguish(labels: Sequence[tuple[str, ...]], marks: Sequence[str]) -> list[tuple[str, ...]]:
    """Add marks to equal labels, where the marks differ."""
    alike = Counter(label for label, _ in set(zip(labels, marks, strict=True)))
    return [(*label, mark) if alike[label] > 1 else label for label, mark in zip(labels, marks, strict=True)]


def _firsts(store: ImageStore, walks: Sequence[Walk]) -> Iterator[Pixels]:
    for walk, frame in zip(walks, store.firsts(walk.name for walk in walks), strict=True):
        yield np.asarray(frame.image()) if frame else _blank(walk)


def _blank(walk: Walk) -> Pixels:
    """Return a grey cell with a cross, which nobody takes for a white picture."""
    right, bottom = walk.width - 1, walk.height - 1
    canvas = Image.new("RGB", (right + 1, bottom + 1), PAPER)
    draw = ImageDraw.Draw(canvas)
    thickness = 1 + min(right, bottom) // 64
    draw.line((0, 0, right, bottom), CROSS, thickness)
    draw.line((0, bottom, right, 0), CROSS, thickness)
    return np.asarray(canvas)
