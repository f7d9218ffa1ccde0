"""Paths of objects in a bucket, `s3://BUCKET/PREFIX/NAME`, also `gs://` and `az://`.

Standard library only; `s3.py`, `gs.py` and `az.py` talk to the stores.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Any, NoReturn

from render.core.bucket import BehindEndError, creates_exclusively
from render.core.secrets import without_secrets

if TYPE_CHECKING:
    from render.core.bucket import Bucket

__all__ = ["PROBE", "ObjectPath", "ObjectStat", "any_path"]

URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):/+(?P<bucket>[^/]*)/?(?P<key>.*)", re.DOTALL)  # pathlib drops a slash
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
KEY = re.compile(r"[^\x00-\x1f\x7f?#*\[\]{}\\]+")
LIBRARIES = {"s3": "boto3", "gs": "google-cloud-storage", "az": "azure-storage-blob"}  # of each store; the extra's name
ACCESS = {  # where credentials belong
    "s3": "credentials belong into the environment or ~/.aws",
    "gs": "credentials belong into the file that GOOGLE_APPLICATION_CREDENTIALS names",
    "az": "credentials belong into AZURE_STORAGE_… variables",
}
PROBE = "probe-"  # how the names of objects begin that only try the store out
TAIL_BYTES = 2**18  # of an object, read when it is opened: a shard's footer, and with it the object's size
AHEAD_BYTES = 2**20  # read at once where reading goes on where it stopped


class ObjectPath(PosixPath):
    """A path in a bucket. It is a `Path`, so that whoever handles an output folder need not know where it lies.

    The methods below do what their namesakes do; all others that would touch a disk raise TypeError. Folders are prefixes
    of names: nothing makes or deletes them. Objects are immutable: `upload` and `create` put a whole one. Whatever asks the
    store raises OSError with the reason: FileNotFoundError, PermissionError, ConnectionError, TimeoutError.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> ObjectPath:
        """Return the path of a URL; `s3:/bucket/…` is taken, too. Raises ValueError, without what may be a password."""
        match = URL.fullmatch(text)
        scheme = match["scheme"] if match else ""
        known = [scheme] if scheme in LIBRARIES else [*LIBRARIES]
        required = f"required {', '.join(f'{one}://BUCKET/PREFIX' for one in known)}, got {without_secrets(text)!r}"
        if not match or scheme not in LIBRARIES:
            raise ValueError(required)
        if "@" in match["bucket"]:
            raise ValueError(f"{required} ({ACCESS[scheme]})")
        parts = [part for part in match["key"].split("/") if part]
        bad = next((part for part in parts if part in {".", ".."} or not KEY.fullmatch(part)), None)
        if not BUCKET.fullmatch(match["bucket"]) or not parts or bad is not None:
            raise ValueError(required)
        return cls(f"{scheme}:", match["bucket"], *parts)

    def __str__(self) -> str:
        return f"{self.parts[0]}//" + "/".join(self.parts[1:])

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self}: required a local path, got an object's")

    def absolute(self) -> ObjectPath:
        return self

    def relative_to(self, other: Any, *_: Any, **__: Any) -> Path:  # type: ignore[override]
        return PosixPath(*super().relative_to(other).parts)

    # What is there.

    def is_file(self, **_: Any) -> bool:
        return self._store.stat(self._key) is not None

    def is_dir(self, **_: Any) -> bool:
        return next(self._store.keys(f"{self._key}/"), None) is not None

    def exists(self, **_: Any) -> bool:
        return self.is_file() or self.is_dir()

    def is_symlink(self) -> bool:
        return False

    def stat(self, **_: Any) -> os.stat_result:
        """Return size and time of writing, as of a file; all else is 0."""
        facts = self.facts()
        times = [int(facts.written_s)] * 3
        return os.stat_result(
            [stat.S_IFREG, 0, 0, 0, 0, 0, facts.size, *times], {"st_mtime_ns": int(facts.written_s * 1e9)}
        )

    def facts(self, is_first: bool = False) -> ObjectStat:
        """Return size, age and ETag, with `is_first` after few tries. Raises FileNotFoundError."""
        found = self._open(is_first).stat(self._key)
        if found is None:
            raise FileNotFoundError(f"{self}: required an object, got none of this name")
        return ObjectStat(*found)

    def iterdir(self) -> Iterator[ObjectPath]:  # type: ignore[override]
        """Yield objects and folders in this folder; nothing for one that is not there."""
        return map(self._below, self._store.keys(f"{self._key}/", "/"))

    def glob(self, pattern: str, **_: Any) -> Iterator[ObjectPath]:  # type: ignore[override]
        """Yield what lies directly in this folder and has a name of this pattern."""
        return (path for path in self.iterdir() if fnmatchcase(path.name, pattern))

    def rglob(self, pattern: str, **_: Any) -> Iterator[ObjectPath]:  # type: ignore[override]
        """Yield objects at any depth with a name of this pattern."""
        found = map(self._below, self._store.keys(f"{self._key}/"))
        return (path for path in found if fnmatchcase(path.name, pattern))

    def sizes(self) -> dict[str, int]:
        """Return name → size in bytes of every object directly in this folder."""
        entries = self._store.entries(f"{self._key}/")
        return {name: size for key, size, _ in entries if "/" not in (name := key.removeprefix(f"{self._key}/"))}

    def files(self) -> Iterator[tuple[str, int, str]]:
        """Yield (name below this folder, bytes, ETag) of the objects at any depth, by names; after few tries."""
        for key, size, etag in self._open(is_first=True).entries(f"{self._key}/"):
            yield key.removeprefix(f"{self._key}/"), size, etag

    def check(self, writes: bool) -> bool:
        """Ask the store for the first time, with few tries. Returns False if `writes` and it has no exclusive creation."""
        bucket = self._open(is_first=True)
        next(bucket.keys(f"{self._key}/"), None)
        return not writes or creates_exclusively(bucket, f"{self._key}/.run/{PROBE}")

    # Reading.

    def read_bytes(self) -> bytes:
        return self._store.read(self._key)[0]

    def read_text(self, encoding: str | None = None, *_: Any, **__: Any) -> str:
        return self.read_bytes().decode(encoding or "utf-8")

    def open(self, mode: str = "r", *_: Any, encoding: Any = None, errors: Any = None, **__: Any) -> Any:
        """Open for reading in ranges: one request now, and one for each stretch that is read and was not yet.

        Raises io.UnsupportedOperation, an OSError, for any other mode than `r` and `rb`: objects are written whole.
        """
        if mode not in {"r", "rb"}:
            raise io.UnsupportedOperation(f"{self}: required mode 'r' or 'rb', got {mode!r}")
        file = _ObjectFile(self._store, self._key)
        return file if mode == "rb" else io.TextIOWrapper(io.BufferedReader(file), encoding or "utf-8", errors)

    def download(self, target: Path) -> None:
        """Write the object to a local file."""
        self._store.download(self._key, target)

    # Writing.

    def upload(self, source: Path) -> None:
        """Put a finished local file here: whole, or after an error not at all. Replaces an object of this name."""
        self._store.upload(source, self._key)

    def move(self, target: ObjectPath) -> None:
        """Copy this object to another name in its bucket, then delete it here."""
        self._store.copy(self._key, target._key)
        self.unlink()

    def create(self, data: bytes) -> bool:
        """Create an object exclusively. Returns False if there is one of this name with other bytes."""
        return self._store.create(self._key, data)

    def replace_if(self, data: bytes, etag: str) -> bool:
        """Replace the object if its ETag is still this. Returns False if it is not."""
        return self._store.replace(self._key, data, etag)

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: ARG002
        """Delete an object; one that is not there is no error."""
        self._store.delete(self._key)

    def abort_uploads(self) -> int:
        """Abort the unfinished uploads of dead processes below this folder. Returns their number."""
        return self._store.abort_uploads(f"{self._key}/")

    def mkdir(self, *_: Any, **__: Any) -> None:
        """Do nothing: an object needs no folder."""

    def rmdir(self) -> None:
        """Do nothing: a folder goes with its last object."""

    @property
    def _key(self) -> str:
        return "/".join(self.parts[2:])

    def _below(self, key: str) -> ObjectPath:
        return ObjectPath(*self.parts[:2], *key.split("/"))

    @property
    def _store(self) -> Bucket:
        return self._open()

    def _open(self, is_first: bool = False) -> Bucket:
        """Return the bucket. Raises ModuleNotFoundError, with what to install, where the store's library is missing."""
        scheme = self.parts[0].removesuffix(":")
        try:
            module = import_module(f"render.core.{scheme}")
        except ModuleNotFoundError:
            required = f"required the library {LIBRARIES[scheme]} for {scheme}:// (pip install 'nightrender[{scheme}]')"
            raise ModuleNotFoundError(f"{self}: {required}, got none") from None
        bucket: Bucket = module.open_bucket(self.parts[1], is_first)
        return bucket


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """Facts about an object."""

    size: int  # bytes
    written_s: float  # Unix time
    age_s: float  # since it was written, both times by the store's clock
    etag: str  # of its content


