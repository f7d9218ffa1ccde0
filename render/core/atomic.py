"""Files that are there whole or not at all, whatever is killed when. Standard library only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

__all__ = ["PARTIAL", "create_exclusively", "partial", "publish", "replacing", "sync", "write_atomically"]

PARTIAL = ".partial-"  # how the names of unfinished files begin


def partial(path: Path) -> Path:
    """Return a hidden name beside a file, with its suffix, that was never used before."""
    return path.with_name(f"{PARTIAL}{uuid4().hex}{path.suffix}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a hidden name beside `path` to write to; the file there becomes `path`, or is deleted after an error."""
    temporary = partial(path)
    try:
        yield temporary
        sync(temporary)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file that is there whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def create_exclusively(path: Path, text: str) -> bool:
    """Create a file with `text`, whole or not at all. Returns False if it exists: of several writers one wins."""
    temporary = partial(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        sync(temporary)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    sync(path.parent)
    return True


def publish(source: Path, target: Path) -> None:
    """Rename a finished file and make the rename durable."""
    source.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
