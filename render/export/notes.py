"""What an export notes beside its files, so that the same command goes on with it: FOLDER/.export, of which nothing counts
once the export is done but the note itself. It has no path of this machine.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from render.core import PARTIAL, StoreError, shorten, write_atomically
from render.export.selection import Selection
from render.export.work import Part, Work

__all__ = ["begin_or_resume", "is_done", "locked", "note_done", "note_part", "noted_parts"]

NOTE = "export.json"


def begin_or_resume(work: Work, selection: Selection) -> bool:
    """Note what is exported in a new or empty folder; returns True for the folder of the same export.

    Raises StoreError for a folder with other files, and for one of another export, with what differs.
    """
    asked = _asked(work, selection)
    note = work.notes / NOTE
    if note.is_file():
        begun = _read(note)
        if differing := _differences(begun, asked):
            hint = "take another folder, or delete this one"
            raise StoreError(
                "\n  ".join([f"{work.folder}: required the export that was begun there; {hint}", *differing])
            )
        return True
    if work.folder.exists() and any(path != work.notes for path in work.folder.iterdir()):
        raise StoreError(
            f"{work.folder}: required a new or empty folder, or that of an export; got one with other files"
        )
    work.notes.mkdir(parents=True, exist_ok=True)
    write_atomically(note, json.dumps(asked, indent=1, ensure_ascii=False).encode("utf-8", "replace"))
    return False


def _asked(work: Work, selection: Selection) -> dict[str, Any]:
    """Return what two runs of an export have in common."""
    export = {name: value for name, value in asdict(work.choice.export).items() if name != "folder"}
    export["columns"] = [f"{column.name} {column.type}" for column in work.choice.columns]
    frames = {"frames": selection.frames, "fingerprint": selection.fingerprint}
    found: dict[str, Any] = json.loads(
        json.dumps({"store": work.source, **export, **frames}).encode("utf-8", "replace")
    )
    return found


def _differences(begun: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    told = [
        f"{name}: {shorten(repr(begun.get(name)))} then, {shorten(repr(asked[name]))} now"
        for name in asked
        if begun.get(name) != asked[name] and name != "fingerprint"
    ]
    if not told and begun.get("fingerprint") != asked["fingerprint"]:
        told = ["the store: it has other frames, scores or marks now than then, or was compacted"]
    return told


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    except ValueError:
        pass
    raise StoreError(f"{path}: required the note of an export, got a damaged one (delete the folder)")


def noted_parts(work: Work, split: str) -> list[dict[str, int]]:
    """Return rows and bytes of the parts of a split that are written, in their order."""
    found: list[dict[str, int]] = []
    while (path := work.notes / f"{Part(split, len(found), 0).name}.json").is_file():
        found.append(_read(path))
    return found


def note_part(work: Work, part: Part, rows: int, size_bytes: int) -> None:
    """Note that a part is written."""
    write_atomically(work.notes / f"{part.name}.json", json.dumps({"rows": rows, "bytes": size_bytes}).encode())


def is_done(work: Work) -> bool:
    return bool(_read(work.notes / NOTE).get("done"))


def note_done(work: Work) -> None:
    """Note that all is written."""
    note = _read(work.notes / NOTE) | {"done": True}
    write_atomically(work.notes / NOTE, json.dumps(note, indent=1, ensure_ascii=False).encode())


@contextmanager
def locked(work: Work) -> Iterator[None]:
    """Hold the folder. Raises StoreError when another process exports into it."""
    with (work.notes / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"{work.folder}: required that nobody else exports there, got a process that does"
            ) from None
        for partial in work.folder.rglob(f"{PARTIAL}*"):  # of a run that was killed: nobody else writes now
            partial.unlink()
        yield
