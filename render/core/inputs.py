"""Local copies of inputs behind URLs, and of models on network file systems, kept in the user's cache folder by content.

Before a copy is used again, the server is asked whether the file is still the same (ETag, time, size). A caller that knows
the SHA-256 asks nobody. Of several processes on a machine that want a file, one fetches it, and the others wait. Deleting
the folder costs downloads, nothing else:

    blobs/SHA256                the files
    named/SHA256/NAME           links to them, by the names in their URLs
    folders/HASH/…              links to the files of a folder in a bucket
    index/HASH.json             for each URL without its query, or path: what its file was, when it was asked for last
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from render.core.atomic import publish, sync, write_atomically
from render.core.digests import file_sha256
from render.core.file_systems import is_networked, is_on_disk
from render.core.many import READERS
from render.core.objects import ObjectPath, ObjectStat
from render.core.scratch import scratch_folder
from render.core.urls import WebPath, is_url
from render.core.user_cache import cache_lock, user_cache

if TYPE_CHECKING:
    from render.core.web import Version

__all__ = ["IMAGE_BYTES", "SOUND_BYTES", "WEIGHTS_BYTES", "local_file", "local_files", "local_folder", "shared_folder"]

IMAGE_BYTES = 256 * 2**20  # at most, of files that are fetched
SOUND_BYTES = 8 * 2**30
WEIGHTS_BYTES = 200 * 2**30
FILES_MAX = 10_000  # of a folder
SPARE_BYTES = 10 * 2**30  # that copies from a network file system leave free on the disk
CHANGES_MAX = 3  # tries to get an object that changes while it is downloaded
ABANDONED_S = 2 * 86400  # age of a partial file whose process is gone
HIDDEN_QUERY = "…"  # as `str` of a WebPath shows it


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the cache knows of the file behind a URL."""

    url: str  # as it is shown, without a query
    query_sha256: str  # "" without a query
    etag: str
    modified: str
    size: int  # bytes
    sha256: str


def local_file(path: Path, most: int, sha256: str = "") -> Path:
    """Return a local copy of an input, under the name in its URL; a local path is returned as it is.

    A copy with that `sha256` is taken without asking. Else the server is asked, and the caller compares. Raises OSError with
    the reason, also for a file of more than `most` bytes.
    """
    if not is_url(path):
        return path
    with _cache_faults(path):
        root = _root()
        if sha256 and _blob(root, sha256).is_file():
            return _named(root, sha256, path.name)
        return _named(root, _fetched(root, path, most), path.name)


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
    with _cache_faults(path):
        root, found = _root(), []
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
        return _linked(root, files)


def shared_folder(folder: Path, wanted: Callable[[str], bool]) -> Path:
    """Return a local folder with links to copies of the `wanted` files below one on a network file system.

    Returns the folder itself where it is on this machine, or the cache is not on a disk of its own with room. Raises
    OSError where a file can't be read.
    """
    if not is_networked(folder):
        return folder
    root = _root()
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if wanted(name)]
    needed = sum((folder / name).stat().st_size for name in names if _kept(root, _entry(root, folder / name)) is None)
    if not is_on_disk(root) or needed + SPARE_BYTES > shutil.disk_usage(root).free:
        return folder
    with _cache_faults(folder):
        return _linked(root, {name: _fetched(root, folder / name, WEIGHTS_BYTES) for name in names})


def _root() -> Path:
    """Return the folder of the cache, or a local one of this process if it can't be written."""
    try:
        root = user_cache("inputs")
        (root / "blobs").mkdir(parents=True, exist_ok=True)
        if os.access(root / "blobs", os.W_OK):
            return root
    except (OSError, RuntimeError):  # the latter without a home
        pass
    root = scratch_folder() / "inputs"
    (root / "blobs").mkdir(parents=True, exist_ok=True)
    return root


