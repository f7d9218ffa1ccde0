"""Sizes of a Parquet file's pages, from the pages' own headers: a reader makes room for what these say.

The footer may say less. Both are Thrift structs in its compact protocol; see `parquet.thrift` of the format. The footer is
read here as well: pyarrow ends the process over some footers that are damaged.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["Chunk", "Page", "read_chunks", "read_page"]

HEADER_BYTES = 2**16  # at first; more if the header does not end there (its statistics hold whole values)
HEADER_MAX = 2**24
TAIL_BYTES = 8  # behind the footer: its length and PAR1
DEPTH_MAX = 12
INTEGERS, BINARY, LISTS, STRUCT = (4, 5, 6), 8, (9, 10), 12  # types of the protocol
FIXED = {1: 0, 2: 0, 3: 1, 7: 8}  # type → bytes of its values: true and false, a byte, a double
KINDS = (5, 7, 8)  # fields of a page header with a struct for pages of data, dictionaries and data of version 2


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pages of one column in one row group, as the footer has them."""

    column: str  # of the table, a nested one's outermost name
    start: int  # offset of the first page
    end: int  # offset of the byte behind the last one
    content_bytes: int  # once decompressed


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a column."""

    content_bytes: int  # once decompressed
    values: int
    end: int  # offset of the byte behind it


def read_chunks(file: IO[bytes]) -> Iterator[Chunk]:
    """Yield the column chunks of a file. Raises ValueError for a footer that is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - TAIL_BYTES))
    length = int.from_bytes(file.read(4), "little")
    file.seek(max(0, size - TAIL_BYTES - length))
    try:
        footer = _Thrift(file.read(length)).struct()
        for group in footer.get(4, []):
            for chunk in group[1]:
                yield _chunk(chunk[3])
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        raise ValueError("a footer that is damaged") from None


def _chunk(fields: dict[int, Any]) -> Chunk:
    starts = [
        at for at in (fields.get(11), fields[9]) if at
    ]  # the dictionary's page, if there is one, and the first of data
    start = min(starts, default=4)
    return Chunk(fields[3][0].decode(errors="replace"), start, start + fields[7], fields[6])


def read_page(file: IO[bytes], offset: int) -> Page:
    """Return the page whose header begins at an offset. Raises ValueError for what is no page header."""
    size = HEADER_BYTES
    while True:
        file.seek(offset)
        data = file.read(size)
        try:
            return _page(data, offset)
        except ValueError as error:
            raise ValueError(f"no page header at byte {offset:,}: {error}") from None
        except IndexError:
            if len(data) < size or size >= HEADER_MAX:
                raise ValueError(f"no page header at byte {offset:,}") from None
            size *= 16


def _page(data: bytes, offset: int) -> Page:
    thrift = _Thrift(data)
    fields = thrift.struct()
    counts = [kind.get(1) for key in KINDS if isinstance(kind := fields.get(key), dict)]
    values = max((count for count in counts if isinstance(count, int)), default=0)
    content, packed = fields.get(2), fields.get(3)
    if not isinstance(content, int) or not isinstance(packed, int) or content < 0 or packed < 0:
        raise ValueError("required its sizes, got none")
    return Page(content, max(0, values), offset + thrift.at + packed)


class _Thrift:
    """Reader of one struct; raises IndexError where the bytes end too early, and ValueError where they are no struct."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """Return field → value: an integer, bytes, a list or a struct; None for a boolean or a double."""
        if depth > DEPTH_MAX:
            raise ValueError("a Thrift struct nested too deep")
        fields: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            field = field + delta if delta else self._zigzag()
            fields[field] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in INTEGERS:
            return self._zigzag()
        if kind == BINARY:
            return self._take(self._varint())
        if kind in FIXED:
            self._take(FIXED[kind])
            return None
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in LISTS:
            return self._list(depth)
        raise ValueError(f"a Thrift field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        if depth > DEPTH_MAX:
            raise ValueError("a Thrift list nested too deep")
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        kind = 3 if head & 15 in (1, 2) else head & 15  # a boolean in a list has a byte of its own
        return [self._value(kind, depth + 1) for _ in range(count)]

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._data):
            raise IndexError
        return self._data[self.at - count : self.at]

    def _varint(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 128:
            value |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a Thrift integer of more than 64 bits")
        return value | byte << shift

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
