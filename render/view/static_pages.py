"""Write pages that open from disk: the overview, a grid of the first images, players of walks. They need no server."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.core import JobError, ObjectPath, StoreError, write_atomically
from render.view.browse import frames_of
from render.view.facts import labels_of, numbers_of
from render.view.filters import State
from render.view.night import charts_of, night_of
from render.view.pages import STATIC, page
from render.view.pictures import SIDES
from render.view.viewer import Viewer
from render.view.walks import distances_of, line_of, number_of_walks, player_of, steps_of, walks_of

__all__ = ["StaticPages", "write_static"]

IMAGES_MAX, PAGE = 1200, 240  # images in all, and on a page
WALKS_MAX, FRAMES_MAX = 48, 240  # walks, and frames of each
ASSETS = ("app.css", "app.js", "icon.svg")
OURS = "assets/app.js"  # by which a folder is known as one that was written before


@dataclass(frozen=True, slots=True)
class StaticPages:
    """What was written."""

    index: Path
    images: int
    walks: int
    left_out: tuple[str, ...]  # pictures that could not be read, each with the reason


def write_static(out: str | Path, folder: Path) -> StaticPages:
    """Write pages of an output folder into a folder that is new, empty, or was written so before.

    Raises StoreError when `out` is not an output folder, JobError for a folder with other files.
    """
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / OURS).is_file())):
        raise JobError(f"--static {folder}: required a new or an empty folder, got one with other files")
    with closing(Viewer(out)) as viewer:
        viewer.wait()
        if viewer.problem:
            raise StoreError(viewer.problem)
        return _Writer(viewer, folder).write()


class _Writer:
    def __init__(self, viewer: Viewer, folder: Path) -> None:
        self._viewer, self._folder = viewer, folder
        self._left_out: list[str] = []
        self._names: dict[tuple[str, int], str] = {}  # key and side → picture, "" for one that can't be read

    def write(self) -> StaticPages:
        for name in ("assets", "pictures", "files"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        for name in ASSETS:
            write_atomically(self._folder / "assets" / name, (STATIC / name).read_bytes())
        images, walks = self._images(), self._walks()
        self._page("index.html", "overview.html", section="/", **self._overview())
        return StaticPages(self._folder / "index.html", images, walks, tuple(self._left_out))

    def _page(self, name: str, template: str, **values: Any) -> None:
        viewer = self._viewer
        common = {"name": viewer.name, "out": str(viewer.out), "static": True, "assets": "assets/", "next": None}
        write_atomically(self._folder / name, page(template, common | values).encode("utf-8", "replace"))

    def _overview(self) -> dict[str, Any]:
        viewer, night = self._viewer, night_of(self._viewer.out)
        files = {folder: viewer.files(folder) for folder in ("animations", "sheets")}
        links = {}
        for one in (*files["animations"], *files["sheets"]):
            target = self._folder / "files" / one.name
            target.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(one.path, ObjectPath):
                target.write_bytes(one.path.read_bytes())
            else:
                shutil.copyfile(one.path, target)
            links[one.name] = f"files/{one.name}"
        numbers = {"numbers": numbers_of(viewer), "labels": labels_of(viewer), "state": State()}
        shown = {"night": night, "charts": charts_of(night), "damaged": [*viewer.damaged]}
        return numbers | shown | files | {"file_links": links}

    def _images(self) -> int:
        """Write the pages of the grid; returns the number of images."""
        viewer, state = self._viewer, State()
        total = len(viewer.catalog)
        count = min(total, IMAGES_MAX)
        pages = [_name("images", place) for place in range(max(1, -(-count // PAGE)))]
        for place, name in enumerate(pages):
            rows = frames_of(viewer, state, place * PAGE, min(PAGE, count - place * PAGE))
            values = {
                "rows": rows,
                "marks": {row["key"]: viewer.marks.of(row["key"]) for row in rows},
                "thumbs": {row["key"]: self._picture(row["key"], SIDES[0]) for row in rows},
                "links": {row["key"]: self._picture(row["key"], SIDES[1]) for row in rows},
                "before": pages[place - 1] if place else None,
                "after": pages[place + 1] if place + 1 < len(pages) else None,
            }
            place_of = {
                "at": place * PAGE,
                "total": total,
                "count": count,
                "query": "",
                "place": place,
                "pages": len(pages),
            }
            self._page(name, "static_images.html", section="/images", state=state, **values, **place_of)
        return count

    def _walks(self) -> int:
        """Write the list of walks and their players; returns the number of players."""
        viewer = self._viewer
        walks = walks_of(viewer, 0, WALKS_MAX)
        links, thumbs = {}, {}
        for place, one in enumerate(walks):
            steps = steps_of(viewer, one["walk"])[:FRAMES_MAX]
            marks = {step.key: viewer.marks.of(step.key) for step in steps}
            player = player_of(steps, lambda step: self._picture(step.key, SIDES[1]), marks)
            line = line_of(distances_of(viewer, steps))
            links[one["walk"]], thumbs[one["key"]] = _name("walk", place), self._picture(one["key"], SIDES[0])
            values = {"walk": one["walk"], "steps": steps, "player": player, "line": line, "marks": marks}
            self._page(links[one["walk"]], "walk.html", section="/walks", **values)
        total = number_of_walks(viewer)
        self._page("walks.html", "walks.html", section="/walks", walks=walks, links=links, thumbs=thumbs, total=total)
        return len(walks)

    def _picture(self, key: str, side: int) -> str:
        """Write a picture of at most `side` pixels unless it is there; returns its name for the pages."""
        known = self._names.get((key, side))
        if known is not None:
            return known
        try:
            drawn = self._viewer.thumb(key, side)
        except (StoreError, KeyError) as error:
            self._left_out.append(str(error))
            return self._names.setdefault((key, side), "")
        name = f"pictures/{key}-{side}.{drawn.suffix}"
        (self._folder / name).write_bytes(drawn.data)
        return self._names.setdefault((key, side), name)


def _name(what: str, place: int) -> str:
    return f"{what}{f'-{place + 1}' if place or what == 'walk' else ''}.html"
