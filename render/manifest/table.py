r"""A manifest's file, DataFrame or Arrow table → its raw columns, with every fault found on the way; none is repaired.

All sources come out alike: `\n` for every line end in text, no dictionary columns, NaN as an empty cell, rows counted
from 1. One module of `formats/` reads one kind of source.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import TABLE_ENDINGS, is_folder, table_ending, why_no_table, why_unreadable
from render.manifest.formats.bounded import CELL_MAX, COLUMNS_MAX, ROWS_MAX
from render.manifest.formats.frames import from_arrow, from_pandas, from_parquet
from render.manifest.formats.json_lines import read_json_lines
from render.manifest.formats.prompt_lines import read_prompt_lines
from render.manifest.formats.separated import read_separated
from render.manifest.formats.text import check_size
from render.manifest.indices import without_indices
from render.manifest.names import UNNAMED, Naming
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable, is_text
from render.manifest.store_rows import as_manifest, is_of_store, shards_in

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["TableLike", "memory_name", "read_table"]

READERS: dict[str, Callable[[Path, Problems], RawTable]] = {
    ".csv": read_separated,
    ".tsv": read_separated,
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".txt": read_prompt_lines,
    ".parquet": from_parquet,
}
IN_FOLDER = (".csv", ".tsv")


@runtime_checkable
class TableLike(Protocol):
    """A table in memory: of pandas, pyarrow, Polars, DuckDB or another library that gives Arrow streams."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Return the table as an Arrow stream (the Arrow PyCapsule interface)."""


def read_table(source: Path | TableLike, problems: Problems, naming: Naming = UNNAMED) -> RawTable:
    """Return the columns of a file, of a folder of CSV files or of a table in memory. Raises ManifestError without rows.

    A store's shards, one or a folder of them, come as the manifest of their frames. What `naming` ignores is left out (""
    stands for columns without a name), and so are indices that it does not name.
    """
    if not isinstance(source, Path):
        table = without_indices(_from_memory(source, problems), naming, problems)
    elif is_folder(source):
        table = _from_folder(source, problems, naming)
    else:
        table = without_indices(_from_file(source, problems), naming, problems)
    table = as_manifest(table, problems)
    if not len(table.rows):
        problems.raise_any()
        problems.fatal("at least one row below the header", "none")
    _check_size(table, problems)
    columns = {name: _plain(name, column, table.rows, problems) for name, column in table.columns.items()}
    broken = table.broken | {name for name, column in columns.items() if column is None}
    empty = pa.chunked_array([pa.nulls(len(table.rows), pa.large_string())])
    return replace(table, columns={n: empty if n in broken else c for n, c in columns.items()}, broken=broken)


def _check_size(table: RawTable, problems: Problems) -> None:
    """Refuse more rows or columns than a manifest can have."""
    for what, count, most in (("rows", len(table.rows), ROWS_MAX), ("columns", len(table.columns), COLUMNS_MAX)):
        if count > most:
            problems.fatal(f"at most {most:,} {what}", f"{count:,}")


def memory_name(source: TableLike) -> str:
    """Return the name of a table in memory, by its type: `dataframe`, `table`."""
    return type(source).__name__.casefold()


def _from_memory(source: Any, problems: Problems) -> RawTable:
    if hasattr(source, "iloc"):
        frame: pd.DataFrame = source
        return from_pandas(frame, problems)
    return from_arrow(pa.table(source), problems)


def tables_in(folder: Path, problems: Problems) -> list[Path]:
    """Return the files of a folder that are read as one table, in their order: its CSV files, or else a store's shards."""
    return _texts_in(folder) or shards_in(folder, problems)


def _texts_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if table_ending(path) in IN_FOLDER)


