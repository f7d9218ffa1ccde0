r"""A manifest's file or DataFrame → its raw columns, with every fault found on the way; none is repaired.

All sources come out alike: `\n` for every line end in text, no dictionary columns, rows counted from 1.
"""

from __future__ import annotations

import codecs
import csv
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.core import special_kind
from render.manifest.problems import Problems, show

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHUNK", "STORED", "RawTable", "is_text", "read_table"]

STORED = b"render.manifest"  # key of the Parquet metadata that marks a manifest whose defaults are filled in
CHUNK = 4096  # rows held as Python objects at a time
PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")  # a nameless index that pandas wrote as a column
NOT_CSV = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive (a spreadsheet?)",
    b"\x1f\x8b": "a gzip archive",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


@dataclass(frozen=True, slots=True)
class RawTable:
    """The columns as they came. Text is `large_string`; all cells of a CSV are text."""

    columns: dict[str, Any]  # pa.ChunkedArray by name
    rows: npt.NDArray[np.int64]  # [N] data row of each position: ragged rows are left out
    csv: bool = False
    stored: str = ""  # of a manifest that a run has stored: its fingerprint
    broken: frozenset[str] = frozenset()  # columns with an error of their own, all of whose cells are empty here


def read_table(source: Path | pd.DataFrame, problems: Problems) -> RawTable:
    """Return the columns of a CSV or Parquet file, a folder of CSVs or a DataFrame. Raises ManifestError without rows."""
    if not isinstance(source, Path):
        table = _from_frame(source, problems)
    elif source.is_dir():
        table = _from_folder(source, problems)
    elif source.suffix.lower() in (".csv", ".parquet"):
        table = _from_file(source, problems)
    else:
        problems.fatal("a folder, or a name that ends in .csv or .parquet", show(source.name))
    if not len(table.rows):
        problems.raise_any()
        problems.fatal("at least one row below the header", "none")
    columns = {name: _plain(name, column, table.rows, problems) for name, column in table.columns.items()}
    broken = table.broken | {name for name, column in columns.items() if column is None}
    empty = pa.chunked_array([pa.nulls(len(table.rows), pa.large_string())])
    return replace(table, columns={n: empty if n in broken else c for n, c in columns.items()}, broken=broken)


def is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _from_folder(folder: Path, problems: Problems) -> RawTable:
    """Return the rows of all CSV files of a folder, by name; a column that a file lacks is empty there."""
    files, tables, before = sorted(folder.glob("*.csv")), [], 0
    if not files:
        problems.fatal("a folder with .csv files", "none in it")
    for path in files:
        own = Problems(str(path))
        table = _from_file(path, own)
        problems.take(before, own)
        tables.append(replace(table, rows=table.rows + before))
        before = int(tables[-1].rows.max(initial=before))
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {}
    for name in names:
        parts = [table.columns.get(name, pa.chunked_array([[""] * len(table.rows)])) for table in tables]
        columns[name] = pa.chunked_array([chunk for part in parts for chunk in part.cast(pa.large_string()).chunks])
    rows = np.concatenate([table.rows for table in tables])
    return RawTable(columns, rows, csv=True, broken=frozenset().union(*(table.broken for table in tables)))


def _from_file(path: Path, problems: Problems) -> RawTable:
    if kind := special_kind(path):
        problems.fatal("a file that can be read", kind)
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        problems.fatal("a file that can be read", (error.strerror or type(error).__name__).lower())
    if not head:
        problems.fatal("a header and at least one row", "an empty file")
    if path.suffix.lower() == ".csv":
        for magic, what in NOT_CSV.items():
            if head.startswith(magic):
                problems.fatal("a CSV file in UTF-8, as its ending says", what)
        return _from_csv(path, problems)
    if head != b"PAR1":
        problems.fatal("a Parquet file, as its ending says", f"one that begins with {head!r} (a CSV file?)")
    return _from_parquet(path, problems)


