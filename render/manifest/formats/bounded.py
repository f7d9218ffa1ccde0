"""Bounds on what a manifest's file may take: bytes, lines, rows, columns, cells; kept while reading, not after."""

from __future__ import annotations

import io
from typing import Any

__all__ = ["CELL_MAX", "COLUMNS_MAX", "ROWS_MAX", "TABLE_BYTES", "BoundedReader", "TooMuchError", "megabytes"]

TABLE_BYTES = 512 * 2**20  # of a file's text once unpacked, or of the cells of a Parquet file
LINE_BYTES = 16 * 2**20  # without a line end
ROWS_MAX = 10_000_000
LINES_MAX = 2 * ROWS_MAX  # of a text, whose prompts may have several
COLUMNS_MAX = 1000
CELL_MAX = 131_072  # characters of a text; the csv module's own limit, for all kinds of tables


class TooMuchError(Exception):
    """A file with more in it than is read. Its arguments: what is required, what was got."""


class BoundedReader(io.RawIOBase):
    """The bytes of another stream. Raises TooMuchError past TABLE_BYTES or LINES_MAX, and for LINE_BYTES without an end."""

    def __init__(self, source: Any) -> None:
        self._source, self._total, self._lines, self._line = source, 0, 0, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._total = self._lines = self._line = 0
        place: int = self._source.seek(offset, whence)
        return place

    def readinto(self, buffer: Any, /) -> int:
        count: int = self._source.readinto(buffer)
        part = bytes(buffer[:count])
        self._total += count
        self._lines += part.count(b"\n")
        end = max(part.rfind(b"\n"), part.rfind(b"\r"))
        self._line = self._line + count if end < 0 else count - end - 1
        if self._total > TABLE_BYTES:
            raise TooMuchError(f"at most {megabytes(TABLE_BYTES)} of text", "more")
        if self._lines > LINES_MAX:
            raise TooMuchError(f"at most {LINES_MAX:,} lines", "more")
        if self._line > LINE_BYTES:
            raise TooMuchError(f"lines of at most {megabytes(LINE_BYTES)}", "a longer one")
        return count


def megabytes(count: int) -> str:
    """Return a number of bytes as an error shows it.

    >>> megabytes(3 * 2**20)
    '3 MB'
    """
    return f"{count / 2**20:,.0f} MB"
