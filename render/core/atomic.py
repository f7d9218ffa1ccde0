"""Files that are there whole or not at all, whatever is killed when: in a local folder or a bucket. Standard library only.

A file for a bucket is written to a local folder first. Finished, it is uploaded; a bucket shows whole objects only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from render.core.objects import ObjectPath
from render.core.scratch import scratch_folder

__all__ = [
    "PARTIAL",
    "create_exclusively",
    "delete_folder",
    "local_copy",
    "partial",
    "publish",
    "replacing",
    "sync",
    "write_atomically",
]

PARTIAL = ".partial-"  # how the names of unfinished files begin


def partial(path: Path) -> Path:
    """Return a hidden name, with a file's suffix, that was never used before: beside the file, or local for an object."""
    if isinstance(path, ObjectPath):
        return partial(scratch_folder() / path.name)
    return path.with_name(f"{PARTIAL}{uuid4().hex}{path.suffix}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a hidden name (see `partial`) to write to; the file there becomes `path`, or is deleted after an error."""
    temporary = partial(path)
    try:
        yield temporary
        sync(temporary)
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomically(path: Path, data: bytes, mode: int = 0o666) -> None:
    """Write a file that is there whole or not at all; `mode` has its rights, less those that the umask takes."""
    with replacing(path) as temporary:
        temporary.touch(mode)
        temporary.write_bytes(data)


def create_exclusively(path: Path, text: str) -> bool:
    """Create a file with `text`, whole or not at all. Returns False if it exists: of several writers one wins.

    In a bucket a file with the same text counts as created by this call: it may be, where the store's answer was lost.
    """
    if isinstance(path, ObjectPath):
        return path.create(text.encode())
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
    """Give a finished file its name, for good: rename it, or upload it; here it is deleted, also after an error."""
    if isinstance(source, ObjectPath) and isinstance(target, ObjectPath):
        source.move(target)
        return
    if isinstance(target, ObjectPath):
        try:
            target.upload(source)
        finally:
            source.unlink()
        return
    source.replace(target)
    sync(target.parent)


@contextmanager
def local_copy(path: Path) -> Iterator[Path]:
    """Give a file itself, or for an object a local copy of the same name, deleted in the end."""
    if not isinstance(path, ObjectPath):
        yield path
        return
    folder = scratch_folder() / uuid4().hex
    folder.mkdir()
    try:
        path.download(folder / path.name)
        yield folder / path.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def delete_folder(path: Path) -> None:
    """Delete a folder with everything in it."""
    if not isinstance(path, ObjectPath):
        shutil.rmtree(path)
        return
    for file in path.rglob("*"):
        file.unlink()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk. Objects are safe once they are uploaded."""
    if isinstance(path, ObjectPath):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
