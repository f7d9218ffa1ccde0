"""Manifest × sweep: every still and every walk once for each point, column by column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.job import Axis, Sweep, Value
from render.manifest.kinds import NAME_BYTES
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable, is_text

__all__ = ["SWEPT", "axis_table", "sweep_table"]

SWEPT = "sweep"  # the column of the points' names

INT64_MAX = 2**63 - 1


def axis_table(axis: Axis, csv: bool) -> RawTable:
    """Return the values of one group as a table of their own; row n is the group's n-th point, from 1."""
    cells = zip(*axis.values, strict=True)
    columns = {name: pa.chunked_array([_column(part, csv)]) for name, part in zip(axis.columns, cells, strict=True)}
    return RawTable(columns, np.arange(1, len(axis) + 1), csv=csv)


def sweep_table(raw: RawTable, sweep: Sweep, problems: Problems) -> RawTable:
    """Return the table with the rows of each still or walk repeated for every point, the point's values in its columns.

    The copies of a walk follow each other, each named `WALK POINT`; the new column `sweep` holds the point's name on
    every row. Row numbers stay those of the source, so that a still's derived seed is the same at every point.
    """
    if SWEPT in raw.columns:
        problems.add("no column of this name: it holds the names of a sweep's points", "it", column=SWEPT)
    if not sweep.axes:
        return raw
    problems.swept = {name: number for number, axis in enumerate(sweep.axes, 1) for name in axis.columns}
    raw = replace(raw, columns=_with_room(raw, sweep, problems))
    sources, points = _repeat(_block_lengths(raw), sweep.count)
    indices = pa.array(sources)
    columns = {n: c.take(indices) for n, c in _one_chunk(raw.columns).items() if n not in sweep.columns}
    stride = sweep.count
    for axis in sweep.axes:
        stride //= len(axis)
        positions = pa.array(points // stride % len(axis))
        columns |= {n: c.take(positions) for n, c in _one_chunk(axis_table(axis, raw.csv).columns).items()}
    names = pa.array(sweep.names(), pa.large_string()).take(pa.array(points))
    columns[SWEPT] = names
    if "walk" in columns and is_text(columns["walk"].type):
        columns["walk"] = _join(columns["walk"], names)
    chunked = {name: pa.chunked_array([column]) for name, column in columns.items()}
    return replace(raw, columns=chunked, rows=raw.rows[sources], broken=raw.broken - set(sweep.columns))


def _with_room(raw: RawTable, sweep: Sweep, problems: Problems) -> dict[str, Any]:
    """Return the columns. A walk whose name leaves no room for a point's is reported once, and gets a short name."""
    walk = raw.columns.get("walk")
    if walk is None or not is_text(walk.type):
        return raw.columns
    longest = 1 + max(len(name.encode()) for name in sweep.names())
    room = NAME_BYTES - longest
    long = np.flatnonzero(pc.greater(pc.binary_length(walk.combine_chunks()), room).fill_null(False))
    if not len(long):
        return raw.columns
    names, rows = walk.to_pylist(), raw.rows[long].tolist()
    firsts: dict[str, int] = {}
    for position, row in zip(long.tolist(), rows, strict=True):
        if (name := names[position]) not in firsts:
            required = f"a name of at most {room} bytes, as the sweep adds up to {longest} to it for its points"
            problems.add(required, f"{show(name)} of {len(name.encode())} bytes", row=row, column="walk")
        names[position] = f"{name[:8].strip()}…{firsts.setdefault(name, row)}"
    return raw.columns | {"walk": pa.chunked_array([pa.array(names, pa.large_string())])}


def _column(values: Iterable[Value], csv: bool) -> Any:
    """Return a column of text, as from a CSV file, or of numbers if all values are."""
    cells = list(values)
    if not csv and all(isinstance(cell, int) and -INT64_MAX <= cell <= INT64_MAX for cell in cells):
        return pa.array(cells, pa.int64())
    if not csv and not any(isinstance(cell, str) for cell in cells) and any(isinstance(cell, float) for cell in cells):
        return pa.array([float(cell) for cell in cells], pa.float64())
    return pa.array([str(cell) for cell in cells], pa.large_string())


def _one_chunk(columns: dict[str, Any]) -> dict[str, Any]:
    """Return columns of one chunk each: a take from many is many times slower."""
    return {name: column.combine_chunks() for name, column in columns.items()}


def _block_lengths(raw: RawTable) -> npt.NDArray[np.int64]:
    """Return the number of rows of each still (1) and walk, in file order."""
    walk = raw.columns.get("walk")
    if walk is None or not is_text(walk.type):
        return np.ones(len(raw.rows), np.int64)
    walk = walk.combine_chunks().fill_null("")
    begins = np.ones(len(walk), bool)
    begins[1:] = pc.or_(pc.equal(walk[1:], ""), pc.not_equal(walk[1:], walk[:-1])).to_numpy(zero_copy_only=False)
    return np.diff(np.flatnonzero(begins), append=len(walk))


def _repeat(lengths: npt.NDArray[np.int64], count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (source row, point) of every row of the product; each block of rows comes `count` times in a row.

    >>> [part.tolist() for part in _repeat(np.array([2, 1]), 2)]
    [[0, 1, 0, 1, 2, 2], [0, 0, 1, 1, 0, 1]]
    """
    begins = np.cumsum(lengths) - lengths
    length = np.repeat(lengths, lengths * count)
    offset = np.arange(len(length)) - np.repeat(begins * count, lengths * count)
    return np.repeat(begins, lengths * count) + offset % length, offset // length


def _join(walk: Any, names: Any) -> Any:
    """Return `WALK POINT` for each name, and an empty cell for an empty one."""
    joined = pc.binary_join_element_wise(walk, names, pa.scalar(" ", pa.large_string()))
    return pc.if_else(pc.equal(walk, "").fill_null(True), walk, joined)
