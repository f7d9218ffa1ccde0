"""Answers of the site that are pages or parts of pages."""

from __future__ import annotations

import re
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from render.catalog import quoted
from render.core import to_go_on
from render.mending import lines_of, status_store
from render.view.browse import PAGE, PILES, columns_of, frame_at, frames_of, number_of, piles_of, table_of
from render.view.facts import (
    ALWAYS_OTHERS,
    alike,
    is_walk,
    labels_of,
    manifest_rows,
    neighbours,
    numbers_of,
    other_seeds,
    recipe_of,
)
from render.view.filters import OPERATORS, SHAPES, State, kind_of
from render.view.night import charts_of
from render.view.pages import page
from render.view.pictures import SIDES
from render.view.viewer import Viewer
from render.view.walks import distances_of, line_of, number_of_walks, player_of, steps_of, walks_of

__all__ = [
    "compare",
    "failure",
    "file_name",
    "frame",
    "frame_row",
    "images",
    "images_part",
    "news",
    "overview",
    "overview_night",
    "overview_status",
    "values",
    "walk",
    "walk_distances",
    "walks",
    "walks_part",
]

SCROLL_MAX = 400_000  # images in one page: browsers draw no page that is longer than some 30 million pixels
WALKS = 24  # a part of the list
VALUES_MAX = 40  # of a column that are suggested
COMPARED_MAX = 4


def _answer(viewer: Viewer, request: Request, template: str, **values: Any) -> Response:
    return HTMLResponse(page(template, common(viewer) | {"section": _section(request.url.path)} | values))


def common(viewer: Viewer) -> dict[str, Any]:
    """Return what every page shows."""
    return {"name": viewer.name, "out": str(viewer.out), "static": False, "assets": "/static/"}


def _section(path: str) -> str:
    """Return the address of the page in the head that a page belongs to."""
    if path.startswith("/walk"):
        return "/walks"
    return "/" if path == "/" else "/images"


def failure(viewer: Viewer, request: Request, error: Exception) -> Response:
    """Return what went wrong: a page for who opens one, a line for a part of it."""
    assert isinstance(error, HTTPException)
    if "text/html" not in request.headers.get("accept", "") or request.headers.get("hx-request"):
        return PlainTextResponse(f"{error.status_code}: {error.detail}", error.status_code)
    values = common(viewer) | {"section": "", "status": error.status_code, "detail": error.detail}
    return HTMLResponse(page("failure.html", values), error.status_code)


def overview(viewer: Viewer, request: Request) -> Response:
    """Return the page of the whole output: numbers at once, what takes longer by parts."""
    viewer.look()
    return _answer(
        viewer,
        request,
        "overview.html",
        numbers=numbers_of(viewer),
        labels=labels_of(viewer),
        state=State(),
        sheets=viewer.files("sheets"),
        animations=viewer.files("animations"),
    )


def overview_status(viewer: Viewer, request: Request) -> Response:
    """Return the lines of `render status`; they are asked for again while a run goes on."""
    status = status_store(viewer.out)
    done = status.frames / status.planned if status.planned else None
    return _answer(viewer, request, "status.html", status=status, lines=lines_of(status), done=done)


def overview_night(viewer: Viewer, request: Request) -> Response:
    """Return the report of the night: speed and fill over time, failures by reason, damage, what to do next."""
    return _answer(viewer, request, "night.html", **night_values(viewer))


def night_values(viewer: Viewer) -> dict[str, Any]:
    """Return what the part of the night shows."""
    night = viewer.night()
    return {"night": night, "charts": charts_of(night), "damaged": [*viewer.damaged]}


def images(viewer: Viewer, request: Request) -> Response:
    """Return the page of frames: a grid, piles of seeds, or a table of two columns."""
    viewer.look()
    state = State.from_query(request.query_params.multi_items())
    columns, first = viewer.catalog.columns, _number(request, "first")
    condition = state.condition(columns)
    of = "DISTINCT prompt" if state.shape == "stacks" else "*"
    total = number_of(viewer, condition, of)
    size = PILES if state.shape == "stacks" else PAGE
    return _answer(
        viewer,
        request,
        "images.html",
        state=state,
        columns=columns,
        kinds={column.name: kind_of(column) for column in columns},
        operators=OPERATORS,
        shapes=SHAPES,
        problems=condition.problems,
        total=total,
        frames=number_of(viewer, condition) if state.shape == "stacks" else total,
        shown_max=SCROLL_MAX,
        size=size,
        first=first,
        numbers=numbers_of(viewer),
        table=table_of(viewer, state) if state.shape == "table" else None,
        **(_part(viewer, state, first) if state.shape != "table" else {}),
    )


def images_part(viewer: Viewer, request: Request) -> Response:
    """Return one page of a grid or of piles, for a page that scrolls on."""
    state = State.from_query(request.query_params.multi_items())
    template = "piles.html" if state.shape == "stacks" else "cells.html"
    return _answer(viewer, request, template, state=state, **_part(viewer, state, _number(request, "first")))


