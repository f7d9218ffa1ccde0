"""Parquet files → Arrow tables, in bounded memory: looked at page by page before anything is decompressed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.manifest.formats.bounded import COLUMNS_MAX, ROWS_MAX, TABLE_BYTES, TooMuchError, megabytes
from render.manifest.formats.pages import read_chunks, read_page
from render.manifest.raw import is_text

__all__ = ["read_bounded"]

BATCH = 2**16  # rows decoded at a time
PAGES_MAX = 200_000  # a writer's pages have a megabyte, or 20,000 rows
VALUES_MAX = 100_000_000  # of all columns, those in lists counted one by one


def read_bounded(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Return the table of a file, or some of its columns.

    Raises TooMuchError where its cells would take more than TABLE_BYTES, ArrowException or ValueError where it is broken.
    """
    with pq.ParquetFile(path) as parquet:
        schema = parquet.schema_arrow
        _check_declared(parquet.metadata)
        with path.open("rb") as file:
            _check_pages(file, columns)
    texts = [field.name for field in schema if is_text(field.type)]
    wanted = schema.names if columns is None else list(columns)
    fields = [schema.field(schema.names.index(name)) for name in wanted]
    fields = [field.with_type(pa.large_string()) if pa.types.is_string_view(field.type) else field for field in fields]
    schema = pa.schema(fields, schema.metadata)  # Arrow casts no dictionary to a string view
    # Texts come as a dictionary and numbers in it: a text of a megabyte that every row has is counted before it is copied.
    with pq.ParquetFile(path, read_dictionary=texts) as parquet:
        batches, total = [], 0
        for batch in parquet.iter_batches(BATCH, columns=wanted, use_threads=False):
            total += sum(_cell_bytes(column) for column in batch.columns)
            if total > TABLE_BYTES:
                raise TooMuchError(f"cells of at most {megabytes(TABLE_BYTES)} in all", "more")
            arrays = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
            batches.append(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return pa.Table.from_batches(batches, schema)


def _check_declared(metadata: Any) -> None:
    """Raise TooMuchError for more rows and columns than a manifest can have, by the file's footer."""
    for what, count, most in (("rows", metadata.num_rows, ROWS_MAX), ("columns", metadata.num_columns, COLUMNS_MAX)):
        if count > most:
            raise TooMuchError(f"at most {most:,} {what}", f"{count:,}")


def _check_pages(file: IO[bytes], columns: Sequence[str] | None) -> None:
    """Raise TooMuchError for pages that take more than TABLE_BYTES once they are decompressed."""
    total = values = pages = 0
    for chunk in read_chunks(file):
        if columns is not None and chunk.column not in columns:
            continue
        place, before = chunk.start, total
        while place < chunk.end:
            page = read_page(file, place)
            total, values, pages, place = total + page.content_bytes, values + page.values, pages + 1, page.end
            _check_totals(max(total, before + chunk.content_bytes), values, pages)
        _check_totals(max(total, before + chunk.content_bytes), values, pages)


def _check_totals(content: int, values: int, pages: int) -> None:
    if content > TABLE_BYTES:
        required = f"cells of at most {megabytes(TABLE_BYTES)} in all"
        raise TooMuchError(required, f"pages of {megabytes(content)} or more")
    if values > VALUES_MAX or pages > PAGES_MAX:
        raise TooMuchError(f"at most {VALUES_MAX:,} values in {PAGES_MAX:,} pages", "more")


def _cell_bytes(column: Any) -> int:
    """Return the bytes of a column's cells, as if each stood for itself."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary) if is_text(column.type.value_type) else None
    if lengths is None:
        return int(column.nbytes)
    return int(pc.sum(lengths.take(column.indices).cast(pa.int64())).as_py() or 0)