class _ObjectFile(io.RawIOBase):
    """Reading in ranges. Holds the object's end and the stretch that was read last."""

    def __init__(self, store: Bucket, key: str) -> None:
        super().__init__()
        self._store, self._key, self._position = store, key, 0
        self._tail, self._size = store.read(key, -TAIL_BYTES)
        self._start, self._stretch = self._size - len(self._tail), self._tail

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._position))
        data = self._bytes(self._position, self._position + wanted) if wanted else b""
        if len(data) < wanted:  # it was replaced meanwhile
            raise BehindEndError(self._key)
        view[:wanted] = data
        self._position += wanted
        return wanted

    def _bytes(self, start: int, end: int) -> memoryview:
        """Return a stretch of the object, in at most one request."""
        tail_start = self._size - len(self._tail)
        if start >= tail_start:
            return memoryview(self._tail)[start - tail_start : end - tail_start]
        if not (self._start <= start and end <= self._start + len(self._stretch)):
            goes_on = start == self._start + len(self._stretch)
            until = min(self._size, max(end, start + AHEAD_BYTES)) if goes_on else end
            self._stretch, _ = self._store.read(self._key, start, until)
            self._start = start
        return memoryview(self._stretch)[start - self._start : end - self._start]


def any_path(text: str | Path) -> Path:
    """Return the path of a text: a URL's is an ObjectPath. Raises ValueError for a URL that can't be used.

    >>> any_path("out/first"), any_path("s3://bucket/first")
    (PosixPath('out/first'), ObjectPath('s3://bucket/first'))
    """
    if isinstance(text, ObjectPath):
        return text
    return ObjectPath.parse(str(text)) if re.match(r"[a-z][a-z0-9+.-]*:/", str(text)) else Path(text)
