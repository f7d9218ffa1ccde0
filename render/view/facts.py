"""Facts that pages show: numbers of an output, what a frame was made of, the rows of its manifest."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from render.catalog import quoted
from render.core import ObjectPath, StoreError
from render.store import OutputFolder, open_parquet
from render.view.browse import frames_of
from render.view.filters import State
from render.view.viewer import Viewer

__all__ = [
    "ALWAYS_OTHERS",
    "alike",
    "is_walk",
    "labels_of",
    "manifest_rows",
    "neighbours",
    "numbers_of",
    "other_seeds",
    "recipe_of",
]

ALWAYS_OTHERS = ("key", "timestamp", "sha256", "marked_at")  # columns in which any two frames differ
SAME = ("prompt", "negative_prompt", "step", "cfg", "sampler", "width", "height", "model")  # of frames of other seeds
LABELS_MAX, VALUES_MAX = 8, 12  # labels, and values of each, on the overview
STILL = re.compile(r"still-(?P<row>\d{6,})(?:-\d{4,})?(?: (?P<point>.+))?")
ROWS_MAX = 200  # rows of a walk's manifest that are shown


def numbers_of(viewer: Viewer) -> dict[str, Any]:
    """Return the numbers that the head and the overview show."""
    sql = "SELECT count(*) AS frames, count(DISTINCT prompt) AS prompts, count(*) FILTER (blank) AS blank FROM frames"
    (row,) = viewer.query(sql)
    return row | {
        "marks": viewer.marks.counts(),
        "unread": viewer.catalog.unread,
        "read": len(viewer.catalog.shards),
        "damaged": [*viewer.damaged],
        "problems": [text for text in (viewer.problem, viewer.marks.problem) if text],
        "going_on": viewer.is_going_on,
    }


def labels_of(viewer: Viewer) -> list[tuple[str, list[dict[str, Any]], int]]:
    """Return (label, its most frequent values with their numbers, number of values) of some labels."""
    found = []
    names = [column.name for column in viewer.catalog.columns if column.source == "label" and column.type == "VARCHAR"]
    for name in names[:LABELS_MAX]:
        column = quoted(name)
        sql = f"SELECT {column} AS value, count(*) AS n FROM frames WHERE {column} IS NOT NULL GROUP BY ALL"
        rows = viewer.query(f"{sql} ORDER BY n DESC, value LIMIT {VALUES_MAX}")
        count = viewer.query(f"SELECT count(DISTINCT {column}) AS n FROM frames")[0]["n"]
        if rows:
            found.append((name, rows, int(count)))
    return found


def neighbours(viewer: Viewer, state: State, key: str, at: str | None) -> tuple[Any, Any]:
    """Return the frames before and after the place `at` in the state's order: (key, place), None at an end."""
    if at is None or not (at.isascii() and at.isdigit() and len(at) < 10):
        return None, None
    place = int(at)
    first = max(0, place - 1)
    rows = frames_of(viewer, state, first, place - first + 2)
    if len(rows) <= place - first or rows[place - first]["key"] != key:
        return None, None  # the order has changed since
    before = (rows[0]["key"], first) if place else None
    after = (rows[place - first + 1]["key"], place + 1) if len(rows) > place - first + 1 else None
    return before, after


def other_seeds(viewer: Viewer, key: str, count: int) -> list[str]:
    """Return the keys of a frame and of others that differ in the seed alone, as far as columns tell; KeyError for none."""
    same = " AND ".join(f"a.{name} IS NOT DISTINCT FROM b.{name}" for name in SAME)
    sql = (
        f"SELECT b.key AS key, b.seed AS seed FROM frames a JOIN frames b ON {same} "
        f"WHERE a.key = ? GROUP BY b.key, b.seed ORDER BY b.key != ?, b.seed LIMIT {count}"
    )
    rows = viewer.query(sql, (key, key))
    if not rows:
        raise KeyError(key)
    return [row["key"] for row in rows]


def alike(viewer: Viewer, row: dict[str, Any]) -> dict[str, int]:
    """Return how many frames have the prompt of a frame, and how many have its key."""
    sql = "SELECT count(*) FILTER (prompt = ?) AS prompt, count(*) FILTER (key = ?) AS key FROM frames"
    return viewer.query(sql, (row["prompt"], row["key"]))[0]


def is_walk(viewer: Viewer, walk: str) -> bool:
    """Return True for a walk of several frames."""
    return bool(viewer.query("SELECT count(*) > 1 AS n FROM frames WHERE walk = ?", (walk,))[0]["n"])


def recipe_of(viewer: Viewer, row: dict[str, Any]) -> str:
    """Return a frame's recipe as JSON of many lines."""
    place = (row["shard"], row["row"])
    text = viewer.recipes([place])[place]
    return json.dumps(json.loads(text), ensure_ascii=False, indent=1)


def manifest_rows(out: Path, walk: str) -> list[dict[str, Any]]:
    """Return the rows of the stored manifest that a walk or still comes from, without what is not set. Raises StoreError."""
    path = OutputFolder(out).manifest
    if not (isinstance(path, ObjectPath) or path.is_file()):
        raise StoreError(f"{path}: required the manifest of the output, got no file")
    file, found = open_parquet(path), list[dict[str, Any]]()
    still = STILL.fullmatch(walk)
    for batch in file.iter_batches(batch_size=20_000):
        wanted = pc.equal(batch["walk"], walk).fill_null(False)
        if still:
            wanted = pc.or_(
                wanted, pc.and_(pc.equal(batch["source_row"], int(still["row"])), pc.is_null(batch["walk"]))
            )
        found += batch.filter(wanted).to_pylist()
        if len(found) >= ROWS_MAX:
            break
    if still and still["point"]:
        found = [row for row in found if row.get("sweep") == still["point"]]
    return [{name: value for name, value in row.items() if value not in (None, "", [])} for row in found[:ROWS_MAX]]
