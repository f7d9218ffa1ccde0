"""Combine the values of columns into rows: all of them once, or so many of each class, drawn by a seed.

The rows of a class depend on the seed, the class and the file alone; a higher count only adds rows. Every row is there once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa

from render.core import counted
from render.manifest import Problems, RawTable, show
from render.templates.specs import (
    ROWS_MAX,
    Combination,
    Condition,
    Options,
    Range,
    Spec,
    Uniform,
    filled,
)

__all__ = ["combine"]

LISTED_MAX = 50_000  # combinations of a class that are listed; of more, rows are drawn one by one
LOOKED_MAX = 10_000_000  # combinations that are looked at, where all are wanted
TRIES = 50  # draws for each row that is wanted, where combinations are not listed
TOLD_MAX = 10  # classes that are named for want of rows

Row: TypeAlias = dict[str, Any]
One = TypeVar("One")


def combine(
    combination: Combination, seed: int, limit: int, problems: Problems, warn: Callable[[str], object]
) -> RawTable:
    """Return the rows of a combination as a table. `warn` is told what is left out.

    Without a count every combination is there once, at most `limit`. Raises ManifestError.
    """
    drawing = _Drawing(combination, seed)
    rows: list[Row] = []
    short: list[str] = []
    groups = list(drawing.groups())
    if (total := sum(drawing.wanted(group) or 0 for group in groups)) > ROWS_MAX:
        problems.fatal(f"at most {ROWS_MAX:,} rows", f"{total:,}, of {counted(len(groups), 'class', 'classes')}")
    for group in groups:
        wanted = drawing.wanted(group)
        if wanted is None and drawing.size(group) > LOOKED_MAX:
            problems.fatal(f"at most {LOOKED_MAX:,} combinations to look at, or a count of rows to draw", "more")
        found = drawing.rows(group, wanted, limit)
        if wanted is None and len(found) > limit:
            problems.fatal(f"at most {limit:,} combinations, a higher limit, or a count of rows to draw", "more")
        rows += found
        if wanted is not None and len(found) < wanted:
            short.append(_shortage(group, len(found), wanted, drawing.is_listed(group)))
    if not rows:
        problems.fatal("a combination that no condition of exclude leaves out", "none")
    for line in [*drawing.left_out(), *short[:TOLD_MAX]]:
        warn(line)
    if len(short) > TOLD_MAX:
        warn(f"and {len(short) - TOLD_MAX} other classes have fewer rows than the count")
    names = [spec.name for spec in combination.specs if spec.name not in combination.drop]
    columns = {name: pa.chunked_array([_column([row[name] for row in rows])]) for name in names}
    return RawTable(columns, np.arange(1, len(rows) + 1))


def _shortage(group: Row, found: int, wanted: int, is_listed: bool) -> str:
    which = ", ".join(f"{name} {show(value)}" for name, value in group.items()) or "all"
    why = "there are no more distinct combinations" if is_listed else "no more were found among many draws"
    return f"{which}: {found:,} of {counted(wanted, 'row')}: {why}"


@dataclass
class _Drawing:
    """The rows of a combination, class by class; counts what is left out."""

    combination: Combination
    seed: int
    excluded: Counter[int] = field(
        default_factory=Counter
    )  # number of a condition in `exclude` → rows that it left out
    seen: int = 0  # combinations that were looked at

    def groups(self) -> Iterator[Row]:
        """Yield the classes: the values of the columns in `each`; one without any for none."""
        specs = {spec.name: spec for spec in self.combination.specs}
        values = [specs[name].values for name in self.combination.each]
        for own in itertools.product(*values):
            group = dict(zip(self.combination.each, own, strict=True))
            if not self.is_listed(group) or any(True for _ in _extended({}, self.combination.specs, group)):
                yield group  # the others have values that never come together

    def wanted(self, group: Row) -> int | None:
        """Return the number of rows of a class; None for all combinations."""
        count = self.combination.count
        return count.get(next(iter(group.values())), 0) if isinstance(count, Mapping) else count

    def is_listed(self, group: Row) -> bool:
        """Return True for a class whose combinations are listed, so that their number is known."""
        return self.size(group) <= LISTED_MAX

    def rows(self, group: Row, wanted: int | None, limit: int) -> list[Row]:
        """Return distinct rows of a class, as many as are wanted and there are; of all of them one more than `limit`."""
        if wanted == 0:
            return []
        if wanted is None:
            listed = (row for row, _ in self._listed(group))
            return list(itertools.islice(_distinct(listed, lambda row: row), limit + 1))
        random = self._random(group)
        if self.is_listed(group):
            pairs = _distinct(self._listed(group), lambda pair: pair[0])
            # The smallest of exponential clocks: a draw by weights without putting back (Efraimidis, Spirakis 2006).
            drawn = [(-math.log(1 - random.random()) / weight, row) for row, weight in pairs]
            return [row for _, row in sorted(drawn, key=lambda pair: pair[0])[:wanted]]
        tries = (self._drawn(group, random) for _ in range(TRIES * wanted))
        kept = (row for row in tries if row is not None and not self._is_excluded(row))
        return list(itertools.islice(_distinct(kept, lambda row: row), wanted))

    def left_out(self) -> Iterator[str]:
        """Yield what every condition of `exclude` left out."""
        for number, condition in enumerate(self.combination.exclude, 1):
            count = self.excluded[number]
            yield f"exclude {number}, {_said(condition)}, left out {count:,} of {self.seen:,} combinations looked at"

    def _random(self, group: Row) -> Random:
        digest = hashlib.sha256(json.dumps([self.seed, *map(repr, group.items())]).encode()).digest()
        return Random(int.from_bytes(digest))

    def size(self, group: Row) -> float:
        """Return the most combinations that a class can have."""
        most = (max(map(_count, spec.choices)) for spec in self.combination.specs if spec.name not in group)
        return math.prod(most)

    def _listed(self, group: Row) -> Iterator[tuple[Row, float]]:
        """Yield the combinations of a class that are not excluded, with the products of their weights."""
        for row, weight in _extended({}, self.combination.specs, group):
            if not self._is_excluded(row):
                yield row, weight

    def _drawn(self, group: Row, random: Random) -> Row | None:
        """Return one row, column by column; None where a value of the class can't come after those before it."""
        row: Row = {}
        for spec in self.combination.specs:
            choice = _choice(spec, row)
            if isinstance(choice, Uniform):
                row[spec.name] = _number(choice, random)
            elif spec.name in group:
                if all(value != group[spec.name] for value in choice.values):
                    return None
                row[spec.name] = filled(group[spec.name], row)
            else:
                row[spec.name] = filled(random.choices(choice.values, choice.weights)[0], row)
        return row

    def _is_excluded(self, row: Row) -> bool:
        """Return True for a row that a condition leaves out, and count it."""
        self.seen += 1
        number = next((n for n, one in enumerate(self.combination.exclude, 1) if _holds(one, row)), 0)
        self.excluded[number] += number > 0
        return number > 0


