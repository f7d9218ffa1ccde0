"""Export as Lance datasets, one a split, for vector search and random access."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from render.export.targets.target import Target
from render.export.work import Part, Sample, Work

__all__ = ["LANCE"]

ROWS = 256  # of a batch, which is in memory


def _missing() -> str:
    """Say what has to be installed; "" when it is."""
    if importlib.util.find_spec("lance") is None:
        return "required the library pylance, got none (pip install 'nightrender[lance]')"
    return ""


def _write_part(work: Work, part: Part, samples: Iterator[Sample]) -> None:
    """Append a part to its split's dataset; what a run that was killed has appended without a note is taken back."""
    import lance

    path = work.folder / f"{part.split}.lance"
    if path.exists() and not part.rows_before:  # of a run that was killed, perhaps before it was a dataset
        shutil.rmtree(path)
    schema = pa.schema([pa.field("image", pa.large_binary()), *work.schema])
    if path.exists():
        dataset: Any = lance.dataset(path)
        if dataset.count_rows() != part.rows_before:
            versions = [version["version"] for version in dataset.versions()]
            rows = {lance.dataset(path, version=version).count_rows(): version for version in versions}
            if part.rows_before in rows:
                lance.dataset(path, version=rows[part.rows_before]).restore()
    mode = "append" if part.rows_before else "overwrite"
    reader = pa.RecordBatchReader.from_batches(schema, _batches(samples, schema))
    lance.write_dataset(reader, path, schema=schema, mode=mode)


def _batches(samples: Iterator[Sample], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows: list[dict[str, Any]] = []
    for sample in samples:
        rows.append({"image": sample.data} | sample.values)
        if len(rows) == ROWS:
            yield pa.RecordBatch.from_pylist(rows, schema)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema)


LANCE = Target(
    "lance",
    "Lance datasets",
    _write_part,
    lambda split: f"{split}.lance",
    reserved=frozenset({"image"}),
    missing=_missing,
    opening="import lance\nimages = lance.dataset(folder + FILES)",
)
