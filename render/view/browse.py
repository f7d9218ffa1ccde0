"""Questions to the catalog: a page of frames, prompts with their seeds, two columns as the axes of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from render.catalog import quoted
from render.view.filters import Condition, State, kind_of
from render.view.viewer import Viewer

__all__ = [
    "PAGE",
    "PILES",
    "AxisValue",
    "Cell",
    "Pile",
    "Table",
    "columns_of",
    "frame_at",
    "frames_of",
    "number_of",
    "piles_of",
    "table_of",
]

PAGE = 120  # frames a page: it divides by every number of columns that the style has
PILES = 60  # piles a page
ON_PILE = 4  # pictures of a pile that are shown
ACROSS_MAX, DOWN_MAX = 16, 40  # values of an axis; a column of more numbers is cut into bins
BINS = 10
LIGHT = "key, walk, frame, prompt, seed, shard, row, blank"


@dataclass(frozen=True, slots=True)
class Pile:
    """The frames of one prompt."""

    prompt: str
    count: int
    frames: tuple[dict[str, Any], ...]  # the first by seed


@dataclass(frozen=True, slots=True)
class AxisValue:
    """One value of an axis, or a stretch of numbers."""

    label: str
    filters: tuple[tuple[str, str, str], ...]  # that give its frames


@dataclass(frozen=True, slots=True)
class _Axis:
    """A column as an axis."""

    values: tuple[AxisValue, ...]
    place: str  # of a frame among the values, in SQL; -1 for none
    parameters: tuple[Any, ...] = ()  # of that SQL
    left_out: int = 0  # values that have no room


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of the table of images: its first frame, and how many there are."""

    frame: dict[str, Any]
    count: int


@dataclass(frozen=True, slots=True)
class Table:
    """Two columns as axes."""

    across: tuple[AxisValue, ...]
    down: tuple[AxisValue, ...]
    cells: Mapping[tuple[int, int], Cell]  # by place across and place down
    left_out: int  # values of the axes that have no room


def number_of(viewer: Viewer, condition: Condition, of: str = "*") -> int:
    """Return how many frames, or how many values of an expression, a condition holds for."""
    sql = f"SELECT count({of}) AS n FROM frames WHERE {condition.sql}"
    return int(viewer.query(sql, condition.parameters)[0]["n"])


def frames_of(viewer: Viewer, state: State, first: int, count: int = PAGE) -> list[dict[str, Any]]:
    """Return some frames in the state's order, from the place `first` on, with what a grid shows of them."""
    columns = viewer.catalog.columns
    condition, shown = state.condition(columns), f", {quoted(state.sort)} AS shown" if state.sort else ""
    if condition.problems:
        return []
    sql = f"SELECT {LIGHT}{shown} FROM frames WHERE {condition.sql} ORDER BY {state.order(columns)} LIMIT ? OFFSET ?"
    rows = viewer.query(sql, (*condition.parameters, count, first))
    viewer.remember(rows)
    return rows


def frame_at(viewer: Viewer, key: str) -> dict[str, Any]:
    """Return all columns of the frame of a key, the first when several have it. Raises KeyError when there is none."""
    rows = viewer.query("SELECT * FROM frames WHERE key = ? ORDER BY shard, row LIMIT 1", (key,))
    if not rows:
        raise KeyError(key)
    viewer.remember(rows)
    return rows[0]


def piles_of(viewer: Viewer, state: State, first: int, count: int = PILES) -> list[Pile]:
    """Return some prompts with their frames by seed, in the state's order."""
    columns = viewer.catalog.columns
    condition, by = state.condition(columns), state.sort
    if condition.problems:
        return []
    known = by in {column.name for column in columns}
    extreme = (
        f"{'max' if state.descending else 'min'}({quoted(by)}) {'DESC' if state.descending else 'ASC'} NULLS LAST, "
    )
    order = f"{extreme if known else ''}min(shard), min(row)"
    sql = f"SELECT prompt, count(*) AS n FROM frames WHERE {condition.sql} GROUP BY prompt ORDER BY {order} LIMIT ? OFFSET ?"
    piles = viewer.query(sql, (*condition.parameters, count, first))
    if not piles:
        return []
    marks = ", ".join("?" * len(piles))
    numbered = (
        f"row_number() OVER (PARTITION BY prompt ORDER BY seed, shard, row) AS place FROM frames WHERE {condition.sql}"
    )
    rows = viewer.query(
        f"SELECT * FROM (SELECT {LIGHT}, {numbered} AND prompt IN ({marks})) WHERE place <= {ON_PILE} ORDER BY place",
        (*condition.parameters, *(pile["prompt"] for pile in piles)),
    )
    viewer.remember(rows)
    by_prompt: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_prompt.setdefault(row["prompt"], []).append(row)
    return [Pile(one["prompt"], one["n"], tuple(by_prompt.get(one["prompt"], ()))) for one in piles]


