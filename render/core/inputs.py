"""Local copies of inputs behind URLs, and of models on network file systems, kept in the user's cache folder by content.

Before a copy is used again, the server is asked whether the file is still the same (ETag, time, size). A caller that knows
the SHA-256 asks nobody. Of several processes on a machine that want a file, one fetches it, and the others wait. The folder
and its files are for this user alone: inputs may be private. Deleting it costs downloads, nothing else; `input_cache.py`
says what is where.
"""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from render.core.atomic import write_atomically
from render.core.file_systems import is_networked, is_on_disk
from render.core.input_cache import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    Kept,
    blob_of,
    cache_faults,
    cache_root,
    entry_of,
    kept_file,
    linked_folder,
    named_link,
    store_file,
)
from render.core.many import READERS
from render.core.objects import ObjectPath, ObjectStat
from render.core.urls import WebPath, is_url
from render.core.user_cache import cache_lock

if TYPE_CHECKING:
    from render.core.web import Version

__all__ = ["IMAGE_BYTES", "SOUND_BYTES", "WEIGHTS_BYTES", "local_file", "local_files", "local_folder", "shared_folder"]

IMAGE_BYTES = 256 * 2**20  # at most, of files that are fetched
SOUND_BYTES = 8 * 2**30
WEIGHTS_BYTES = 200 * 2**30
FILES_MAX = 10_000  # of a folder
SPARE_BYTES = 10 * 2**30  # that copies from a network file system leave free on the disk
CHANGES_MAX = 3  # tries to get an object that changes while it is downloaded
HIDDEN_QUERY = "…"  # as `str` of a WebPath shows it


def local_file(path: Path, most: int, sha256: str = "") -> Path:
    """Return a local copy of an input, under the name in its URL; a local path is returned as it is.

    A copy with that `sha256` is taken without asking. Else the server is asked, and the caller compares. Raises OSError with
    the reason, also for a file of more than `most` bytes.
    """
    if not is_url(path):
        return path
    with cache_faults(path):
        root = cache_root()
        if sha256 and blob_of(root, sha256).is_file():
            return named_link(root, sha256, path.name)
        return named_link(root, _fetched(root, path, most), path.name)


def local_files(paths: Iterable[Path], most: int) -> dict[Path, Path | OSError]:
    """Return for each path what `local_file` returns or raises; several URLs are fetched at a time."""

    def one(path: Path) -> Path | OSError:
        try:
            return local_file(path, most)
        except OSError as error:
            return error

    every = list(paths)
    if not any(map(is_url, every)):
        return {path: path for path in every}
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(every, pool.map(one, every), strict=True))


def local_folder(path: ObjectPath, wanted: Callable[[str], bool], most: int) -> Path:
    """Return a local folder with links to those files below a path in a bucket whose names there are `wanted`.

    Raises OSError, also if there is none at all.
    """
    with cache_faults(path):
        root, found = cache_root(), []
        for name, size, etag in path.files():
            if wanted(name) and not {"", ".", ".."} & set(name.split("/")):
                found.append((name, ObjectStat(size, 0.0, 0.0, etag)))
            if len(found) > FILES_MAX:
                raise OSError(f"{path}: required a folder of at most {FILES_MAX:,} files, got more")
        if not found:
            raise FileNotFoundError(f"{path}: required a folder of files, got none that fits")
        with ThreadPoolExecutor(READERS) as pool:
            hashes = pool.map(lambda one: _fetched(root, path / one[0], most, one[1]), found)
            files = {name: sha256 for (name, _), sha256 in zip(found, hashes, strict=True)}
        return linked_folder(root, files)


def shared_folder(folder: Path, wanted: Callable[[str], bool]) -> Path:
    """Return a local folder with links to copies of the `wanted` files below one on a network file system.

    Returns the folder itself where it is on this machine, or the cache is not on a disk of its own with room. Raises
    OSError where a file can't be read.
    """
    if not is_networked(folder):
        return folder
    root = cache_root()
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if wanted(name)]
    if not is_on_disk(root):
        return folder
    with cache_lock(entry_of(root, folder)):  # the room is for the copy of one process, which others wait for
        unkept = [name for name in names if kept_file(root, entry_of(root, folder / name)) is None]
        needed = sum((folder / name).stat().st_size for name in unkept)
        if needed + SPARE_BYTES > shutil.disk_usage(root).free:
            return folder
        try:
            return linked_folder(root, {name: _fetched(root, folder / name, WEIGHTS_BYTES) for name in names})
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return folder  # somebody else has taken the room meanwhile


def _fetched(root: Path, path: Path, most: int, facts: ObjectStat | None = None) -> str:
    """Return the SHA-256 of the file behind a URL, fetched unless the cache has this very version."""
    entry = latest = entry_of(root, path)
    if isinstance(path, WebPath) and path.query not in ("", HIDDEN_QUERY):
        entry = entry_of(root, f"{path} {hashlib.sha256(path.query.encode()).hexdigest()}")
    with cache_lock(entry):
        kept = kept_file(root, entry)
        if isinstance(path, ObjectPath):
            now = _object(root, path, most, kept, facts)
        elif isinstance(path, WebPath):
            now = _web_file(root, path, most, kept)
        else:
            now = _shared_file(root, path, kept)
        for file in {entry, latest}:
            if now != kept or now != kept_file(root, file):
                file.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
                write_atomically(file, json.dumps(asdict(now)).encode(), PRIVATE_FILE)
        return now.sha256


def _shared_file(root: Path, path: Path, kept: Kept | None) -> Kept:
    def version() -> str:
        stat = path.stat()
        return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"

    for _ in range(CHANGES_MAX):
        now = version()
        if kept and kept.etag == now:
            return kept
        sha256, size = store_file(root, lambda target: bool(shutil.copyfile(path, target)))
        if version() == now:
            return Kept(str(path), now, "", size, sha256)
    raise OSError(f"{path}: required a file that stays as it is, got one that changes while it is read")


def _object(root: Path, path: ObjectPath, most: int, kept: Kept | None, facts: ObjectStat | None) -> Kept:
    for _ in range(CHANGES_MAX):
        facts = facts or path.facts(is_first=True)
        if kept and (kept.etag, kept.size) == (facts.etag, facts.size):
            return kept
        if facts.size > most:
            raise OSError(f"{path}: required at most {most:,} bytes, got {facts.size:,}")
        sha256, size = store_file(root, partial(_download, path))
        after = path.facts()
        if (after.etag, after.size, size) == (facts.etag, facts.size, facts.size):
            return Kept(str(path), facts.etag, "", size, sha256)
        facts = after
    raise OSError(f"{path}: required an object that stays as it is, got one that changes while it is read")


def _download(path: ObjectPath, target: Path) -> bool:
    path.download(target)
    return True


def _web_file(root: Path, path: WebPath, most: int, kept: Kept | None) -> Kept:
    if path.query == HIDDEN_QUERY:  # a stored path, whose query was left out
        if kept:
            return kept
        hint = "a query is not stored; give the whole address again"
        raise FileNotFoundError(f"{path}: required what follows the question mark, got nothing ({hint})")
    from render.core.web import Version, download

    known = Version(kept.etag, kept.modified) if kept else None
    got: list[Version] = []

    def write(target: Path) -> bool:
        got.extend(filter(None, [download(path, target, most, known)]))
        return bool(got)

    sha256, size = store_file(root, write)
    if not got:
        assert kept
        return kept
    return Kept(str(path), got[0].etag, got[0].modified, size, sha256)
