"""Labels: columns of a manifest that are none of ours, carried into the store with their types."""

from __future__ import annotations

import difflib
import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.core import COLUMNS, column_names
from render.manifest.cells import empty_to_null, nearest
from render.manifest.problems import Problems, show
from render.manifest.table import RawTable
from render.store import STORE_COLUMNS

__all__ = ["read_labels"]

ALIASES = {alias: column.name for column in COLUMNS for alias in column.aliases}  # of other programs
OWN = column_names()


def read_labels(raw: RawTable, problems: Problems) -> dict[str, Any]:
    """Return the columns that are not in OWN, with their types."""
    labels = {}
    for name, column in raw.columns.items():
        if name in OWN or name in raw.broken:
            continue
        if fault := _label_fault(name):
            problems.add(*fault, column=name)
        labels[name] = _type_by_content(column) if raw.csv else column
        try:
            labels[name] = labels[name].cast(_parquet_type(labels[name]))
            if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
                column.to_pylist()  # Python has no year 10000, and a dict no two keys of one name
        except (pa.ArrowException, OverflowError, ValueError, LookupError) as error:
            problems.add("a type that Parquet and Python can hold", f"{column.type}: {error}", column=name)
    return labels


def _type_by_content(column: Any) -> Any:
    """Return a CSV column as int64, double or bool if every cell reads so, else as text; empty cells are null.

    Only what loses nothing becomes a number: `007`, and integers of too many digits, stay text.
    """
    column = empty_to_null(column)
    cells = column.drop_null()
    kinds = {
        r"^(0|-?[1-9][0-9]{0,18})$": pa.int64(),
        r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$": pa.float64(),
        r"^(true|false|True|False|TRUE|FALSE)$": pa.bool_(),
    }
    for pattern, kind in kinds.items():
        if len(cells) and pc.all(pc.match_substring_regex(cells, pattern)).as_py():
            try:
                typed = column.cast(kind)
            except pa.ArrowInvalid:  # 19 digits, and over the largest int64
                continue
            if kind != pa.float64() or pc.all(pc.is_finite(typed)).as_py():
                return typed
    return column


def _parquet_type(column: Any) -> Any:
    """Return the type that comes back from a Parquet file: seconds become milliseconds, for one."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"": column.slice(0, 0)}), sink)
    return pq.ParquetFile(sink.getvalue()).schema_arrow.field(0).type


def _label_fault(name: str) -> tuple[str, str] | None:
    """Return (required, got) for a name that can't be a label, as a typo must not lose a setting; None for one that can."""
    plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
    near = [column for column in OWN if sorted(column) == sorted(plain)]  # letters swapped
    near = [ALIASES[plain]] if plain in ALIASES else near or difflib.get_close_matches(plain, OWN, 1, 0.85)
    if not near and plain not in STORE_COLUMNS:
        return None
    required = "a column of the manifest, or a label's name that is not nearly one and no column of the store"
    return required, show(name) + nearest(plain, tuple(near))
