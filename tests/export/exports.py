"""A made-up store to export, and what tests need to know of it.

Test files name this module in `pytest_plugins`. They also import its functions first, which pytest would take for a
mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up import make_up

from render import open_store
from render.export import Export, Exported, export_store

FRAMES = 348  # 300 stills, four seeds a prompt, and two walks of 24 frames


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of several shards. Not to be written to: see `copied_store`."""
    out = tmp_path_factory.mktemp("exports") / "pets"
    make_up(out, FRAMES, "store.unit_frames=50")
    return out


@pytest.fixture
def copied_store(store: Path, tmp_path: Path) -> Path:
    return shutil.copytree(store, tmp_path / "pets")


def export(out: Path, folder: Path, to: str = "hf", **options: Any) -> Exported:
    return export_store(out, Export(to=to, folder=folder, **options))


def rows_of(out: Path) -> dict[str, dict[str, Any]]:
    """Every row of a store by its walk and frame."""
    table = open_store(out).dataset().to_table()
    return {f"{row['walk']} {row['frame']}": row for row in table.to_pylist()}


def files_of(folder: Path) -> dict[str, str]:
    """Path → hash of every file but the notes'; of texts that name the folder, as if it had another name."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".export" not in path.parts)
    found = {}
    for path in paths:
        data = path.read_bytes()
        if path.name in ("README.md", "croissant.json"):
            data = data.replace(folder.name.encode(), b"NAME")
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def share(prompt: str) -> float:
    """The place in 0 … 1 of a prompt, by another way than SQL."""
    return int(hashlib.sha256(prompt.encode()).hexdigest(), 16) / 2**256


def walks_of(rows: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """(walk, its first frame's prompt)."""
    for row in rows.values():
        if row["frame"] == 0:
            yield row["walk"], row["prompt"]
