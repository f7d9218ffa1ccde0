"""Labels: columns of a manifest that are none of ours, carried into the store with their types."""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from render.core import column_meant, column_names, column_nearly, one_line, setting_elsewhere
from render.manifest.label_types import parquet_type, readable_type, type_by_content
from render.manifest.names import GIVEN, OWN
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable
from render.store import STORE_COLUMNS

__all__ = ["check_labels", "read_labels"]

STORED_NAMES = column_names(stored=True)
KEPT_BY_ARROW = ("__filename", "__fragment_index", "__batch_index", "__last_in_fragment")  # of its datasets


def check_labels(raw: RawTable, listed: Sequence[str], problems: Problems) -> None:
    """Refuse the names that no label may have; warn of those that are nearly one of ours. The job has `listed` some."""
    folded: dict[str, str] = {}
    for name in _names(raw, listed):
        if fault := _label_fault(name, name in listed):
            problems.add(*fault, column=name)
        elif folded.setdefault(name.casefold(), name) != name:
            required = f"a label's name that differs from {folded[name.casefold()]!r} by more than case, as DuckDB asks"
            problems.add(required, show(name), column=name)
        elif name not in listed and (near := column_nearly(name, GIVEN)):
            problems.warn(f"column {name!r} is taken as a label: {near} was not meant?")
        elif settings := _settings_inside(raw.columns[name].type):
            problems.warn(
                f"column {name!r} is a label as a whole: what it holds of {', '.join(settings)} is no setting"
            )


def read_labels(raw: RawTable, listed: Sequence[str], problems: Problems) -> dict[str, Any]:
    """Return the columns that are none of ours, with their types."""
    labels = {}
    for name in _names(raw, listed):
        if name in raw.broken:
            continue
        column = raw.columns[name]
        labels[name] = type_by_content(column) if raw.csv else column
        try:
            kind = column.type if raw.stored or raw.csv else readable_type(column.type)
        except ValueError as why:
            problems.add("a type that every reader of a store has", f"{column.type}: {why}", column=name)
            continue
        try:
            labels[name] = labels[name] if raw.csv else column.cast(kind)
            labels[name] = labels[name].cast(parquet_type(labels[name]))
            if pa.types.is_temporal(column.type) or pa.types.is_nested(column.type):
                column.to_pylist()  # Python has no year 10000, and a dict no two keys of one name
        except (pa.ArrowException, OverflowError, ValueError, LookupError) as error:
            problems.add("a type that Parquet and Python can hold", f"{column.type}: {one_line(error)}", column=name)
    return labels


def _names(raw: RawTable, listed: Sequence[str]) -> list[str]:
    own = STORED_NAMES if raw.stored else OWN
    return [name for name in raw.columns if name not in own or (name in listed and name not in STORED_NAMES)]


def _label_fault(name: str, listed: bool) -> tuple[str, str] | None:
    """Return (required, got) for a name that can't be a label, as none may lose a setting; None for one that can.

    `listed` names are labels by the job's own words; only what the store can't keep is refused then.
    """
    plain = re.sub(r"[\s-]+", "_", unicodedata.normalize("NFKC", name).strip().casefold())
    if name in KEPT_BY_ARROW:
        return f"a name that pyarrow does not keep for itself, as {', '.join(KEPT_BY_ARROW)}", f"{name!r}{_ways(name)}"
    of_store = name.casefold() in STORE_COLUMNS or (plain in STORE_COLUMNS and not listed)
    if not listed and (meant := _meant(name, plain)):
        way = _ways(name) if of_store else _label_way(name)
        return (
            f"the name {meant}, if that is meant, or in the job columns: {{{_yaml(name)}: {meant}}}",
            f"{name!r}{way}",
        )
    if of_store:
        return "a label's name that is no column of the store", f"{name!r}{_ways(name)}"
    if not listed and (advice := setting_elsewhere(name)):
        return f"no column of this name: {advice}", f"{name!r}{_label_way(name)}"
    return None


def _meant(name: str, plain: str) -> str | None:
    """Return the column of ours that a name stands for, or nearly is."""
    swapped = [column for column in OWN if sorted(column) == sorted(plain)]  # letters
    near = swapped or difflib.get_close_matches(plain, OWN, 1, 0.85)
    return near[0] if near else column_meant(name)


def _settings_inside(kind: Any) -> list[str]:
    """Return the fields of a struct that have names of our columns, or those of other programs for them."""
    names = [field.name for field in kind] if pa.types.is_struct(kind) else []
    return [name for name in names if name.strip().casefold() in GIVEN or column_meant(name)]


def _ways(name: str) -> str:
    return f" (the job can leave it out: columns: {{{_yaml(name)}: ignore}})"


def _label_way(name: str) -> str:
    return f" (is it a label? The job can say so: labels: [{_yaml(name)}])"


def _yaml(name: str) -> str:
    """Return a name as a job file has it."""
    return name if re.fullmatch(r"\w[\w .()-]*", name) and name == name.strip() else json.dumps(name)
