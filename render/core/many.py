"""Many files at once, in a folder or in a bucket: their contents and their sizes. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from render.core.objects import ObjectPath

__all__ = ["READERS", "file_sizes", "read_many"]

READERS = 16  # requests at a time

Content = TypeVar("Content")


def read_many(paths: Sequence[Path], read: Callable[[Path], Content]) -> Iterator[Content]:
    """Yield what `read` returns for each file, in their order; small objects are read READERS at a time."""
    if not any(isinstance(path, ObjectPath) for path in paths):
        yield from map(read, paths)
        return
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(read, paths)


def file_sizes(folder: Path) -> dict[str, int]:
    """Return name → bytes of the files directly in a folder, if there is one; in a bucket by one request for a thousand."""
    if isinstance(folder, ObjectPath):
        return folder.sizes()
    if not folder.is_dir():
        return {}
    with os.scandir(folder) as entries:
        files = (entry for entry in entries if entry.is_file(follow_symlinks=False) or os.path.isfile(entry))
        return {entry.name: entry.stat().st_size for entry in files}  # `isfile`: a link to itself is none
