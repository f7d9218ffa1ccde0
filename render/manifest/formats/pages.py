"""Sizes of a Parquet file's pages, from the pages' own headers: a reader makes room for what these say.

The footer may say less. Headers are Thrift structs in its compact protocol; see `parquet.thrift` of the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

__all__ = ["Page", "read_page"]

HEADER_BYTES = 2**16  # at first; more if the header does not end there (its statistics hold whole values)
HEADER_MAX = 2**24
DEPTH_MAX = 8
INTEGERS, BINARY, LISTS, STRUCT = (4, 5, 6), 8, (9, 10), 12  # types of the protocol
FIXED = {1: 0, 2: 0, 3: 1, 7: 8}  # type → bytes of its values: true and false, a byte, a double
KINDS = (5, 7, 8)  # fields of the header with a struct for pages of data, dictionaries and data of version 2


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a column."""

    content_bytes: int  # once decompressed
    values: int
    end: int  # offset of the byte behind it


def read_page(file: IO[bytes], offset: int) -> Page:
    """Return the page whose header begins at an offset. Raises ValueError for what is no page header."""
    size = HEADER_BYTES
    while True:
        file.seek(offset)
        data = file.read(size)
        try:
            return _Header(data).page(offset)
        except IndexError:
            if len(data) < size or size >= HEADER_MAX:
                raise ValueError(f"no page header at byte {offset:,}") from None
            size *= 16


class _Header:
    """Reader of one struct; raises IndexError where the bytes end too early."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def page(self, offset: int) -> Page:
        fields: dict[int, int] = {}
        values = 0
        for field, kind in self._fields():
            if kind == STRUCT and field in KINDS:
                values = max(0, self._first_integer())
            elif kind in INTEGERS:
                fields[field] = self._zigzag()
            else:
                self._skip(kind, 0)
        content, packed = fields.get(2, -1), fields.get(3, -1)
        if content < 0 or packed < 0:
            raise ValueError(f"a page header without sizes at byte {offset:,}")
        return Page(content, values, offset + self._at + packed)

    def _fields(self) -> Iterator[tuple[int, int]]:
        """Yield (number, type) of each field; the caller reads its value before it goes on."""
        field = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._zigzag()
            yield field, kind

    def _first_integer(self) -> int:
        """Return field 1 of a struct, an integer; 0 without one."""
        found = 0
        for field, kind in self._fields():
            if field == 1 and kind in INTEGERS:
                found = self._zigzag()
            else:
                self._skip(kind, 1)
        return found

    def _skip(self, kind: int, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise ValueError("a page header nested too deep")
        if kind in INTEGERS:
            self._varint()
        elif kind == BINARY:
            self._advance(self._varint())
        elif kind in FIXED:
            self._advance(FIXED[kind])
        elif kind == STRUCT:
            for _, inner in self._fields():
                self._skip(inner, depth + 1)
        elif kind in LISTS:
            head = self._byte()
            for _ in range(head >> 4 if head >> 4 < 15 else self._varint()):
                self._skip(head & 15, depth + 1)
        else:
            raise ValueError(f"a page header with a field of type {kind}")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _advance(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a page header with an integer of more than 64 bits")
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
