"""Look at one committed file: is it there, has it the bytes that were committed, and the right frames and pixels?"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from render.core import Frame, ObjectPath, Receipt, file_sha256, local_copy, one_line, why_unreadable
from render.store import Compaction

__all__ = ["Looker", "pixel_problem", "quick_look"]

UNREADABLE = {"a pipe", "a socket", "a device", "a symbolic link to itself"}  # opening one may wait, or fail
LOSSLESS = {"PNG", "WEBP"}  # formats whose pixels are those that were hashed

Row = tuple[
    tuple[str, int, str], str
]  # (walk, frame, key), and the fault of the pixels: "" for none, or not looked for


@dataclass
class Looker:
    """One way to look at committed files: quickly, if their `sizes` are given; by hash and rows; or to the last pixel."""

    sizes: Mapping[str, int] | None = None  # name → bytes of the files in data/
    deep: bool = False
    _last: tuple[Path, str, dict[str, list[Row]]] | None = field(default=None, repr=False)  # compact file seen last

    def problems(
        self, path: Path, frames: Sequence[Frame], receipt: Receipt, compaction: Compaction | None
    ) -> Iterator[str]:
        """Yield what is wrong with the frames of a unit in their file, its shard or a compact file."""
        if self.sizes is not None:
            yield from quick_look(self.sizes.get(path.name), (compaction or receipt).size_bytes)
            return
        if compaction is None:
            problem, rows = self._read(path, receipt)
        else:
            if self._last is None or self._last[0] != path:
                problem, every = self._read(path, compaction)
                self._last = (path, problem, {unit: every[place] for unit, place in compaction.rows().items()})
            _, problem, by_unit = self._last
            rows = by_unit[receipt.unit]
        if problem:
            yield problem
            return
        if [place for place, _ in rows] != [(frame.walk, frame.index, frame.recipe.key) for frame in frames]:
            yield "its frames are not the planned ones"
        yield from (f"{walk} {index}: {problem}" for (walk, index, _), problem in rows if problem)

    def _read(self, path: Path, committed: Receipt | Compaction) -> tuple[str, list[Row]]:
        """Return (what is wrong with a file, its rows)."""
        if not isinstance(path, ObjectPath) and (kind := why_unreadable(path)) in UNREADABLE:
            return f"can't be read: it is {kind}", []
        try:
            with local_copy(path) as file:
                return self._read_local(file, committed)
        except (FileNotFoundError, NotADirectoryError):
            return "is missing", []
        except IsADirectoryError as error:
            return f"can't be read: {error.strerror}", []

    def _read_local(self, file: Path, committed: Receipt | Compaction) -> tuple[str, list[Row]]:
        if file_sha256(file) != committed.sha256:
            return "the file's hash is not the committed one", []
        if problem := next(quick_look(file.stat().st_size, committed.size_bytes), ""):  # the record is what is wrong
            return problem, []
        try:
            return "", list(_rows(file, self.deep))
        except (OSError, pa.ArrowException, KeyError) as error:  # its bytes are those that were committed
            return one_line(error), []


def quick_look(size: int | None, size_bytes: int) -> Iterator[str]:
    """Yield what is wrong with a file by its size, None for no file, and the one that was committed."""
    if size is None:
        yield "is missing"
    elif size != size_bytes:
        yield f"has {size:,} bytes, not the {size_bytes:,} that were committed"


def _rows(file: Path, deep: bool) -> Iterator[Row]:
    """Yield the rows of a Parquet file."""
    columns = ["walk", "frame", "key", *(["sha256", "image"] if deep else [])]
    for batch in pq.ParquetFile(file).iter_batches(64, columns=columns):
        for row in batch.to_pylist():
            problem = pixel_problem(row["image"]["bytes"], row["sha256"]) if deep else ""
            yield (row["walk"], row["frame"], row["key"]), problem


def pixel_problem(data: bytes, sha256: str) -> str:
    """Return what is wrong with an encoded image; its pixels are compared where its format keeps them. "" if nothing is."""
    try:
        image = Image.open(io.BytesIO(data))
        pixels = image.convert("RGB").tobytes()
    except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises of broken files
        return f"its image can't be decoded: {error}"
    if image.format in LOSSLESS and hashlib.sha256(pixels).hexdigest() != sha256:
        return "its pixels are not those that were hashed"
    return ""
