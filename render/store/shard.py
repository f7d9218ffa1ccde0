"""Write one unit's images as a Parquet file, the shard: to scratch, checked, then published under a new name."""

from __future__ import annotations

import json
import os
import platform
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import Receipt, StoreError, Unit, file_sha256, one_line, publish, sync, without_secrets
from render.store.columns import STORE_TABLE, Origin, RowSource
from render.store.encode import Rendered
from render.store.equality import same_values
from render.store.ledger import Ledger
from render.store.pages import page_options
from render.store.records import shard_name

__all__ = ["ROW_GROUP_BYTES", "Failure", "feature_of", "shard_schema", "with_split", "write_quarantine", "write_shard"]

SPLIT_COLUMN = pa.field("split", pa.string())  # the unit's, in outputs that began with other splits than train
ROW_GROUP_BYTES = 32 * 2**20  # of image bytes; readers fetch one row group for one image


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a frame could not be rendered."""

    error: str  # traceback
    tries: int = 1  # that it had
    flagged: bool = False  # it is of a single colour or has values that are not finite: another seed may help


def with_split(labels: bytes) -> bytes:
    """Return the serialized schema of labels with the column `split` in front: of an output that began with splits."""
    schema = pa.ipc.read_schema(pa.py_buffer(labels)).insert(0, SPLIT_COLUMN)
    return bytes(schema.serialize().to_pybytes())


def shard_schema(labels: bytes) -> pa.Schema:
    """Return the schema of a shard: the columns of STORE_TABLE, then the manifest's labels.

    `labels` is the serialized Arrow schema of the labels. The metadata make `datasets` load `image` as a picture.
    """
    fields = [pa.field(column.name, column.type) for column in STORE_TABLE]
    fields += list(pa.ipc.read_schema(pa.py_buffer(labels)).remove_metadata())
    features = {field.name: feature_of(field.type) for field in fields} | {"image": {"_type": "Image"}}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def feature_of(kind: pa.DataType) -> dict[str, Any]:
    """Return the `datasets` feature of an Arrow type, in the JSON form that `datasets` writes itself."""
    if pa.types.is_struct(kind):
        return {field.name: feature_of(field.type) for field in kind}
    if pa.types.is_large_list(kind):
        return {"_type": "LargeList", "feature": feature_of(kind.value_type)}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": feature_of(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": feature_of(kind.value_type)}
    names = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32"}
    return {"_type": "Value", "dtype": names.get(str(kind), str(kind))}


def write_shard(
    ledger: Ledger,
    unit: Unit,
    results: Sequence[Rendered | Failure],
    origin: Origin,
    schema: pa.Schema,
    seconds: float,
) -> Receipt:
    """Write a unit's images to scratch, check the file, publish it under a new name. Returns a receipt to commit.

    `results` are in the order of the unit's frames; failures go to a quarantine file. `seconds` is the time that the
    unit took. Raises OSError when writing fails, and StoreError when the file reads back with other values.
    """
    done = [(position, result) for position, result in enumerate(results) if isinstance(result, Rendered)]
    failed = {position: result for position, result in enumerate(results) if isinstance(result, Failure)}
    if failed:
        write_quarantine(ledger, unit, failed)
    name, size, digest = None, 0, ""
    if done:
        attempt = uuid4().hex[:8]
        name = shard_name(unit, attempt)
        render_ms = 1000 * seconds / len(results)
        sources = [RowSource(unit, unit.frames[position], image, origin, render_ms) for position, image in done]
        table = pa.Table.from_pylist([_row(source) for source in sources], schema)
        scratch = ledger.folder.scratch / name
        _write_parquet(table, scratch)
        _check_written(scratch, table)
        size, digest = scratch.stat().st_size, file_sha256(scratch)
        publish(scratch, ledger.folder.data / name)
    return Receipt(
        unit=unit.id,
        file=name,
        frames=len(done),
        size_bytes=size,
        sha256=digest,
        seconds=seconds,
        batch_rows=unit.batch_rows,
        blank=tuple(sorted([p for p, result in done if result.blank] + [p for p in failed if failed[p].flagged])),
        quarantined=tuple(sorted(failed)),
        exact=unit.exact,
        host=platform.node(),
        process=os.getpid(),
        seed_shifts=unit.seed_shifts,
    )


def write_quarantine(ledger: Ledger, unit: Unit, failures: dict[int, Failure]) -> None:
    """Write recipe and traceback of frames that failed, by their positions: `.run/quarantine/ID-ATTEMPT.parquet`.

    Host and memory are those of this process, the worker or, where workers died of the frame, the driver.
    """
    frames = [unit.frames[position] for position in failures]
    columns = {
        "walk": [frame.walk for frame in frames],
        "frame": [frame.index for frame in frames],
        "row": [frame.keyframe.row for frame in frames],
        "recipe": [frame.recipe.json for frame in frames],
        "error": [without_secrets(failure.error) for failure in failures.values()],
        "prompt": [frame.keyframe.prompt for frame in frames],
        "tries": [failure.tries for failure in failures.values()],
        "host": [platform.node()] * len(frames),
        "memory_bytes": [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024] * len(frames),
        "timestamp": [datetime.now(UTC)] * len(frames),
    }
    name = f"{unit.id}-{uuid4().hex[:8]}.parquet"
    pq.write_table(pa.table(columns), ledger.folder.scratch / name)
    publish(ledger.folder.scratch / name, ledger.folder.quarantine / name)


def _row(source: RowSource) -> dict[str, Any]:
    columns = {column.name: column.value(source) for column in STORE_TABLE}
    return columns | {SPLIT_COLUMN.name: source.unit.split} | dict(source.keyframe.labels)  # the schema takes its own


def _write_parquet(table: pa.Table, path: Path) -> None:
    mean = max(1, table.nbytes // table.num_rows)
    pq.write_table(
        table,
        path,
        row_group_size=max(1, ROW_GROUP_BYTES // mean),
        **page_options(table.schema),
    )
    sync(path)


def _check_written(path: Path, table: pa.Table) -> None:
    """Raise StoreError when a file reads back with other values than the table's, or not at all: a bad disk."""
    wanted = f"{path}: required the {table.num_rows} rows that were written"
    try:
        same = same_values(pq.read_table(path, partitioning=None), table)
    except (pa.ArrowException, OSError, ValueError) as error:  # Arrow raises each of them for such files
        raise StoreError(f"{wanted}, got a file that can't be read: {one_line(error)}") from error
    if not same:
        raise StoreError(f"{wanted}, got others back")
