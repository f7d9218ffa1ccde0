"""The names of a table's columns → ours: what the job maps, and what differs from ours by case and blanks alone."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from render.core import COLUMNS, column_names
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable

__all__ = ["GIVEN", "IGNORE", "OWN", "UNNAMED", "Naming", "name_columns"]

IGNORE = "ignore"  # in the job's key `columns`: leave the column out
OWN = column_names()
GIVEN = tuple(column.name for column in COLUMNS if not column.by_reader)  # that a table may have


@dataclass(frozen=True, slots=True)
class Naming:
    """What a job says of the columns of its table."""

    labels: tuple[str, ...] = ()  # names that are labels, whatever other programs mean by them
    columns: Mapping[str, str] = field(default_factory=dict)  # name in the table → ours, a label's, or IGNORE

    @property
    def ignored(self) -> frozenset[str]:
        return frozenset(name for name, meant in self.columns.items() if meant == IGNORE)


UNNAMED = Naming()  # a job that says nothing of them


def name_columns(raw: RawTable, naming: Naming, swept: Iterable[str], problems: Problems) -> RawTable:
    """Return the table with our names. Refuses a name that stands for no column, and two columns for one of ours.

    `swept` are the columns of the job's sweep, which may be labels as well.
    """
    _check(raw, naming, {*raw.columns, *naming.columns.values(), *swept} - {IGNORE}, problems)
    columns: dict[str, Any] = {}
    of: dict[str, str] = {}  # our name → the table's
    for name in sorted(raw.columns, key=lambda name: name not in OWN):  # ours first, to blame the other one
        meant = naming.columns.get(name, name)
        meant = meant if meant in (*GIVEN, *naming.labels) else name  # refused above
        plain = name.strip().casefold()
        if name not in naming.columns and name not in naming.labels and plain in GIVEN:
            meant = plain
        if meant in of:
            problems.add(f"one column {meant}", f"{of[meant]!r}, too", column=name)
        of[meant] = name
        columns[meant] = raw.columns[name]
    ordered = {meant: columns[meant] for meant in sorted(columns, key=lambda meant: list(raw.columns).index(of[meant]))}
    broken = frozenset(meant for meant, name in of.items() if name in raw.broken)
    return replace(raw, columns=ordered, broken=broken)


def _check(raw: RawTable, naming: Naming, there: set[str], problems: Problems) -> None:
    """Refuse entries of the job's keys `columns` and `labels` that fit neither the table nor each other."""
    for name, meant in naming.columns.items():
        if meant == IGNORE:
            continue
        if name not in raw.columns:
            problems.add("a column of this name, which the job's key columns reads", _absent(name, raw), column=name)
        if meant not in GIVEN and meant not in naming.labels:
            required = f"one of our columns in the job's key columns, {IGNORE}, or a name that its key labels lists"
            problems.add(required, show(meant) + _near(meant, GIVEN), column=name)
    for name in naming.labels:
        if name not in there:
            problems.add("a column of this name, which the job's key labels lists", _absent(name, raw), column=name)
        elif name in OWN and name != "size":
            problems.add(
                "another name for a label in the job's key labels: this one is a column of ours", "it", column=name
            )


def _absent(name: str, raw: RawTable) -> str:
    return "none" + _near(name, tuple(raw.columns))


def _near(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name.casefold(), names, 1)
    return f" (nearest: {near[0]})" if near else ""
