"""Read a shard or a compact file that no record speaks for, and check it by itself: pages, images, recipes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import ObjectPath, file_sha256, local_copy, why_unreadable
from render.mending.look import pixel_problem
from render.store import STORE_COLUMNS, is_damage

__all__ = ["Content", "Row", "contents_of"]

AT_ONCE = 64  # rows whose images are in memory


@dataclass(frozen=True, slots=True)
class Row:
    """One frame of a file, without its image."""

    walk: str
    frame: int
    key: str
    seed_shift: int
    batch_rows: int
    blank: bool
    exact: bool
    render_ms: float

    @property
    def place(self) -> tuple[str, int, str]:
        return self.walk, self.frame, self.key


@dataclass(frozen=True, slots=True)
class Content:
    """A file that is whole."""

    rows: tuple[Row, ...]
    size_bytes: int
    sha256: str  # of the file


def contents_of(path: Path) -> Content | None:
    """Return the content of a file in data/; None for one that is not whole.

    The checksums of its pages are compared, every image is decoded and, where its format keeps pixels, compared with the
    hash of its pixels; each recipe has its key. Raises OSError where a bucket does not answer.
    """
    if not isinstance(path, ObjectPath) and why_unreadable(path):
        return None
    try:
        with local_copy(path) as file:
            rows = tuple(_rows(file))
            return Content(rows, file.stat().st_size, file_sha256(file)) if rows else None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        if not is_damage(path, error):
            raise
        return None


def _rows(file: Path) -> Iterator[Row]:
    """Yield the rows of a file. Raises ValueError for one that is not right, KeyError for a column that is not there."""
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        if lacking := {*STORE_COLUMNS} - {*parquet.schema_arrow.names}:
            raise KeyError(*lacking)
        for batch in parquet.iter_batches(AT_ONCE):
            yield from map(_row, batch.to_pylist())


def _row(row: dict[str, Any]) -> Row:
    if problem := pixel_problem(row["image"]["bytes"], row["sha256"]):
        raise ValueError(problem)
    if hashlib.sha256(row["recipe"].encode()).hexdigest()[: len(row["key"])] != row["key"]:
        raise ValueError("another recipe than that of its key")
    return Row(**{name: row[name] for name in Row.__slots__})
