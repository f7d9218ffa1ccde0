"""One output folder that is looked at: its catalog, pictures and marks, read as they are asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from typing import Any

from render.catalog import Catalog
from render.core import ObjectPath, StoreError
from render.store import Ledger, OutputFolder, reach_output
from render.view.marks import Marks
from render.view.night import Night, ask_elsewhere
from render.view.pictures import Bounded, Drawn, Shards, drawn, small

__all__ = ["FileFact", "Viewer"]

FIRST_SHARDS = 24  # that are read before the first page
NEXT_SHARDS = 32  # that are read at a time after that
LOOK_S, LOOK_BUCKET_S = 4.0, 30.0  # between two looks for what was committed since
THUMB_BYTES = 32_000_000
WALKS = 200  # walks whose distances are remembered
PLACES = 50_000  # frames whose place in the shards is remembered
SHOWN_FILES = {
    ".png": "image/png",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".mp4": "video/mp4",
    ".apng": "image/apng",
}


@dataclass(frozen=True, slots=True)
class FileFact:
    """A sheet or an animation."""

    path: Path
    name: str  # below OUT
    media_type: str


class Viewer:
    """An output folder that is looked at; any thread may ask."""

    def __init__(self, out: str | Path, first: int = FIRST_SHARDS, rest_s: float = 0.0) -> None:
        """Open it. The frames of the first shards are there at once; the others follow in a thread, after `rest_s`.

        Raises StoreError when `out` is not an output folder.
        """
        self.out = reach_output(out)
        self.damaged: list[str] = []  # shards that are left out, each with what mends it
        self.problem = ""  # of the last look for new frames
        self.catalog = Catalog(self.out, first, lambda error: self.damaged.append(str(error)))
        self.marks = Marks(self.out, self.catalog.put_marks)
        self.shards = Shards(self.out)
        self._thumbs: Bounded[Drawn] = Bounded(THUMB_BYTES, lambda one: len(one.data))
        self._places: Bounded[tuple[Path, int]] = Bounded(PLACES)
        self._distances: Bounded[list[float | None]] = Bounded(WALKS)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._looking, self._asking = Lock(), Lock()
        self._night: tuple[int, Night] | None = None  # the last report, and the number of shards then
        self._looked_s = time.monotonic()
        self._closed = Event()
        self._reader.submit(self._begin, rest_s)

    def close(self) -> None:
        """Write the marks that are not written yet, and delete the database."""
        self._closed.set()
        self._reader.shutdown(wait=True, cancel_futures=True)
        self.marks.close()
        self.catalog.close()

    @property
    def name(self) -> str:
        return self.out.name or str(self.out)

    @property
    def is_going_on(self) -> bool:
        """True while a run has the output folder."""
        return bool(Ledger(self.out).going_on())

    def query(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
        """Return the rows of a SELECT over `frames`."""
        rows: list[dict[str, Any]] = self.catalog.query(sql, parameters).to_pylist()
        return rows

    def look(self) -> None:
        """Look for what was committed since, in a thread, unless that was done just now."""
        wait_s = LOOK_BUCKET_S if isinstance(self.out, ObjectPath) else LOOK_S
        if time.monotonic() - self._looked_s > wait_s and not self._looking.locked():
            self._looked_s = time.monotonic()
            with suppress(RuntimeError):  # it is being closed
                self._reader.submit(self._read_on)

    def wait(self) -> None:
        """Wait until everything that was asked for in threads is read."""
        self._reader.submit(lambda: None).result()

    def _begin(self, rest_s: float) -> None:
        """Leave the first page the processor, then read on."""
        self._closed.wait(rest_s)
        self._read_on()

    def _read_on(self) -> None:
        """Take in what is not read yet, some shards at a time."""
        with self._looking:
            try:
                while not self._closed.is_set():
                    self.catalog.refresh(NEXT_SHARDS)
                    self.marks.take_file(self.catalog.put_marks)
                    if not self.catalog.unread:
                        break
                self.problem = ""
            except (OSError, StoreError) as error:
                self.problem = str(error)
            self._looked_s = time.monotonic()

    def has(self, key: str) -> bool:
        """Return True for the key of a stored frame."""
        return self._places.get(key) is not None or bool(
            self.query("SELECT 1 FROM frames WHERE key = ? LIMIT 1", (key,))
        )

    def distances(self, walk: str, measure: Callable[[], list[float | None]]) -> list[float | None]:
        """Return how far the neighbours of a walk are, measured once as long as the store does not grow."""
        key = (walk, len(self.catalog.shards))
        found = self._distances.get(key)
        return found if found is not None else self._distances.put(key, measure())

    def night(self) -> Night:
        """Return the report of the output, from a process of its own: it takes seconds of Python for a large one."""
        with self._asking:
            shards = len(self.catalog.shards)
            if self._night is None or self._night[0] != shards:
                self._night = shards, ask_elsewhere(self.out)
            return self._night[1]

    # Pictures.

    def remember(self, rows: list[dict[str, Any]]) -> None:
        """Remember the places of frames whose pictures will be asked for: rows with key, shard and row."""
        shards = self.catalog.shards
        for row in rows:
            if row["shard"] < len(shards):
                self._places.put(row["key"], (shards[row["shard"]], row["row"]))

    def picture(self, key: str) -> Drawn:
        """Return the stored picture of a frame. Raises KeyError when there is none, StoreError for a damaged shard."""
        return drawn(self._data(key))

    def thumb(self, key: str, side: int) -> Drawn:
        """Return a picture of at most `side` pixels, as WebP unless the stored one is small. Raises as `picture` does."""
        found = self._thumbs.get((key, side))
        return found or self._thumbs.put((key, side), small(self._data(key), side))

    def _data(self, key: str) -> bytes:
        place = self._places.get(key) or self._find(key)
        try:
            return self.shards.picture(*place)
        except FileNotFoundError:  # a compaction or a repair has replaced the shard
            self.catalog.refresh()
            return self.shards.picture(*self._find(key))

    def recipes(self, places: list[tuple[int, int]]) -> dict[tuple[int, int], str]:
        """Return the recipes of some frames by shard and row, as canonical JSON. Raises StoreError for a damaged shard."""
        shards, found = self.catalog.shards, dict[tuple[int, int], str]()
        for shard in sorted({shard for shard, _ in places}):
            recipes = self.shards.column(shards[shard], "recipe")
            found |= {(of, row): str(recipes[row].as_py()) for of, row in places if of == shard}
        return found

    def _find(self, key: str) -> tuple[Path, int]:
        rows = self.query("SELECT key, shard, row FROM frames WHERE key = ? LIMIT 1", (key,))
        if not rows:
            raise KeyError(key)
        self.remember(rows)
        return self.catalog.shards[rows[0]["shard"]], rows[0]["row"]

    # Files beside the shards.

    def files(self, folder: str) -> list[FileFact]:
        """Return the sheets or the animations of the output folder, by name."""
        root = getattr(OutputFolder(self.out), folder)
        if not root.is_dir():
            return []
        return [
            FileFact(path, str(path.relative_to(self.out)), SHOWN_FILES[path.suffix])
            for path in sorted(root.rglob("*"))
            if path.suffix in SHOWN_FILES and not path.name.startswith(".")
        ]

    def file(self, name: str) -> FileFact:
        """Return a sheet or an animation by its name below OUT. Raises KeyError for any other file."""
        folder = name.partition("/")[0]
        found = [one for one in self.files(folder) if one.name == name] if folder in ("sheets", "animations") else []
        if not found:
            raise KeyError(name)
        return found[0]