@contextmanager
def _cache_faults(path: Path) -> Iterator[None]:
    """Raise OSError that says what was asked for, where the disk of the cache has a fault, or a library is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise OSError(str(error)) from None
    except OSError as error:
        if error.errno is None:  # a server's: it has its reason
            raise
        hint = "XDG_CACHE_HOME names another folder"
        raise OSError(f"{path}: required room in {user_cache('inputs')}, got {error.strerror} ({hint})") from None


def _fetched(root: Path, path: Path, most: int, facts: ObjectStat | None = None) -> str:
    """Return the SHA-256 of the file behind a URL, fetched unless the cache has this very version."""
    entry = _entry(root, path)
    with cache_lock(entry):
        kept = _kept(root, entry)
        if isinstance(path, ObjectPath):
            now = _object(root, path, most, kept, facts)
        elif isinstance(path, WebPath):
            now = _web_file(root, path, most, kept)
        else:
            now = _shared_file(root, path, kept)
        if now != kept:
            entry.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(entry, json.dumps(asdict(now)).encode())
        return now.sha256


def _entry(root: Path, path: Path) -> Path:
    return root / "index" / f"{hashlib.sha256(os.fsencode(str(path))).hexdigest()}.json"


def _shared_file(root: Path, path: Path, kept: _Kept | None) -> _Kept:
    def version() -> str:
        stat = path.stat()
        return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"

    for _ in range(CHANGES_MAX):
        now = version()
        if kept and kept.etag == now:
            return kept
        sha256, size = _stored(root, lambda target: shutil.copyfile(path, target))
        if version() == now:
            return _Kept(str(path), "", now, "", size, sha256)
    raise OSError(f"{path}: required a file that stays as it is, got one that changes while it is read")


def _object(root: Path, path: ObjectPath, most: int, kept: _Kept | None, facts: ObjectStat | None) -> _Kept:
    for _ in range(CHANGES_MAX):
        facts = facts or path.facts(is_first=True)
        if kept and (kept.etag, kept.size) == (facts.etag, facts.size):
            return kept
        if facts.size > most:
            raise OSError(f"{path}: required at most {most:,} bytes, got {facts.size:,}")
        sha256, size = _stored(root, path.download)
        after = path.facts()
        if (after.etag, after.size, size) == (facts.etag, facts.size, facts.size):
            return _Kept(str(path), "", facts.etag, "", size, sha256)
        facts = after
    raise OSError(f"{path}: required an object that stays as it is, got one that changes while it is read")


def _web_file(root: Path, path: WebPath, most: int, kept: _Kept | None) -> _Kept:
    if path.query == HIDDEN_QUERY:  # from a file of ours
        if kept:
            return kept
        hint = "a query is not stored; give the whole address again"
        raise FileNotFoundError(f"{path}: required what follows the question mark, got nothing ({hint})")
    from render.core.web import Version, download

    query = hashlib.sha256(path.query.encode()).hexdigest() if path.query else ""
    known = Version(kept.etag, kept.modified) if kept and kept.query_sha256 == query else None
    got: list[Version | None] = []
    sha256, size = _stored(root, lambda target: got.append(download(path, target, most, known)))
    version = got[0]
    if version is None:
        assert kept
        return kept
    return _Kept(str(path), query, version.etag, version.modified, size, sha256)


def _stored(root: Path, write: Callable[[Path], object]) -> tuple[str, int]:
    """Return (SHA-256, bytes) of a new file of the cache, which `write` fills; ("", 0) if it writes none."""
    folder = root / "partial"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED_S:
                old.unlink()
    temporary = folder / uuid4().hex
    try:
        write(temporary)
        if not temporary.exists():
            return "", 0
        sha256, size = file_sha256(temporary), temporary.stat().st_size
        sync(temporary)
        publish(temporary, _blob(root, sha256))
        return sha256, size
    finally:
        temporary.unlink(missing_ok=True)


def _kept(root: Path, entry: Path) -> _Kept | None:
    """Return what the index has of a URL, None if its file is not there whole."""
    try:
        kept = _Kept(**json.loads(entry.read_bytes()))
        is_whole = _blob(root, kept.sha256).stat().st_size == kept.size
    except (OSError, ValueError, TypeError):
        return None
    return kept if is_whole else None


def _blob(root: Path, sha256: str) -> Path:
    return root / "blobs" / sha256


def _named(root: Path, sha256: str, name: str) -> Path:
    """Return a link to a file of the cache that has the name in its URL, with no sign but letters, digits, `.`, `_`, `-`."""
    link = root / "named" / sha256 / (re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:] or "file")
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(_blob(Path("../.."), sha256))
    return link


def _linked(root: Path, files: dict[str, str]) -> Path:
    """Return the folder of links to files, by their names below it."""
    listed = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(files.items()))
    folder = root / "folders" / hashlib.sha256(listed.encode()).hexdigest()
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{uuid4().hex}")
    for name, sha256 in files.items():
        link = temporary / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(_blob(root, sha256))
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
