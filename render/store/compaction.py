"""Compactions: several units' shards in one larger file, and the record that names it in their place.

A record is a file `.run/compactions/NAME.json`, created exclusively after its file is published. From then on the units'
own shards are named by nobody, and `Ledger.delete_orphans` deletes them. The commit records stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import Receipt, StoreError, canonical_json, file_sha256, local_copy, sync, to_go_on
from render.store.equality import same_values
from render.store.pages import page_options
from render.store.records import split_of

__all__ = ["COMPACT_BYTES", "GROUP_BYTES", "Compaction", "parse_compaction", "write_compact"]

COMPACT_BYTES = 500 * 10**6  # of a compact file at most, unless a single shard is larger
GROUP_BYTES = 64 * 10**6  # of a row group at most, unless a single row group of a shard is larger


@dataclass(frozen=True, slots=True)
class Compaction:
    """A file that holds the frames of several units, one unit after the other."""

    file: str  # below data/
    size_bytes: int
    sha256: str  # of the file
    units: tuple[tuple[str, int], ...]  # (unit id, frames in the file), in the order of the rows

    def to_json(self) -> str:
        return canonical_json(asdict(self))

    def rows(self) -> dict[str, slice]:
        """Return unit id → the rows of the file that have the unit's frames."""
        found, first = {}, 0
        for unit, frames in self.units:
            found[unit] = slice(first, first + frames)
            first += frames
        return found


def parse_compaction(name: str, data: bytes) -> Compaction:
    """Return the compaction of a record. Raises StoreError with the fault alone."""
    try:
        fields: Any = json.loads(data)
        units = tuple((str(unit), int(frames)) for unit, frames in fields["units"])
        found = Compaction(str(fields["file"]), int(fields["size_bytes"]), str(fields["sha256"]), units)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise StoreError("required the record of a compaction, got a damaged file") from None
    if found.file != name:
        raise StoreError(f"required the record of {name}, got one of {found.file[:80]!r}")
    return found


def write_compact(sources: Sequence[tuple[Path, Receipt]], scratch: Path) -> Compaction:
    """Write the rows of several shards to one file in `scratch`, in their order, and read it back. Memory stays flat.

    Raises StoreError for a shard that is not as it was committed, and where the file reads back with other values.
    """
    receipts = [receipt for _, receipt in sources]
    split = split_of(str(receipts[0].file))
    file = scratch / f"{split}-{receipts[0].unit}-to-{receipts[-1].unit}-{uuid4().hex[:8]}.parquet"
    with ExitStack() as stack:
        local = [stack.enter_context(local_copy(path)) for path, _ in sources]
        for copy, (path, receipt) in zip(local, sources, strict=True):
            if file_sha256(copy) != receipt.sha256:
                raise StoreError(
                    f"{path}: required the bytes that were committed, got others; "
                    f"{to_go_on('repair', path.parents[1])} mends it"
                )
        _merge(local, file)
    sync(file)
    units = tuple((receipt.unit, receipt.frames) for receipt in receipts)
    return Compaction(file.name, file.stat().st_size, file_sha256(file), units)


def _merge(shards: Sequence[Path], target: Path) -> None:
    """Write the rows of shards to a file and compare what it reads back. Raises StoreError for other values."""
    schema = pq.read_schema(shards[0])
    groups = list(_groups(shards))
    with pq.ParquetWriter(target, schema, **page_options(schema)) as writer:
        for group in groups:
            table = _read(group)
            writer.write_table(table, row_group_size=table.num_rows)
    file = pq.ParquetFile(target)
    for number, group in enumerate(groups):
        if not same_values(file.read_row_group(number), _read(group)):
            raise StoreError(f"{target}: required the rows of the shards, got others back")


def _groups(paths: Iterable[Path]) -> Iterator[list[tuple[Path, int]]]:
    """Gather the row groups of shards, (shard, number), into lists of at most GROUP_BYTES."""
    gathered: list[tuple[Path, int]] = []
    held = 0
    for path in paths:
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            size = metadata.row_group(number).total_byte_size
            if gathered and held + size > GROUP_BYTES:
                yield gathered
                gathered, held = [], 0
            gathered.append((path, number))
            held += size
    if gathered:
        yield gathered


def _read(group: Sequence[tuple[Path, int]]) -> pa.Table:
    return pa.concat_tables([pq.ParquetFile(path).read_row_group(number) for path, number in group]).combine_chunks()
