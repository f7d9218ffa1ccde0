"""The site: its addresses and what answers them. Plain functions from a request to an answer, run in threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from render.core import ObjectPath, StoreError, one_line
from render.view.answers import (
    compare,
    failure,
    file_name,
    frame,
    frame_row,
    images,
    images_part,
    news,
    overview,
    overview_night,
    overview_status,
    values,
    walk,
    walk_distances,
    walks,
    walks_part,
)
from render.view.guard import Guard
from render.view.pages import STATIC
from render.view.pictures import SIDES, Drawn
from render.view.viewer import Viewer

__all__ = ["make_site"]

FOR_EVER = "private, max-age=31536000, immutable"  # pictures are named by their key
BODY_MAX = 256_000  # bytes of a change
KEYS_MAX = 1000  # frames that one change may mark

Answer = Callable[[Viewer, Request], Response]


def make_site(viewer: Viewer, token: str, cookie: str) -> Guard:
    """Return the site of an output folder behind its guard."""
    pages: dict[str, Answer] = {
        "/": overview,
        "/overview/status": overview_status,
        "/overview/night": overview_night,
        "/images": images,
        "/images/part": images_part,
        "/values": values,
        "/news": news,
        "/walks": walks,
        "/walks/part": walks_part,
        "/walk": walk,
        "/walk/distances": walk_distances,
        "/compare": compare,
        "/frame/{key}": frame,
        "/frame/{key}/row": frame_row,
        "/thumb/{key}": thumb,
        "/image/{key}": image,
        "/file/{name:path}": file,
    }
    routes = [Route(path, _threaded(viewer, answer)) for path, answer in pages.items()]
    changes = [Route(path, partial(change, viewer, path), methods=["POST"]) for path in ("/mark", "/undo")]
    static = Mount("/static", StaticFiles(directory=str(STATIC)))
    failures: Any = {HTTPException: partial(failure, viewer)}
    return Guard(Starlette(routes=[*routes, *changes, static], exception_handlers=failures), token, cookie)


def _threaded(viewer: Viewer, answer: Answer) -> Callable[[Request], Any]:
    """Return an answer that waits in a thread, and that says in words what is not there or is damaged."""

    async def respond(request: Request) -> Response:
        try:
            return await run_in_threadpool(answer, viewer, request)
        except KeyError as error:
            raise HTTPException(404, f"{error.args[0]}: there is nothing of this name in the store") from error
        except (StoreError, OSError) as error:
            raise HTTPException(500, one_line(error)) from error

    return respond


def thumb(viewer: Viewer, request: Request) -> Response:
    """Return a small picture, as WebP unless the stored one is small enough."""
    side = request.query_params.get("s", str(SIDES[0]))
    if side not in map(str, SIDES):
        raise HTTPException(400, f"s: required one of {', '.join(map(str, SIDES))}, got {side!r}")
    return _picture(viewer.thumb(request.path_params["key"], int(side)))


def image(viewer: Viewer, request: Request) -> Response:
    """Return a picture as it is stored, with the texts that it carries; as a file with `download`."""
    key = request.path_params["key"]
    drawn = viewer.picture(key)
    answer = _picture(drawn)
    if "download" in request.query_params:
        answer.headers["Content-Disposition"] = f'attachment; filename="{file_name(viewer, key)}.{drawn.suffix}"'
    return answer


def _picture(drawn: Drawn) -> Response:
    return Response(drawn.data, media_type=drawn.media_type, headers={"Cache-Control": FOR_EVER})


def file(viewer: Viewer, request: Request) -> Response:
    """Return a sheet or an animation."""
    found = viewer.file(request.path_params["name"])
    if isinstance(found.path, ObjectPath):
        return Response(found.path.read_bytes(), media_type=found.media_type)
    return FileResponse(found.path, media_type=found.media_type, headers={"Cache-Control": "no-cache"})


async def change(viewer: Viewer, path: str, request: Request) -> Response:
    """Mark frames, or take the last change back; returns the marks of the frames that were changed."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX:
            return PlainTextResponse(f"413: required at most {BODY_MAX} bytes", 413)
    try:
        marks = await run_in_threadpool(_marked, viewer, path, body)
    except ValueError as error:
        return PlainTextResponse(f"400: {error}", 400)
    shown = {key: mark.as_json() for key, mark in marks.items()}
    return JSONResponse({"marks": shown, "counts": viewer.marks.counts(), "problem": viewer.marks.problem})


def _marked(viewer: Viewer, path: str, body: bytes) -> Any:
    if path == "/undo":
        return viewer.marks.undo()
    try:
        values = json.loads(body)
    except RecursionError:
        raise ValueError("required an object of JSON, got one that is nested too deeply") from None
    keys = values.pop("keys", None) if isinstance(values, dict) else None
    if (
        not isinstance(keys, list)
        or not 0 < len(keys) <= KEYS_MAX
        or not all(isinstance(key, str) and key.isascii() for key in keys)
    ):
        raise ValueError(f"keys: required a list of 1 to {KEYS_MAX} keys")
    for key in keys:
        if not viewer.has(key):
            raise ValueError(f"keys: required keys of the store, got {key!r}")
    return viewer.marks.change(keys, values)