def _extended(row: Row, specs: tuple[Spec, ...], group: Row) -> Iterator[tuple[Row, float]]:
    """Yield every way to fill the columns that are left, with the product of the weights."""
    if not specs:
        yield row, 1.0
        return
    spec, *rest = specs
    choice = _choice(spec, row)
    assert isinstance(choice, Options)  # numbers of a range are never listed
    for value, weight in zip(choice.values, choice.weights, strict=True):
        if spec.name not in group or value == group[spec.name]:
            for whole, other in _extended({**row, spec.name: filled(value, row)}, tuple(rest), group):
                yield whole, weight * other


def _choice(spec: Spec, row: Row) -> Options | Uniform:
    """Return what a column is drawn from, behind the columns of a row."""
    chosen = next((choice for condition, choice in spec.cases if _holds(condition, row)), spec.otherwise)
    assert chosen is not None  # `given` names every value, or has an `otherwise`
    return chosen


def _holds(condition: Condition, row: Row) -> bool:
    """Return True where every column of a condition has one of its values."""
    return all(_fits(row[name], wanted) for name, wanted in condition.items())


def _fits(value: Any, wanted: tuple[Any, ...] | Range) -> bool:
    if isinstance(wanted, Range):
        return isinstance(value, int | float) and wanted.low <= value <= wanted.high
    return value in wanted


def _count(choice: Options | Uniform) -> float:
    return len(choice.values) if isinstance(choice, Options) else math.inf


def _number(choice: Uniform, random: Random) -> float:
    if choice.decimals is None:
        return random.randint(int(choice.low), int(choice.high))
    return round(random.uniform(choice.low, choice.high), choice.decimals)


def _distinct(found: Iterator[One], row_of: Callable[[One], Row]) -> Iterator[One]:
    """Yield what has a row that was not there before."""
    seen = set()
    for one in found:
        key = tuple(row_of(one).values())
        if key not in seen:
            seen.add(key)
            yield one


def _said(condition: Condition) -> str:
    """Return a condition as the file has it."""
    texts = []
    for name, wanted in condition.items():
        if isinstance(wanted, Range):
            texts.append(f"{name}: {wanted.low:g} … {wanted.high:g}")
        else:
            texts.append(f"{name}: {' or '.join(map(str, wanted))}")
    return ", ".join(texts)


def _column(values: list[Any]) -> Any:
    """Return a column of one type; text, if the values are of several."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) == 1 and kinds != {str}:
        with suppress(pa.ArrowInvalid, OverflowError):  # integers of too many digits
            return pa.array(values)
    return pa.array([None if value is None else str(value) for value in values], pa.large_string())