def _from_csv(path: Path, problems: Problems) -> RawTable:
    # Not newline="": inside quotes, too, every line end is to read as \n. Bad bytes become surrogates, found by cell.
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        records = _records(file, problems)
        _, header = next(records, (0, []))
        header = _utf8(header, [0] * len(header), None, problems).to_pylist()
        _check_names(header, problems)
        whole = _of_width(records, len(header), problems)
        rows = array("q")
        parts: list[list[Any]] = [[] for _ in header]
        while chunk := list(islice(whole, CHUNK)):
            numbers, lines = zip(*chunk, strict=True)
            rows.extend(numbers)
            for name, part, cells in zip(header, parts, zip(*lines, strict=True), strict=True):
                part.append(_utf8(cells, numbers, name, problems))
    columns = {n: pa.chunked_array(part, pa.large_string()) for n, part in zip(header, parts, strict=True)}
    return RawTable(columns, np.array(rows, np.int64), csv=True)


def _records(file: Iterable[str], problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield (row, fields) of the lines that are not blank, the header as row 0, up to the first that is not CSV."""
    row = 0
    try:
        for fields in csv.reader(file, strict=True):
            if fields:
                yield row, fields
                row += 1
    except csv.Error as error:
        problems.add("CSV with every quote closed, or doubled inside quotes", f"{error}; no row below is read", row=row)


def _of_width(
    records: Iterable[tuple[int, list[str]]], width: int, problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    for row, fields in records:
        if len(fields) == width:
            yield row, fields
        else:
            problems.add(f"{width} fields, as in the header", str(len(fields)), row=row)


def _utf8(cells: Sequence[str], rows: Sequence[int], column: str | None, problems: Problems) -> Any:
    try:
        return pa.array(cells, pa.large_string())
    except UnicodeEncodeError:
        clean = [cell.encode(errors="replace").decode() for cell in cells]
        for row, cell, text in zip(rows, cells, clean, strict=True):
            if cell != text:
                problems.add("text in UTF-8", show(cell.encode(errors="surrogateescape")), row=row, column=column)
        return pa.array(clean, pa.large_string())


def _from_parquet(path: Path, problems: Problems) -> RawTable:
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
        names = table.column_names
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        problems.fatal("a whole Parquet file", str(error))
    _check_names(names, problems)
    named = zip(names, table.columns, strict=True)
    columns = {name: column for name, column in named if not PANDAS_INDEX.fullmatch(name)}
    stored = (table.schema.metadata or {}).get(STORED, b"").decode()
    return RawTable(columns, np.arange(1, table.num_rows + 1), stored=stored)


def _from_frame(frame: pd.DataFrame, problems: Problems) -> RawTable:
    if any(name is not None for name in frame.index.names):
        problems.add("an index without a name (reset_index makes it a column)", show(list(frame.index.names)))
    names = list(frame.columns)
    for name in names:
        if not isinstance(name, str):
            problems.add("column names of text", show(name))
    _check_names([str(name) for name in names], problems)
    columns = {}
    broken = set()
    for position, name in enumerate(names):
        try:
            values = pa.array(frame.iloc[:, position], from_pandas=True)
        except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
            problems.add("values of one type that Arrow can hold", str(error), column=str(name))
            values = pa.nulls(len(frame))
            broken.add(str(name))
        columns[str(name)] = values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([values])
    return RawTable(columns, np.arange(1, len(frame) + 1), broken=frozenset(broken))


def _check_names(names: Sequence[str], problems: Problems) -> None:
    seen = set()
    for position, name in enumerate(names, 1):
        if "\0" in name:
            problems.add("column names without NUL characters", show(name))
        elif not name.strip():
            problems.add("a name for every column", f"none for column {position}")
        elif name in seen:
            problems.add("every column name once", "it again", column=name)
        seen.add(name)


def _plain(name: str, column: Any, rows: npt.NDArray[np.int64], problems: Problems) -> Any:
    r"""Return the column without a dictionary, text as large_string with `\n` line ends; None if it can't be read."""
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
        return column if kind == column.type else column.cast(kind)
    column = column.cast(pa.large_string())
    for position in np.flatnonzero(pc.match_substring(column, "\0").fill_null(False)):
        problems.add(
            "text without NUL characters", show(column[position].as_py()), row=int(rows[position]), column=name
        )
    if pc.any(pc.match_substring(column, "\r")).as_py():
        column = pc.replace_substring_regex(column, r"\r\n?", "\n")
    return column
