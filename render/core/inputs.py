"""Local copies of inputs behind URLs, kept in the user's cache folder by their content.

Before a copy is used again, the server is asked whether the file is still the same (ETag, time, size). A caller that knows
the SHA-256 asks nobody. The folder and its files are for this user alone: inputs may be private. Deleting it costs
downloads, nothing else:

    blobs/SHA256                the files
    named/SHA256/NAME           links to them, by the names in their URLs
    folders/HASH/…              links to the files of a folder in a bucket
    index/HASH.json             for each URL: what its file was, when it was asked for last; one more for those of
                                one address with queries, of the last of them
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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from render.core.atomic import publish, sync, write_atomically
from render.core.digests import file_sha256
from render.core.many import READERS
from render.core.objects import ObjectPath, ObjectStat
from render.core.scratch import scratch_folder
from render.core.urls import WebPath, is_url
from render.core.user_cache import cache_lock, make_private, user_cache

if TYPE_CHECKING:
    from render.core.web import Version

__all__ = ["IMAGE_BYTES", "SOUND_BYTES", "WEIGHTS_BYTES", "local_file", "local_files", "local_folder"]

IMAGE_BYTES = 256 * 2**20  # at most, of files that are fetched
SOUND_BYTES = 8 * 2**30
WEIGHTS_BYTES = 200 * 2**30
FILES_MAX = 10_000  # of a folder
CHANGES_MAX = 3  # tries to get an object that changes while it is downloaded
ABANDONED_S = 2 * 86400  # age of a partial file whose process is gone
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # modes
HIDDEN_QUERY = "…"  # as `str` of a WebPath shows it


@dataclass(frozen=True, slots=True)
class _Kept:
    """What the cache knows of the file behind a URL."""

    url: str  # as it is shown, without a query
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


def _root() -> Path:
    """Return the folder of the cache, or a local one of this process if it can't be written, or not be kept private."""
    try:
        root = user_cache("inputs")
        make_private(root)  # what was fetched with credentials is nobody else's
        (root / "blobs").mkdir(PRIVATE_FOLDER, exist_ok=True)
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
    entry = latest = _entry(root, str(path))
    if isinstance(path, WebPath) and path.query not in ("", HIDDEN_QUERY):
        entry = _entry(root, f"{path} {hashlib.sha256(path.query.encode()).hexdigest()}")
    with cache_lock(entry):
        kept = _kept(root, entry)
        if isinstance(path, ObjectPath):
            now = _object(root, path, most, kept, facts)
        else:
            assert isinstance(path, WebPath)
            now = _web_file(root, path, most, kept)
        for file in {entry, latest}:
            if now != kept or now != _kept(root, file):
                file.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
                write_atomically(file, json.dumps(asdict(now)).encode(), PRIVATE_FILE)
        return now.sha256


def _entry(root: Path, address: str) -> Path:
    return root / "index" / f"{hashlib.sha256(address.encode()).hexdigest()}.json"


def _object(root: Path, path: ObjectPath, most: int, kept: _Kept | None, facts: ObjectStat | None) -> _Kept:
    for _ in range(CHANGES_MAX):
        facts = facts or path.facts(is_first=True)
        if kept and (kept.etag, kept.size) == (facts.etag, facts.size):
            return kept
        if facts.size > most:
            raise OSError(f"{path}: required at most {most:,} bytes, got {facts.size:,}")
        sha256, size = _stored(root, partial(_download, path))
        after = path.facts()
        if (after.etag, after.size, size) == (facts.etag, facts.size, facts.size):
            return _Kept(str(path), facts.etag, "", size, sha256)
        facts = after
    raise OSError(f"{path}: required an object that stays as it is, got one that changes while it is read")


def _download(path: ObjectPath, target: Path) -> bool:
    path.download(target)
    return True


def _web_file(root: Path, path: WebPath, most: int, kept: _Kept | None) -> _Kept:
    if path.query == HIDDEN_QUERY:  # from a file of ours
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

    sha256, size = _stored(root, write)
    if not got:
        assert kept
        return kept
    return _Kept(str(path), got[0].etag, got[0].modified, size, sha256)


def _stored(root: Path, write: Callable[[Path], bool]) -> tuple[str, int]:
    """Return (SHA-256, bytes) of a new file of the cache, which `write` fills; ("", 0) if that returns False."""
    folder = root / "partial"
    folder.mkdir(PRIVATE_FOLDER, exist_ok=True)
    for old in folder.iterdir():
        with suppress(OSError):
            if time.time() - old.stat().st_mtime > ABANDONED_S:
                old.unlink()
    temporary = folder / uuid4().hex
    try:
        temporary.touch(PRIVATE_FILE)
        if not write(temporary):
            return "", 0
        temporary.chmod(PRIVATE_FILE)  # a store's library may have put a file of its own there
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
