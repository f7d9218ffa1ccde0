"""One unit's images as a Parquet shard: its schema, writing, checking and publishing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import STORE_COLUMNS, Receipt, Seed, StoreError, Unit, file_sha256, publish, sync
from render.store.ledger import Ledger

__all__ = ["Failure", "Origin", "Rendered", "shard_schema", "write_quarantine", "write_shard"]

ROW_GROUP_BYTES = 32 * 2**20  # of image bytes; readers fetch one row group for one image
_TYPES = {
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "prompt": pa.string(),
    "negative_prompt": pa.string(),
    "seed": pa.int64(),
    "step": pa.int32(),
    "cfg": pa.float64(),
    "sampler": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "key": pa.string(),
    "walk": pa.string(),
    "frame": pa.int32(),
    "recipe": pa.string(),
    "sha256": pa.string(),
    "model": pa.string(),
    "revision": pa.string(),
    "batch_rows": pa.int32(),
    "device": pa.string(),
    "dtype": pa.string(),
    "render_ms": pa.float32(),
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """A finished image and what is said of it beside its recipe."""

    data: bytes  # encoded
    sha256: str  # of the pixels, uint8 [H, W, 3] in C order
    timestamp_s: float
    blank: bool  # of a single colour


@dataclass(frozen=True, slots=True)
class Failure:
    """A frame that could not be rendered."""

    error: str  # traceback


@dataclass(frozen=True, slots=True)
class Origin:
    """What all images of one model and worker have in common."""

    model: str
    revision: str
    device: str
    dtype: str
    suffix: str  # of image paths: png, webp or jpeg


def shard_schema(labels: bytes) -> pa.Schema:
    """The schema of a shard: the columns of STORE_COLUMNS and the manifest's labels, with `datasets`' metadata."""
    fields = [pa.field(name, _TYPES[name]) for name in STORE_COLUMNS]
    fields += list(pa.ipc.read_schema(pa.py_buffer(labels)).remove_metadata())
    features = {field.name: _feature(field.type) for field in fields} | {"image": {"_type": "Image"}}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """The `datasets` feature of an Arrow type, as its JSON spells it."""
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_large_list(kind):
        return {"_type": "LargeList", "feature": _feature(kind.value_type)}
    if pa.types.is_fixed_size_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"_type": "List", "feature": _feature(kind.value_type)}
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
    """Write a unit's images to scratch, check the file, publish it under a new name. The receipt is not committed yet.

    Failures go to a quarantine file. Raises OSError where writing fails and StoreError where the file reads back otherwise.
    """
    done = [(position, result) for position, result in enumerate(results) if isinstance(result, Rendered)]
    failed = {position: result for position, result in enumerate(results) if isinstance(result, Failure)}
    if failed:
        write_quarantine(ledger, unit, failed)
    name, size, digest = None, 0, ""
    if done:
        attempt = uuid4().hex[:8]
        name = f"train-{unit.id}-of-{unit.of:05d}-{attempt}.parquet"
        render_ms = 1000 * seconds / len(results)
        table = _table(unit, done, origin, schema, render_ms)
        scratch = ledger.folder.scratch / name
        _write_parquet(table, scratch)
        if not _same(pq.read_table(scratch, partitioning=None), table):
            raise StoreError(f"{scratch}: required the {table.num_rows} rows that were written, got others back")
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
        blank=tuple(position for position, result in done if result.blank),
        quarantined=tuple(sorted(failed)),
    )


def write_quarantine(ledger: Ledger, unit: Unit, failures: dict[int, Failure]) -> None:
    """Keep what failed, with recipe and traceback: `.run/quarantine/ID-ATTEMPT.parquet`."""
    frames = [unit.frames[position] for position in failures]
    columns = {
        "walk": [frame.walk for frame in frames],
        "frame": [frame.index for frame in frames],
        "row": [frame.keyframe.row for frame in frames],
        "recipe": [frame.recipe.json for frame in frames],
        "error": [failure.error for failure in failures.values()],
    }
    name = f"{unit.id}-{uuid4().hex[:8]}.parquet"
    pq.write_table(pa.table(columns), ledger.folder.scratch / name)
    publish(ledger.folder.scratch / name, ledger.folder.quarantine / name)


def _table(
    unit: Unit, done: Sequence[tuple[int, Rendered]], origin: Origin, schema: pa.Schema, render_ms: float
) -> pa.Table:
    def row(position: int, image: Rendered) -> dict[str, Any]:
        frame = unit.frames[position]
        recipe, keyframe = frame.recipe, frame.keyframe
        own = {
            "image": {"bytes": image.data, "path": f"{frame.walk}-{frame.index:05d}.{origin.suffix}"},
            "prompt": keyframe.prompt,
            "negative_prompt": keyframe.negative_prompt,
            "seed": recipe.noise.value if isinstance(recipe.noise, Seed) else keyframe.seed,
            "step": recipe.steps,
            "cfg": recipe.guidance if recipe.embedded_guidance is None else recipe.embedded_guidance,
            "sampler": recipe.scheduler,
            "width": recipe.width,
            "height": recipe.height,
            "timestamp": int(image.timestamp_s * 1e6),
            "key": recipe.key,
            "walk": frame.walk,
            "frame": frame.index,
            "recipe": recipe.json,
            "sha256": image.sha256,
            "model": origin.model,
            "revision": origin.revision,
            "batch_rows": unit.batch_rows,
            "device": origin.device,
            "dtype": origin.dtype,
            "render_ms": render_ms,
        }
        return {**own, **keyframe.labels}

    return pa.Table.from_pylist([row(position, image) for position, image in done], schema)


def _write_parquet(table: pa.Table, path: Path) -> None:
    """Image bytes stay as they are (plain, uncompressed, no dictionary), the rest is compressed."""
    others = [name for name in table.column_names if name != "image"]
    mean = max(1, table.nbytes // table.num_rows)
    pq.write_table(
        table,
        path,
        row_group_size=max(1, ROW_GROUP_BYTES // mean),
        use_dictionary=others,
        compression={"image.bytes": "none", "image.path": "none"} | dict.fromkeys(others, "zstd"),
        write_page_index=True,
    )
    sync(path)


def _same(a: pa.Table, b: pa.Table) -> bool:
    """Whether two tables hold the same. NaN, which a label may be, counts as equal to itself."""
    columns = zip(a.columns, b.columns, strict=True)
    return a.schema.equals(b.schema) and all(
        x.equals(y) or repr(x.to_pylist()) == repr(y.to_pylist()) for x, y in columns
    )
