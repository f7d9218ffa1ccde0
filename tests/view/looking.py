"""Stores to look at, and a client of the site that has the token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from painters import painting
from starlette.testclient import TestClient

from render import run_job
from render.view.site import make_site
from render.view.viewer import Viewer

TOKEN, COOKIE = "right-token", "render-8000"
OURS = {"X-Render": "1"}  # header of the site's own changes
THINGS = ("dog face", "red apple", "rocket")
WALK = [
    {"walk": "dog-to-cat", "prompt": "3d dog face", "seed": 7, "frames": 6, "thing": "dog face", "weight": 11.5},
    {"walk": "dog-to-cat", "prompt": "3d cat face", "seed": 8, "frames": 4, "thing": "dog face", "weight": 12.5},
    {"walk": "dog-to-cat", "prompt": "3d fox face", "seed": 8, "thing": "dog face", "weight": 1.5},
]
STILLS = [
    {"prompt": f"3d {thing}", "seed": seed, "thing": thing, "weight": place + seed / 10}
    for place, thing in enumerate(THINGS)
    for seed in (4, 3, 2, 1, 0)
]
FRAMES = 11 + len(STILLS)


def paint_store(folder: Path, rows: list[dict[str, Any]], *overrides: str) -> Path:
    """Write an output folder whose pictures are painted, in units of five frames."""
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = (
        "sampling.width=64",
        "sampling.height=64",
        "store.unit_frames=5",
        "animation.formats=[]",
        "sheets.kinds=[]",
    )
    with painting():
        run_job(table, f"output={json.dumps(str(folder / 'out'))}", *small, *overrides)
    return folder / "out"


@dataclass
class Looked:
    """A site that is looked at."""

    viewer: Viewer
    client: TestClient

    def get(self, path: str, status: int = 200) -> str:
        """The page of an address."""
        answer = self.client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        return answer.text

    def post(self, path: str, **body: Any) -> Any:
        answer = self.client.post(path, json=body, headers=OURS)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def keys(self, where: str = "true", order: str = "shard, row") -> list[str]:
        rows = self.viewer.query(f"SELECT key FROM frames WHERE {where} ORDER BY {order}")
        return [row["key"] for row in rows]


@contextmanager
def looking(out: Path, first: int = 1000) -> Iterator[Looked]:
    """Look at an output folder; all of it is read."""
    with closing(Viewer(out, first)) as viewer:
        viewer.wait()
        yield Looked(viewer, client_of(viewer, {COOKIE: TOKEN}))


def client_of(viewer: Viewer, cookies: dict[str, str]) -> TestClient:
    site = make_site(viewer, TOKEN, COOKIE)
    return TestClient(site, base_url="http://127.0.0.1:8000", cookies=cookies, raise_server_exceptions=False)


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str, **having: str) -> list[dict[str, str]]:
        """The attributes of all elements of a name that have some values."""
        return [found for name, found in self.elements if name == tag and having.items() <= found.items()]

    @property
    def cells(self) -> list[str]:
        """Keys of the images of a grid."""
        return [found["data-key"] for found in self.all("article") if "data-key" in found]
