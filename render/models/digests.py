"""SHA-256 of model files without reading gigabytes again: from the hub's file names, or from the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from contextlib import suppress
from pathlib import Path

from render.core import ModelError, cache_lock, file_sha256, is_networked, user_cache, write_atomically

__all__ = ["checked_sha256", "known_sha256"]

CACHED_BYTES = 64 * 2**20  # smaller files are read each time: hashing one takes less than 50 ms
SETTLED_S = 2.0  # a file that was changed this recently may change again within the same tick of its clock
SHA256 = re.compile(r"[0-9a-f]{64}")


def known_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits. Raises OSError when the file can't be read.

    A file of the Hugging Face cache is a link to `blobs/SHA256`: its digest is that name. The digest of another file of
    64 MiB or more is kept in the user's cache folder, for as long as resolved path, size, modification time and inode stay
    the same. Of several processes that ask at once, one reads the file and the others wait for it; of those of several
    machines as well, if they share both file and cache. A cache that can't be written is no error: then every process
    reads the file.
    """
    named = _hub_sha256(path)
    if named is not None:
        return named
    if path.stat().st_size < CACHED_BYTES:
        return file_sha256(path)
    entry = _entry(path)
    return _kept(entry, path) or _read_once(entry, path)


def checked_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, read now; what the cache has of it is written anew.

    Raises ModelError when a file of the Hugging Face cache has another digest than its name says, and OSError when it
    can't be read.
    """
    named, before = _hub_sha256(path), path.stat()
    digest = file_sha256(path)
    if named is not None and digest != named:
        raise ModelError(
            f"{path.resolve()}: required a file of SHA-256 {named}, as it is named, got {digest} (damaged?)"
        )
    if named is None and before.st_size >= CACHED_BYTES:
        _keep(_entry(path), path, before, digest)
    return digest


def _hub_sha256(path: Path) -> str | None:
    """Return the digest in the name of the blob that a hub file links to, None for other files.

    Small files of the hub are named by Git's SHA-1 and don't count.
    """
    if not path.is_symlink():
        return None
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and SHA256.fullmatch(blob.name) else None


def _entry(path: Path) -> Path | None:
    """Return the cache's file for the digest of a file, None when the user has no cache folder."""
    try:
        cache = user_cache("digests")
    except RuntimeError:  # no home
        return None
    name = os.fsencode(path.resolve())
    if is_networked(cache) and not is_networked(path):  # each machine has a file of its own there
        name += f"\0{platform.node()}".encode()
    return cache / f"{hashlib.sha256(name).hexdigest()}.json"


def _identity(path: Path, stat: os.stat_result) -> dict[str, str | int]:
    """Return what tells a changed file from the one whose digest is kept."""
    resolved = os.fsencode(path.resolve()).decode(errors="backslashreplace")
    return {"path": resolved, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "inode": stat.st_ino}


def _kept(entry: Path | None, path: Path) -> str | None:
    """Return the digest in the cache, None when there is none of this very file."""
    try:
        found = json.loads(entry.read_bytes()) if entry else None
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    digest = found.pop("sha256", None)
    return digest if isinstance(digest, str) and found == _identity(path, path.stat()) else None


def _read_once(entry: Path | None, path: Path) -> str:
    """Return the digest of a file that the cache does not know, read here or by the process that began first."""
    with cache_lock(entry):
        if digest := _kept(entry, path):
            return digest
        before = path.stat()
        digest = file_sha256(path)
        _keep(entry, path, before, digest)
        return digest


def _keep(entry: Path | None, path: Path, before: os.stat_result, digest: str) -> None:
    """Write a digest to the cache, unless the file has changed since `before`, or may just be changing."""
    identity = _identity(path, before)
    settled = time.time() - before.st_mtime_ns / 1e9 > SETTLED_S
    if entry is None or not settled or _identity(path, path.stat()) != identity:
        return
    with suppress(OSError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(entry, json.dumps(identity | {"sha256": digest}).encode())
