"""CSV and TSV files → raw columns of text."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from render.manifest.formats.bounded import CELL_MAX
from render.manifest.formats.separators import SEPARATORS, Dialect, find_dialect
from render.manifest.problems import Problems, show
from render.manifest.raw import CHUNK, RawTable, column_keys

__all__ = ["read_separated"]


def read_separated(path: Path, problems: Problems) -> RawTable:
    """Return the columns of a CSV or TSV file; every row that is not as wide as the header is reported."""
    dialect = find_dialect(path, problems)
    records = _records(dialect, path, problems)
    _, header = next(records, (0, []))
    header = _utf8(header, [0] * len(header), None, problems).to_pylist()
    keys = column_keys(header, problems)
    whole = _of_width(records, len(header), dialect, problems)
    rows = array("q")
    parts: list[list[Any]] = [[] for _ in header]
    while chunk := list(islice(whole, CHUNK)):
        numbers, lines = zip(*chunk, strict=True)
        rows.extend(numbers)
        for name, part, cells in zip(header, parts, zip(*lines, strict=True), strict=True):
            part.append(_utf8(cells, numbers, name, problems))
    columns = {key: pa.chunked_array(part, pa.large_string()) for key, part in zip(keys, parts, strict=True)}
    commas = np.full(len(rows), dialect.separator == ";")
    return RawTable(
        columns, np.array(rows, np.int64), csv=True, separators=frozenset({dialect.separator}), comma_rows=commas
    )


def _records(dialect: Dialect, path: Path, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Yield (row, fields) of the lines that are not blank, the header as row 0, up to the first that is not CSV."""
    row = 0
    try:
        for fields in dialect.records(path, problems):
            yield row, fields
            row += 1
    except csv.Error as error:
        required, got = "CSV with every quote closed, or doubled inside quotes", f"{error}; no row below is read"
        if "field limit" in str(error):
            required, got = f"cells of at most {CELL_MAX:,} characters", "a longer one (a quote that is not closed?)"
        problems.add(required, got, row=row)


def _of_width(
    records: Iterable[tuple[int, list[str]]], width: int, dialect: Dialect, problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    for row, fields in records:
        if len(fields) == width:
            yield row, fields
        else:
            got = f"{len(fields)}{_likely_reason(fields, width, dialect.separator)}"
            problems.add(f"{width} fields, as in the header", got, row=row)


def _likely_reason(fields: list[str], width: int, separator: str) -> str:
    """Return why a row may not be as wide as the header, "" for no idea."""
    if len(fields) == width + 1 and fields[0].strip().isdigit() and not fields[-1].isspace():
        return " (R's row names? write.table takes row.names = FALSE; or a text that needs quotes around it)"
    if len(fields) > width:
        if not any(fields[width:]):
            return f" (empty ones behind the last column: {SEPARATORS[separator]} too many)"
        return f" (a text with {SEPARATORS[separator]} needs quotes around it)"
    joined = separator.join(fields)
    for other, name in SEPARATORS.items():
        if other != separator and len(joined.split(other)) == width:
            return f" (looks like {name})"
    return ""


def _utf8(cells: Sequence[str], rows: Sequence[int], column: str | None, problems: Problems) -> Any:
    try:
        return pa.array(cells, pa.large_string())
    except UnicodeEncodeError:
        clean = [cell.encode(errors="replace").decode() for cell in cells]
        for row, cell, text in zip(rows, cells, clean, strict=True):
            if cell != text:
                got = f"{show(cell.encode(errors='surrogateescape'))} (Windows-1252? Save it as UTF-8)"
                problems.add("text in UTF-8", got, row=row, column=column)
        return pa.array(clean, pa.large_string())
