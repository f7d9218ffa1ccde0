"""Leave out what is no column of the user's: the index that pandas or R wrote, and columns that the job ignores."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from render.manifest.names import Naming
from render.manifest.problems import Problems
from render.manifest.raw import NAMELESS, RawTable, is_text

__all__ = ["without_indices"]

PANDAS_INDEX = re.compile(r"__index_level_[0-9]+__")  # a nameless index that pandas wrote as a Parquet column
UNNAMED = re.compile(r"Unnamed: [0-9.]+")  # what pandas calls a column without a name when it reads one
WAYS_OUT = (
    "pandas writes one without index=False, and spreadsheets where cells beyond the table were touched; the job can "
    "leave it out: columns: {'': ignore}"
)


def without_indices(table: RawTable, naming: Naming, problems: Problems) -> RawTable:
    """Return the table without its index and its ignored columns; refuse every other column without a name."""
    if table.stored:
        return table
    kept: dict[str, Any] = {}
    for name, column in table.columns.items():
        nameless = name.startswith(NAMELESS)
        if (name if not nameless else "") in naming.ignored:
            continue
        if name in naming.columns or name in naming.labels:
            kept[name] = column
        elif PANDAS_INDEX.fullmatch(name):
            problems.warn(f"column {name!r}, an index that pandas wrote, is left out")
        elif not kept and (nameless or UNNAMED.fullmatch(name)) and _counts(column):
            what = "the first column, without a name," if nameless else f"column {name!r}"
            problems.warn(f"{what} is left out: its numbers count the rows, as an index of pandas or R does")
        elif nameless:
            got = f"none for column {name.removeprefix(NAMELESS)} ({WAYS_OUT})"
            problems.add("a name for every column", got)
        else:
            kept[name] = column
    return replace(table, columns=kept, broken=table.broken & kept.keys())


def _counts(column: Any) -> bool:
    """Return True for integers that grow from row to row."""
    if is_text(column.type):
        if not pc.all(pc.match_substring_regex(column, r"^[0-9]{1,18}$").fill_null(False)).as_py():
            return False
        column = column.cast(pa.int64())
    if not pa.types.is_integer(column.type) or column.null_count:
        return False
    return bool((np.diff(column.to_numpy()) > 0).all())
