"""Parquet files and tables in memory → raw columns."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from render.core import shorten
from render.manifest.formats.bounded import TooMuchError
from render.manifest.formats.parquet import read_bounded
from render.manifest.problems import Problems, show
from render.manifest.raw import STORED, RawTable, column_keys
from render.manifest.store_rows import IMAGE, is_of_store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["from_arrow", "from_pandas", "from_parquet"]


def from_parquet(path: Path, problems: Problems) -> RawTable:
    """Return the columns of a Parquet file; of a store's shard, without the pictures."""
    with path.open("rb") as file:
        head = file.read(4)
    if head != b"PAR1":
        problems.fatal("a Parquet file, as its ending says", f"one that begins with {head!r} (a CSV file?)")
    try:
        names = pq.read_schema(path).names
        whole = None if not is_of_store(names) else [name for name in names if name != IMAGE]
        table = read_bounded(path, whole)
        _ = table.column_names
    except TooMuchError as error:
        problems.fatal(*error.args)
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        KeyError,
    ) as error:  # UnicodeDecodeError for the names is a ValueError
        problems.fatal("a whole Parquet file", shorten(error))
    return from_arrow(table, problems)


def from_arrow(table: Any, problems: Problems) -> RawTable:
    """Return the columns of an Arrow table."""
    columns = dict(zip(column_keys(table.column_names, problems), table.columns, strict=True))
    stored = (table.schema.metadata or {}).get(STORED, b"").decode()
    return RawTable(columns, np.arange(1, table.num_rows + 1), stored=stored)


def from_pandas(frame: pd.DataFrame, problems: Problems) -> RawTable:
    """Return the columns of a DataFrame, whose index is left out: it has to be without a name."""
    if any(name is not None for name in frame.index.names):
        problems.add("an index without a name (reset_index makes it a column)", show(list(frame.index.names)))
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            problems.add("column names of text", show(name))
    columns = {}
    broken = set()
    for position, name in enumerate(column_keys([str(name) for name in names], problems)):
        try:
            values = _to_arrow(frame.iloc[:, position])
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            problems.add("values of one type that Arrow can hold", str(error), column=name)
            values = pa.nulls(len(frame))
            broken.add(name)
        columns[name] = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    return RawTable(columns, np.arange(1, len(frame) + 1), broken=frozenset(broken))


def _to_arrow(column: pd.Series) -> Any:
    """Return a column's values; those with an integer past int64 as text, as a CSV file has them."""
    try:
        return pa.array(column, from_pandas=True)
    except OverflowError:
        empty = column.isna()
        return pa.array([None if none else str(value) for none, value in zip(empty, column, strict=True)], pa.string())
