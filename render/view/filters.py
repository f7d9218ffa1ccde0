"""The state of a page as its address has it: filters, search, order, and how the frames are shown.

A filter is a column, an operator and a value. Names are looked up in the catalog's columns, operators in a table, and
values become parameters of the query: no text of an address is ever SQL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from render.catalog import CatalogColumn, quoted

__all__ = ["OPERATORS", "SHAPES", "Condition", "Filter", "State", "kind_of"]

SHAPES = ("grid", "stacks", "table")  # frame by frame, seeds of a prompt on a pile, two columns as axes
FILTERS_MAX = 20
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")  # DuckDB's types; unsigned ones have a U before them
NUMBERS = {"FLOAT", "DOUBLE", "DECIMAL", *INTEGERS, *(f"U{name}" for name in INTEGERS)}


@dataclass(frozen=True, slots=True)
class Operator:
    """One way to compare a column with a value."""

    label: str
    kinds: tuple[str, ...]  # of columns that it suits
    sql: str  # {column} and {value} stand for the two sides
    takes_value: bool = True


TEXT = ("text",)
ORDERED = ("number", "time")
ALL = ("text", "number", "flag", "time")
OPERATORS = {  # by their names in the address
    "is": Operator("is", ALL, "{column} = {value}"),
    "not": Operator("is not", ALL, "{column} IS DISTINCT FROM {value}"),
    "has": Operator("contains", TEXT, "contains(lower({column}), lower({value}))"),
    "lacks": Operator("lacks", TEXT, "NOT contains(lower(coalesce({column}, '')), lower({value}))"),
    "min": Operator("≥", ORDERED, "{column} >= {value}"),
    "max": Operator("≤", ORDERED, "{column} <= {value}"),
    "below": Operator("<", ORDERED, "{column} < {value}"),
    "set": Operator("has a value", ALL, "{column} IS NOT NULL", takes_value=False),
    "empty": Operator("is empty", ALL, "{column} IS NULL", takes_value=False),
}


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition, as the address has it."""

    column: str
    operator: str
    value: str

    def __str__(self) -> str:
        operator = OPERATORS.get(self.operator)
        label = operator.label if operator else self.operator
        return (
            f"{self.column} {label} {self.value}".strip()
            if operator is None or operator.takes_value
            else (f"{self.column} {label}")
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition in SQL over `frames` with its parameters, and what of the address could not be used."""

    sql: str
    parameters: tuple[Any, ...]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class State:
    """What a page of frames shows, and how."""

    filters: tuple[Filter, ...] = ()
    search: str = ""  # words that the prompt contains
    sort: str = ""  # column; "" is the order of the store
    descending: bool = False
    shape: str = "grid"  # one of SHAPES
    across: str = ""  # column of the table's axis x
    down: str = ""  # column of the table's axis y
    problems: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def from_query(cls, items: Iterable[tuple[str, str]]) -> State:
        """Return the state of an address' query: `c`, `o` and `v` are columns, operators and values in their order."""
        found: dict[str, list[str]] = {}
        for name, value in items:
            found.setdefault(name, []).append(value)
        columns, operators, values = (found.get(name, []) for name in "cov")
        triples = zip(columns, operators, values, strict=False)
        filters = tuple(Filter(*triple) for triple in triples if triple[0])
        one = {name: values[-1] for name, values in found.items()}
        problems = []
        if not len(columns) == len(operators) == len(values) or len(filters) > FILTERS_MAX:
            problems.append(f"filters: required a column, an operator and a value each, at most {FILTERS_MAX}")
        shape = one.get("view", "grid")
        if shape not in SHAPES:
            problems.append(f"view: required one of {', '.join(SHAPES)}, got {shape!r}")
            shape = "grid"
        return cls(
            filters=filters[:FILTERS_MAX],
            search=one.get("q", "").strip(),
            sort=one.get("s", ""),
            descending=one.get("d") == "1",
            shape=shape,
            across=one.get("x", ""),
            down=one.get("y", ""),
            problems=tuple(problems),
        )

    def query(self, **more: object) -> str:
        """Return the query of the address, without `?`; `more` is put behind it."""
        pairs: list[tuple[str, object]] = []
        for one in self.filters:
            pairs += [("c", one.column), ("o", one.operator), ("v", one.value)]
        named = {
            "q": self.search,
            "s": self.sort,
            "d": "1" if self.descending else "",
            "x": self.across,
            "y": self.down,
        }
        pairs += [(name, value) for name, value in named.items() if value]
        pairs += [("view", self.shape)] if self.shape != "grid" else []
        return urlencode([*pairs, *more.items()])

    def but(self, **changes: Any) -> State:
        """Return the state with some values changed."""
        return replace(self, **changes)

    def without(self, number: int) -> State:
        """Return the state without one filter."""
        return replace(self, filters=self.filters[:number] + self.filters[number + 1 :])

    def also(self, *more: tuple[str, str, str]) -> State:
        """Return the state with further filters, as a grid."""
        return replace(self, filters=(*self.filters, *(Filter(*one) for one in more)), shape="grid", across="", down="")

    def condition(self, columns: Sequence[CatalogColumn]) -> Condition:
        """Return the condition over the columns that are there; one that can't be used holds for no frame."""
        kinds = {column.name: kind_of(column) for column in columns}
        parts, parameters, problems = ["true"], list[Any](), list(self.problems)
        if self.search:
            parts.append("contains(lower(prompt), lower(?))")
            parameters.append(self.search)
        for one in self.filters:
            try:
                sql, values = _clause(one, kinds)
                parts.append(sql)
                parameters += values
            except ValueError as error:
                problems.append(str(error))
        for name in filter(None, (self.sort, self.across, self.down)):
            if name not in kinds:
                problems.append(f"{name}: required a column of the store, got none of this name")
        if problems:
            return Condition("false", (), tuple(problems))
        return Condition(" AND ".join(parts), tuple(parameters))

    def order(self, columns: Sequence[CatalogColumn]) -> str:
        """Return the order in SQL: the column's, then that of the store."""
        if self.sort not in {column.name for column in columns}:
            return "shard, row"
        return f"{quoted(self.sort)} {'DESC' if self.descending else 'ASC'} NULLS LAST, shard, row"


def kind_of(column: CatalogColumn) -> str:
    """Return text, number, flag or time; a label that is a list or a map counts as text."""
    kind = column.type.upper()
    if kind == "BOOLEAN":
        return "flag"
    if kind.startswith(("TIMESTAMP", "DATE")):
        return "time"
    return "number" if kind.partition("(")[0] in NUMBERS else "text"


def _clause(one: Filter, kinds: dict[str, str]) -> tuple[str, list[Any]]:
    """Return a filter in SQL. Raises ValueError for one that the columns do not allow."""
    kind, operator = kinds.get(one.column), OPERATORS.get(one.operator)
    if kind is None:
        raise ValueError(f"{one.column}: required a column of the store, got none of this name")
    if operator is None or kind not in operator.kinds:
        names = ", ".join(name for name, known in OPERATORS.items() if kind in known.kinds)
        raise ValueError(f"{one.column}: required one of the operators {names}, got {one.operator!r}")
    column = quoted(one.column)
    column = COMPARED[kind].format(column)
    if not operator.takes_value:
        return operator.sql.format(column=column), []
    value, sql = VALUES[kind](one)
    return operator.sql.format(column=column, value=sql), [value]


def _number(one: Filter) -> tuple[int | float, str]:
    try:
        value = float(one.value)
        if math.isfinite(value):
            digits = one.value.strip().lstrip("+-")
            exact = digits.isascii() and digits.isdigit() and len(digits) <= 20
            return (int(one.value), "?") if exact else (value, "CAST(? AS DOUBLE)")
    except ValueError:
        pass
    raise ValueError(f"{one.column}: required a number, got {one.value!r}")


def _flag(one: Filter) -> tuple[bool, str]:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if one.value.strip().lower() not in words:
        raise ValueError(f"{one.column}: required true or false, got {one.value!r}")
    return words[one.value.strip().lower()], "?"


def _time(one: Filter) -> tuple[int, str]:
    try:
        found = datetime.fromisoformat(one.value.strip())
    except ValueError:
        raise ValueError(f"{one.column}: required a time such as 2026-11-27T03:00, got {one.value!r}") from None
    moment = found if found.tzinfo else found.replace(tzinfo=UTC)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)), "?"


COMPARED = {"text": "CAST({} AS VARCHAR)", "number": "{}", "flag": "{}", "time": "epoch_us({})"}  # what is compared
VALUES: dict[str, Callable[[Filter], tuple[Any, str]]] = {
    "text": lambda one: (one.value, "?"),
    "number": _number,
    "flag": _flag,
    "time": _time,
}