def _from_folder(folder: Path, problems: Problems, naming: Naming) -> RawTable:
    """Return the rows of all CSV files of a folder, by name; a column that a file lacks is empty there."""
    files, tables, before = _texts_in(folder), [], 0
    if not files:
        return _from_shards(folder, problems)
    for path in sorted(folder.iterdir()):
        if table_ending(path) in (".jsonl", ".ndjson", ".parquet"):
            problems.warn(f"{path.name} is not read: of a folder, only the files {' and '.join(IN_FOLDER)} are")
    for path in files:
        own = Problems(str(path))
        table = without_indices(_from_file(path, own), naming, own)
        problems.take(before, own)
        tables.append(replace(table, rows=table.rows + before))
        before = int(tables[-1].rows.max(initial=before))
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {}
    for name in names:
        parts = [table.columns.get(name, pa.chunked_array([[""] * len(table.rows)])) for table in tables]
        columns[name] = pa.chunked_array([chunk for part in parts for chunk in part.cast(pa.large_string()).chunks])
    return RawTable(
        columns,
        np.concatenate([table.rows for table in tables]),
        csv=True,
        broken=frozenset().union(*(table.broken for table in tables)),
        separators=frozenset().union(*(table.separators for table in tables)),
        comma_rows=np.concatenate([table.comma_rows for table in tables]),
    )


def _from_shards(folder: Path, problems: Problems) -> RawTable:
    """Return the rows of all shards of a store, as they come, without the pictures."""
    tables = [from_parquet(path, problems) for path in shards_in(folder, problems)]
    if not tables or not all(is_of_store(table.columns) for table in tables):
        problems.fatal("a folder with .csv files", "none in it, and no shards of a store")
    names = list(tables[0].columns)
    for table in tables:
        if list(table.columns) != names:
            problems.fatal("shards of one store", f"other columns in some: {show(list(table.columns))}")
    columns = {name: pa.chunked_array([c for t in tables for c in t.columns[name].chunks]) for name in names}
    return RawTable(columns, np.arange(1, sum(len(table.rows) for table in tables) + 1))


def _from_file(path: Path, problems: Problems) -> RawTable:
    ending = table_ending(path)
    if not ending:
        names = f"a folder, or a name that ends in {', '.join(TABLE_ENDINGS)}"
        problems.fatal(names, show(path.name) + why_no_table(path))
    if why := why_unreadable(path):
        problems.fatal("a file that can be read", why)
    try:
        with path.open("rb") as file:
            head = file.read(1)
    except OSError as error:
        problems.fatal("a file that can be read", (error.strerror or type(error).__name__).lower())
    if not head:
        problems.fatal("a header and at least one row", "an empty file")
    if ending != ".parquet":
        check_size(path, problems)
    return READERS[ending](path, problems)


def _plain(name: str, column: Any, rows: npt.NDArray[np.int64], problems: Problems) -> Any:
    r"""Return the column without a dictionary or NaN, text as large_string with `\n` line ends; None if it can't be read."""
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        problems.add("values that are whole, text in UTF-8", str(error), column=name)
        return None
    kind = column.type
    if isinstance(kind, pa.ExtensionType):  # made in Python: another process need not know it
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not is_text(kind) and not pa.types.is_null(kind):
        column = column if kind == column.type else column.cast(kind)
        return _without_nan(column) if pa.types.is_floating(kind) else column
    column = column.cast(pa.large_string())
    for position in np.flatnonzero(pc.greater(pc.utf8_length(column), CELL_MAX).fill_null(False)):
        count = len(column[position].as_py())
        problems.add(f"at most {CELL_MAX:,} characters", f"{count:,}", row=int(rows[position]), column=name)
    for position in np.flatnonzero(pc.match_substring(column, "\0").fill_null(False)):
        got = f"{show(column[position].as_py())} (UTF-16 without a byte-order mark?)"
        problems.add("text without NUL characters", got, row=int(rows[position]), column=name)
    if pc.any(pc.match_substring(column, "\r")).as_py():
        column = pc.replace_substring_regex(column, r"\r\n?", "\n")
    return column


def _without_nan(column: Any) -> Any:
    """Return a column of floats with null for NaN: both are an empty cell, as pandas has it."""
    nan = pc.is_nan(column)
    return pc.if_else(nan, pa.scalar(None, column.type), column) if pc.any(nan).as_py() else column
