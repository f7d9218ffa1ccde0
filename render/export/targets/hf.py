"""Export as a dataset of the Hugging Face Hub: Parquet files that `datasets.load_dataset` opens with their features."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import replacing
from render.export.targets.target import Target
from render.export.work import Part, Sample, Work
from render.store import IMAGE, ROW_GROUP_BYTES, feature_of

__all__ = ["HF", "dataset_schema"]

ROWS = 1000  # of a row group at most: the Hub's viewer shows a hundred at a time


def dataset_schema(schema: pa.Schema) -> pa.Schema:
    """Return the schema of the files: the picture, then the columns, with the metadata that `datasets` reads."""
    fields = [pa.field("image", IMAGE), *schema]
    features = {field.name: feature_of(field.type) for field in fields} | {"image": {"_type": "Image"}}
    return pa.schema(fields, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def _write_part(work: Work, part: Part, samples: Iterator[Sample]) -> None:
    path, schema = work.folder / "data" / f"{part.name}.parquet", dataset_schema(work.schema)
    path.parent.mkdir(exist_ok=True)
    others = [name for name in schema.names if name != "image"]
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary,
            schema,
            compression={"image.bytes": "none", "image.path": "none"}
            | {_leaf(schema, name): "zstd" for name in others},
            use_dictionary=[_leaf(schema, name) for name in others],
            write_page_index=True,
        ) as writer,
    ):
        for rows in _row_groups(samples):
            writer.write_table(pa.Table.from_pylist(rows, schema), row_group_size=len(rows))


def _leaf(schema: pa.Schema, name: str) -> str:
    """Return the Parquet path of a column's values: Arrow takes settings by the leaf, not by the column."""
    kind, path = schema.field(name).type, name
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, path = kind.value_type, f"{path}.list.element"
    return path


def _row_groups(samples: Iterator[Sample]) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of each row group: pictures of 32 MB, which are in memory meanwhile."""
    rows: list[dict[str, Any]] = []
    size = 0
    for sample in samples:
        if rows and (size + len(sample.data) > ROW_GROUP_BYTES or len(rows) == ROWS):
            yield rows
            rows, size = [], 0
        rows.append({"image": {"bytes": sample.data, "path": sample.file}} | sample.values)
        size += len(sample.data)
    if rows:
        yield rows


HF = Target(
    "hf",
    "Parquet files of a dataset for the Hugging Face Hub",
    _write_part,
    lambda split: f"data/{split}-*.parquet",
    reserved=frozenset({"image"}),
    opening="from datasets import load_dataset\nimages = load_dataset(folder, split=SPLIT)",
    is_dataset=True,
    has_records=True,
)
