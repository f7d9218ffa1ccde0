"""The folder of local copies of inputs: files by their content, links by names, and what is known of their sources.

blobs/SHA256          the files
named/SHA256/NAME     links to them, by the names in their URLs
folders/HASH/…        links to the files of a folder, in a bucket or on a network file system
index/HASH.json       for each URL, or path: what its file was, when it was asked for last. Each query of an address has an
                      entry; the address alone has that of its last query
partial/…             a folder for each file on its way here, locked by its process
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from render.core.atomic import publish, sync
from render.core.digests import file_sha256
from render.core.scratch import OwnedFolder, scratch_folder
from render.core.user_cache import make_private, user_cache

__all__ = [
    "PRIVATE_FILE",
    "PRIVATE_FOLDER",
    "Kept",
    "blob_of",
    "cache_faults",
    "cache_root",
    "entry_of",
    "kept_file",
    "linked_folder",
    "named_link",
    "store_file",
]

ABANDONED_S = 2 * 86400  # age of a partial file whose process is gone, where the file system knows no locks
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # modes


@dataclass(frozen=True, slots=True)
class Kept:
    """What the cache knows of the file behind a URL."""

    url: str  # as it is shown, without a query
    etag: str
    modified: str
    size: int  # bytes
    sha256: str


def cache_root() -> Path:
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
def cache_faults(path: Path) -> Iterator[None]:
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


def entry_of(root: Path, address: Path | str) -> Path:
    return root / "index" / f"{hashlib.sha256(os.fsencode(str(address))).hexdigest()}.json"


def store_file(root: Path, write: Callable[[Path], bool]) -> tuple[str, int]:
    """Return (SHA-256, bytes) of a new file of the cache, which `write` fills; ("", 0) if that returns False."""
    with _partial_folder(root) as folder:
        temporary = folder / "file"
        temporary.touch(PRIVATE_FILE)
        if not write(temporary):
            return "", 0
        temporary.chmod(PRIVATE_FILE)  # a store's library may have put a file of its own there
        sha256, size = file_sha256(temporary), temporary.stat().st_size
        sync(temporary)
        publish(temporary, blob_of(root, sha256))
        return sha256, size


@contextmanager
def _partial_folder(root: Path) -> Iterator[Path]:
    """Make a folder for one file on its way here. Those of dead processes are deleted first."""
    place = root / "partial"
    place.mkdir(PRIVATE_FOLDER, exist_ok=True)
    for old in place.iterdir():
        with suppress(OSError):
            files = [old, *(old.iterdir() if old.is_dir() else ())]
            if time.time() - max(file.stat().st_mtime for file in files) > ABANDONED_S:
                old.unlink() if old.is_file() else shutil.rmtree(old)
    folder, held = None, None
    try:
        with suppress(OSError):  # a file system without locks
            held = OwnedFolder("", place=place)
        folder = held.path if held else Path(tempfile.mkdtemp(dir=place))
        yield folder
    finally:
        if held:
            held.delete()
        elif folder:
            shutil.rmtree(folder, ignore_errors=True)


def kept_file(root: Path, entry: Path) -> Kept | None:
    """Return what the index has of a URL, None if its file is not there whole."""
    try:
        kept = Kept(**json.loads(entry.read_bytes()))
        is_whole = blob_of(root, kept.sha256).stat().st_size == kept.size
    except (OSError, ValueError, TypeError):
        return None
    return kept if is_whole else None


def blob_of(root: Path, sha256: str) -> Path:
    return root / "blobs" / sha256


def named_link(root: Path, sha256: str, name: str) -> Path:
    """Return a link to a file of the cache that has the name in its URL, with no sign but letters, digits, `.`, `_`, `-`."""
    link = root / "named" / sha256 / (re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:] or "file")
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(blob_of(Path("../.."), sha256))
    return link


def linked_folder(root: Path, files: dict[str, str]) -> Path:
    """Return the folder of links to files, by their names below it."""
    listed = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(files.items()))
    folder = root / "folders" / hashlib.sha256(listed.encode()).hexdigest()
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{uuid4().hex}")
    for name, sha256 in files.items():
        link = temporary / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob_of(root, sha256))
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