def table_of(viewer: Viewer, state: State) -> Table:
    """Return the frames by two columns; both must be set in the state."""
    condition = state.condition(viewer.catalog.columns)
    if condition.problems or not (state.across and state.down):
        return Table((), (), {}, 0)
    x = _axis(viewer, condition, state.across, ACROSS_MAX)
    y = _axis(viewer, condition, state.down, DOWN_MAX)
    light = ", ".join(f"first({name} ORDER BY shard, row) AS {name}" for name in LIGHT.split(", "))
    sql = (
        f"SELECT x, y, count(*) AS n, {light} FROM (SELECT {LIGHT}, {x.place} AS x, {y.place} AS y FROM frames "
        f"WHERE {condition.sql}) WHERE x >= 0 AND y >= 0 GROUP BY x, y"
    )
    rows = viewer.query(sql, (*x.parameters, *y.parameters, *condition.parameters))
    viewer.remember(rows)
    cells = {(row["x"], row["y"]): Cell(row, row["n"]) for row in rows}
    return Table(x.values, y.values, cells, x.left_out + y.left_out)


def _axis(viewer: Viewer, condition: Condition, name: str, most: int) -> _Axis:
    """Return a column as an axis: its values, the most frequent ones when there are many, or stretches of numbers."""
    column = quoted(name)
    kind = next(kind_of(one) for one in viewer.catalog.columns if one.name == name)
    text = f"CAST({column} AS VARCHAR)"
    distinct = number_of(viewer, condition, f"DISTINCT {column}")
    if kind == "number" and distinct > most and (bins := _bins(viewer, condition, name)) is not None:
        return bins
    sql = (
        f"SELECT {text} AS value, count(*) AS n FROM frames WHERE {condition.sql} AND {column} IS NOT NULL GROUP BY ALL"
    )
    rows = viewer.query(f"{sql} ORDER BY n DESC, value LIMIT {most}", condition.parameters)
    values = sorted((row["value"] for row in rows), key=_natural)
    axis = tuple(AxisValue(value, ((name, "is", value),)) for value in values)
    place = f"coalesce(list_position(CAST(? AS VARCHAR[]), {text}), 0) - 1"
    return _Axis(axis, place, (values,), max(0, distinct - len(axis)))


def _bins(viewer: Viewer, condition: Condition, name: str) -> _Axis | None:
    """Return an axis of equal stretches of numbers; None for numbers that are not finite, or all the same."""
    column = f"CAST({quoted(name)} AS DOUBLE)"
    sql = f"SELECT min({column}) AS low, max({column}) AS high FROM frames WHERE {condition.sql} AND isfinite({column})"
    (row,) = viewer.query(sql, condition.parameters)
    low, high = row["low"], row["high"]
    if low is None or not low < high:
        return None
    edges = [low + (high - low) * number / BINS for number in range(BINS)] + [high]
    values = []
    for number, (begin, end) in enumerate(pairwise(edges)):
        above = (name, "max" if number == BINS - 1 else "below", repr(end))
        values.append(AxisValue(f"{_short(begin)} … {_short(end)}", ((name, "min", repr(begin)), above)))
    place = " + ".join(f"CAST({column} >= ? AS INTEGER)" for _ in edges[1:-1])
    return _Axis(tuple(values), f"CASE WHEN isfinite({column}) THEN {place} ELSE -1 END", tuple(edges[1:-1]))


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 and number == int(number) else f"{number:.4g}"


def _natural(value: str) -> tuple[int, float, str]:
    """Order numbers by their size, before texts."""
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)


def columns_of(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[tuple[str, list[Any]]]:
    """Return (name, values) of the columns in which some frames differ."""
    found = [(name, [row.get(name) for row in rows]) for name in names]
    return [(name, values) for name, values in found if any(value != values[0] for value in values[1:])]