def _part(viewer: Viewer, state: State, first: int) -> dict[str, Any]:
    if state.shape == "stacks":
        return {"piles": piles_of(viewer, state, first), "query": state.query()}
    rows = frames_of(viewer, state, first)
    return {
        "rows": rows,
        "at": first,
        "query": state.query(),
        "marks": {row["key"]: viewer.marks.of(row["key"]) for row in rows},
    }


def values(viewer: Viewer, request: Request) -> Response:
    """Return the most frequent values of a column, as suggestions for a filter."""
    name = request.query_params.get("c", "")
    if name not in {column.name for column in viewer.catalog.columns}:
        raise KeyError(name)
    text = f"CAST({quoted(name)} AS VARCHAR)"
    sql = f"SELECT {text} AS value, count(*) AS n FROM frames WHERE {quoted(name)} IS NOT NULL GROUP BY ALL"
    return _answer(
        viewer, request, "values.html", values=viewer.query(f"{sql} ORDER BY n DESC, value LIMIT {VALUES_MAX}")
    )


def news(viewer: Viewer, request: Request) -> Response:
    """Return the line in the head of every page: what is still read, what is new, what is wrong."""
    viewer.look()
    numbers, seen = numbers_of(viewer), _number(request, "seen")
    known = seen if seen and not numbers["unread"] else numbers["frames"]
    return _answer(viewer, request, "news.html", numbers=numbers, seen=seen, known=known)


def walks(viewer: Viewer, request: Request) -> Response:
    """Return the list of walks."""
    viewer.look()
    total = number_of_walks(viewer)
    return _answer(viewer, request, "walks.html", total=total, **_walks_part(viewer, 0))


def walks_part(viewer: Viewer, request: Request) -> Response:
    """Return more of the list of walks."""
    return _answer(viewer, request, "walk_cards.html", **_walks_part(viewer, _number(request, "first")))


def _walks_part(viewer: Viewer, first: int) -> dict[str, Any]:
    found = walks_of(viewer, first, WALKS + 1)
    return {"walks": found[:WALKS], "next": first + WALKS if len(found) > WALKS else None}


def walk(viewer: Viewer, request: Request) -> Response:
    """Return the player of a walk."""
    name = request.query_params.get("name", "")
    steps = steps_of(viewer, name)
    marks = {step.key: viewer.marks.of(step.key) for step in steps}
    player = player_of(steps, lambda step: f"/thumb/{step.key}?s={SIDES[-1]}", marks)
    return _answer(viewer, request, "walk.html", walk=name, steps=steps, marks=marks, player=player)


def walk_distances(viewer: Viewer, request: Request) -> Response:
    """Return how far neighbours of a walk are, as a line."""
    name = request.query_params.get("name", "")
    distances = viewer.distances(name, lambda: distances_of(viewer, steps_of(viewer, name)))
    return _answer(viewer, request, "distances.html", line=line_of(distances))


def compare(viewer: Viewer, request: Request) -> Response:
    """Return two to four frames side by side, and two of them under a slider."""
    keys = request.query_params.getlist("k")[:COMPARED_MAX]
    if seeds_of := request.query_params.get("seeds"):
        keys = other_seeds(viewer, seeds_of, COMPARED_MAX)
    rows = [frame_at(viewer, key) for key in keys]
    names = [column.name for column in viewer.catalog.columns if column.name not in ALWAYS_OTHERS]
    left, right = (
        min(_number(request, name, default), max(0, len(rows) - 1)) for name, default in (("l", 0), ("r", 1))
    )
    differences = columns_of(rows, names)
    marks = {row["key"]: viewer.marks.of(row["key"]) for row in rows}
    return _answer(
        viewer, request, "compare.html", rows=rows, differences=differences, left=left, right=right, marks=marks
    )


def frame(viewer: Viewer, request: Request) -> Response:
    """Return the page of one frame."""
    key = request.path_params["key"]
    row = frame_at(viewer, key)
    state = State.from_query(request.query_params.multi_items())
    before, after = neighbours(viewer, state, key, request.query_params.get("at"))
    sources = {column.name: column.source for column in viewer.catalog.columns}
    return _answer(
        viewer,
        request,
        "frame.html",
        row=row,
        sources=sources,
        columns=sorted(
            ((name, value) for name, value in row.items() if name in sources and value != ""),
            key=lambda column: sources[column[0]] in ("store", "mark"),  # labels and scores first
        ),
        before=before,
        after=after,
        query=state.query(),
        mark=viewer.marks.of(key),
        recipe=recipe_of(viewer, row),
        is_walk=is_walk(viewer, row["walk"]),
        command=to_go_on("reproduce", viewer.out, key).strip("`"),
        alike=alike(viewer, row),
    )


def frame_row(viewer: Viewer, request: Request) -> Response:
    """Return the rows of the manifest that a frame comes from."""
    row = frame_at(viewer, request.path_params["key"])
    return _answer(viewer, request, "manifest_rows.html", rows=manifest_rows(viewer.out, row["walk"]))


def file_name(viewer: Viewer, key: str) -> str:
    """Return a name for a downloaded picture: its walk and frame, of plain signs."""
    row = frame_at(viewer, key)
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', row['walk']).strip('.-') or 'frame'}-{row['frame']:05d}"


def _number(request: Request, name: str, default: int = 0) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default
