"""The operations that a store of objects has to have, and exclusive creation on top of them. Standard library only.

`s3.py`, `gs.py` and `az.py` have one `Bucket` each, and a function `open_bucket(name, is_first)`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4

__all__ = [
    "CORRUPT",
    "BehindEndError",
    "Bucket",
    "EndedError",
    "FaultError",
    "TakenError",
    "create_once",
    "creates_exclusively",
]

PAUSE_MAX_S = 10.0
CORRUPT = "required the bytes that the store has, got others, each time (checksums differ: a proxy that changes them?)"


class Bucket(Protocol):
    """Objects of one bucket, by key. Safe to use from several threads.

    Throttling, server errors, time-outs and lost connections are tried again within bounds. Whatever fails raises OSError
    with the reason: FileNotFoundError, PermissionError, ConnectionError, TimeoutError.
    """

    def stat(self, key: str) -> tuple[int, float, float, str] | None:
        """Return (size in bytes, Unix time of writing, age in seconds, ETag) of an object, None if there is none."""

    def keys(self, prefix: str, delimiter: str = "") -> Iterator[str]:
        """Yield keys that begin with a prefix; with a delimiter, only up to the next one in the key."""

    def entries(self, prefix: str) -> Iterator[tuple[str, int, str]]:
        """Yield (key, bytes, ETag) of the objects whose keys begin with a prefix."""

    def read(self, key: str, start: int = 0, end: int | None = None) -> tuple[bytes, int]:
        """Return (bytes from `start` to before `end`, the object's size); a negative `start` counts from its end.

        Without an `end` the size is known, else it may be that of what was read. Raises BehindEndError for a `start` behind
        the object's end. An empty object, and its last bytes, can be read.
        """

    def download(self, key: str, target: Path) -> None:
        """Write an object to a local file."""

    def upload(self, source: Path, key: str) -> None:
        """Put a file: whole, or after an error not at all."""

    def copy(self, key: str, target: str) -> None:
        """Copy an object within the store."""

    def create(self, key: str, data: bytes) -> bool:
        """Create an object exclusively. Returns False if there is one of this key with other bytes."""

    def replace(self, key: str, data: bytes, etag: str) -> bool:
        """Replace an object whose ETag is this. Returns False if it has another, or is gone."""

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is no error."""

    def abort_uploads(self, prefix: str) -> int:
        """Abort the uploads that were begun below a prefix and cost room until they are ended. Returns their number."""


class TakenError(Exception):
    """There is an object of that key already, or somebody is just writing it (`is_busy`)."""

    def __init__(self, is_busy: bool = False) -> None:
        super().__init__()
        self.is_busy = is_busy


class FaultError(OSError):
    """The store can't do what it is asked for. Whoever reads a file in it does not take that for damage of the file."""


class BehindEndError(OSError):
    """An object has none of the bytes that were asked for. It is damaged; the store is in order."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where}: required an object with the bytes that were asked for, got a shorter one")


class EndedError(OSError):
    """There is no such upload in parts: it was aborted, or has ended well."""


def create_once(bucket: Bucket, key: str, data: bytes, write: Callable[[], object], pauses: tuple[int, float]) -> bool:
    """Create an object by `write`, which raises TakenError. Returns False if there is another of this key.

    `pauses` are (tries, seconds before the second one, twice as many before each further one). An answer may be lost, and
    the request is sent again: then the object that is in its way is our own. So one with the same bytes counts as ours;
    whoever must know who won puts something of their own into the data.
    """
    tries, pause_s = pauses
    for number in range(tries):
        try:
            write()
            return True
        except TakenError as taken:
            if not taken.is_busy:
                with suppress(FileNotFoundError):  # it was deleted just now
                    return bucket.read(key)[0] == data
        time.sleep(min(pause_s * 2**number, PAUSE_MAX_S))
    raise ConnectionError(f"{key}: required to create it, got conflicts, {tries} times")


def creates_exclusively(bucket: Bucket, prefix: str) -> bool:
    """Try to create one object twice, below a prefix, and delete it. Returns False if the second one was taken."""
    key = f"{prefix}{uuid4().hex}"
    if not bucket.create(key, b"1"):
        return False
    try:
        return not bucket.create(key, b"2")
    finally:
        bucket.delete(key)
