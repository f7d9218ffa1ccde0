"""The columns of a manifest as they came: what all readers return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from render.manifest.problems import Problems, show

__all__ = ["CHUNK", "NAMELESS", "STORED", "RawTable", "column_keys", "is_text"]

STORED = b"render.manifest"  # key of the Parquet metadata that marks a manifest whose defaults are filled in
NAMELESS = "\0"  # in front of the number of a column without a name; no name holds it
CHUNK = 4096  # rows held as Python objects at a time


def _no_rows() -> npt.NDArray[np.bool_]:
    return np.zeros(0, np.bool_)


@dataclass(frozen=True, slots=True)
class RawTable:
    """The columns as they came. Text is `large_string`; all cells of a CSV are text."""

    columns: dict[str, Any]  # pa.ChunkedArray by name
    rows: npt.NDArray[np.int64]  # [N] data row of each position: ragged rows are left out
    csv: bool = False
    stored: str = ""  # of a manifest that a run has stored: its fingerprint
    of_store: bool = False  # rows of an image store, as a manifest says them
    broken: frozenset[str] = frozenset()  # columns with an error of their own, all of whose cells are empty here
    separators: frozenset[str] = frozenset()  # of CSV: `,`, `;` and the tab, those that its files have
    comma_rows: npt.NDArray[np.bool_] = field(default_factory=_no_rows)  # [N] of CSV: numbers may have a decimal comma


def is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def column_keys(names: Sequence[str], problems: Problems) -> list[str]:
    """Return the columns' names, with NAMELESS and its number for one without. Refuses what no name may hold, and twins."""
    seen = set()
    for name in names:
        if "\0" in name:
            problems.add("column names without NUL characters", f"{show(name)} (UTF-16 without a byte-order mark?)")
        elif name in seen and name.strip():
            problems.add("every column name once", "it again", column=name)
        seen.add(name)
    return [name if name.strip() else f"{NAMELESS}{number}" for number, name in enumerate(names, 1)]
