"""Hashes of files, and names that are one file. Standard library only."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path

__all__ = ["file_name_key", "file_sha256"]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits. Raises OSError where it can't be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_name_key(name: str) -> str:
    """Return a text that is equal for names that are one file on some file system: case and composition don't count.

    >>> file_name_key("Ångström") == file_name_key("a\u030angstro\u0308m")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
