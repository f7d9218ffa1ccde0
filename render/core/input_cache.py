"""The cache of inputs on this machine: files by their content, links to them by name, and an index by address.

The folder and its files are for this user alone: inputs may be private. Deleting it costs downloads, nothing else:

    blobs/SHA256                the files
    named/SHA256/NAME           links to them, by the names in their URLs
    folders/HASH/…              links to the files of a folder
    index/HASH.json             for each URL or path: what its file was, when it was asked for last; one more for those of
                                one address with queries, of the last of them
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from render.core.atomic import publish, sync, write_atomically
from render.core.digests import file_sha256
from render.core.scratch import scratch_folder
from render.core.user_cache import make_private, user_cache

__all__ = ["Kept", "blob", "cache_root", "entry_of", "kept_at", "linked", "named", "note", "stored"]

ABANDONED_S = 2 * 86400  # age of a partial file whose process is gone
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


def entry_of(root: Path, address: str) -> Path:
    """Return the file of the index for a URL or path."""
    return root / "index" / f"{hashlib.sha256(os.fsencode(address)).hexdigest()}.json"


def note(entry: Path, now: Kept) -> None:
    """Write an entry of the index."""
    entry.parent.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
    write_atomically(entry, json.dumps(asdict(now)).encode(), PRIVATE_FILE)


def stored(root: Path, write: Callable[[Path], bool]) -> tuple[str, int]:
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
        publish(temporary, blob(root, sha256))
        return sha256, size
    finally:
        temporary.unlink(missing_ok=True)


def kept_at(root: Path, entry: Path) -> Kept | None:
    """Return what the index has of a URL, None if its file is not there whole."""
    try:
        kept = Kept(**json.loads(entry.read_bytes()))
        is_whole = blob(root, kept.sha256).stat().st_size == kept.size
    except (OSError, ValueError, TypeError):
        return None
    return kept if is_whole else None


def blob(root: Path, sha256: str) -> Path:
    """Return the path of a file by its content."""
    return root / "blobs" / sha256


def named(root: Path, sha256: str, name: str) -> Path:
    """Return a link to a file of the cache that has the name in its URL, with no sign but letters, digits, `.`, `_`, `-`."""
    link = root / "named" / sha256 / (re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:] or "file")
    link.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        link.symlink_to(blob(Path("../.."), sha256))
    return link


def linked(root: Path, files: dict[str, str]) -> Path:
    """Return the folder of links to files, by their names below it."""
    listed = "".join(f"{name}\0{sha256}\n" for name, sha256 in sorted(files.items()))
    folder = root / "folders" / hashlib.sha256(listed.encode()).hexdigest()
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{uuid4().hex}")
    for name, sha256 in files.items():
        link = temporary / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob(root, sha256))
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
