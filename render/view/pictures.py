"""Stored pictures for a browser: as they are, or small as WebP. A bounded part of them stays in memory."""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import pyarrow as pa

from render.core import StoreError, one_line, to_go_on
from render.store import is_damage, open_parquet

__all__ = ["SIDES", "Bounded", "Drawn", "Shards", "drawn", "small"]

SIDES = (256, 768)  # pixels of the longer side: in a grid, in a player
GROUPS_BYTES = 32_000_000  # row groups that stay in memory
FILES = 16  # shards that stay open
AS_IT_IS_BYTES = 40_000  # up to which a picture that is small enough is sent as it is stored
QUALITY = {"quality": 80, "method": 2}
TYPES = {b"\x89PNG": ("image/png", "png"), b"RIFF": ("image/webp", "webp"), b"\xff\xd8\xff": ("image/jpeg", "jpg")}

Value = TypeVar("Value")


class Bounded(Generic[Value]):
    """Values by their keys, those that were used last: as many as weigh less than `most`, and at least one."""

    def __init__(self, most: int, weight: Callable[[Value], int] = lambda _: 1) -> None:
        self._most, self._weight = most, weight
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._total = 0
        self._lock = Lock()

    def get(self, key: Hashable) -> Value | None:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> Value:
        with self._lock:
            self._drop(key)
            self._values[key] = value
            self._total += self._weight(value)
            while self._total > self._most and len(self._values) > 1:
                self._drop(next(iter(self._values)))
        return value

    def _drop(self, key: Hashable) -> None:
        if key in self._values:
            self._total -= self._weight(self._values.pop(key))

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One encoded picture."""

    data: bytes
    media_type: str
    suffix: str


class Shards:
    """Pictures by shard and row; a row group is read once for all neighbours that are asked for soon."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._files: Bounded[tuple[Any, Lock]] = Bounded(FILES)
        self._groups: Bounded[Any] = Bounded(GROUPS_BYTES, lambda group: int(group.nbytes))
        self._lock = Lock()

    def picture(self, path: Path, row: int) -> bytes:
        """Return a stored picture. Raises StoreError for a damaged shard, FileNotFoundError for one that is not there."""
        with self._readable(path):
            file, lock = self._opened(path)
            first, group = 0, 0
            while row >= first + (rows := file.metadata.row_group(group).num_rows):
                first, group = first + rows, group + 1
            with lock:
                images = self._groups.get((path, group))
                if images is None:
                    read = file.read_row_group(group, columns=["image"])["image"]
                    images = self._groups.put((path, group), bytes_of(read))
            return bytes(images[row - first].as_buffer())

    def column(self, path: Path, name: str) -> Any:
        """Return one column of a shard. Raises as `picture` does."""
        with self._readable(path):
            file, lock = self._opened(path)
            with lock:
                return file.read(columns=[name])[name]

    @contextmanager
    def _readable(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            if not is_damage(path, error):
                raise
            mend = f"{to_go_on('repair', self._out)} mends it"
            raise StoreError(f"{path}: required a committed shard, got {one_line(error)}; {mend}") from error

    def _opened(self, path: Path) -> tuple[Any, Lock]:
        with self._lock:
            found = self._files.get(path)
        return found or self._files.put(path, (open_parquet(path), Lock()))


def bytes_of(images: pa.ChunkedArray) -> pa.Array:
    """Return the column `bytes` of a row group's pictures as one array."""
    parts = [chunk.field("bytes") for chunk in images.chunks]
    return parts[0] if len(parts) == 1 else pa.chunked_array(parts).combine_chunks()


def drawn(data: bytes) -> Drawn:
    """Return a stored picture with its media type."""
    for magic, (media_type, suffix) in TYPES.items():
        if data.startswith(magic):
            return Drawn(data, media_type, suffix)
    return Drawn(data, "application/octet-stream", "bin")


def small(data: bytes, side: int) -> Drawn:
    """Return a picture of at most `side` pixels, as WebP unless it is small as it is. Raises StoreError for a broken one."""
    import PIL.Image

    try:
        with PIL.Image.open(io.BytesIO(data)) as image:
            if max(image.size) <= side and len(data) <= AS_IT_IS_BYTES:
                return drawn(data)
            with suppress(AttributeError):
                image.draft("RGB", (side, side))
            shrunk = image.convert("RGB")
            shrunk.thumbnail((side, side), PIL.Image.Resampling.LANCZOS, reducing_gap=2.0)
    except (OSError, SyntaxError, ValueError) as error:
        raise StoreError(f"required a stored image, got a damaged one: {error}") from error
    buffer = io.BytesIO()
    shrunk.save(buffer, "WEBP", **QUALITY)
    return Drawn(buffer.getvalue(), "image/webp", "webp")
