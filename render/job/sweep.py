"""Parse the job's `sweep`: groups of columns, zipped within a group, multiplied over the groups. Standard library only."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from functools import cached_property
from itertools import count, product
from typing import Any, TypeAlias

from render.core import JobError, file_name_key, shorten

__all__ = ["LIMIT", "UNSWEPT", "Axis", "Sweep", "Value", "parse_sweep"]

Value: TypeAlias = str | int | float

LIMIT = 10_000  # points of a sweep, unless the job sets another limit
NAME_BYTES = 80  # of a point's name; the rest of the file name is left to the walk's own
LABEL_BYTES = 24  # a longer value is named by its number
COLUMN_BYTES = 40
TAKEN = {"walk": "walks are named after the points", "sweep": "it holds the points' names"}
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]+)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")
EXACT = Context(prec=200)  # digits; ranges need at most 2 × 40 + 60
DIGITS = 40  # of a range's numbers, before the point and behind it


@dataclass(frozen=True)
class Axis:
    """One group of a sweep: columns that change together, along one direction of a contact sheet."""

    columns: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]  # one tuple a point, in the columns' order

    def __len__(self) -> int:
        return len(self.values)

    @property
    def name(self) -> str:
        """Title of the axis: its columns."""
        return ", ".join(self.columns)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Labels of the points on a sheet: `0.25`, or `#2` when a value can't stand in a file name."""
        return tuple(", ".join(marks[1] for marks in point) for point in self._marks)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the points in file names: `guidance=0.25`, or `prompt#2` when the value can't stand in one."""
        return tuple(" ".join(marks[0] for marks in point) for point in self._marks)

    @cached_property
    def _marks(self) -> list[tuple[tuple[str, str], ...]]:
        """Pairs (name, label): of every point, one for each column."""
        by_column = [_marks(column, self._of(index)) for index, column in enumerate(self.columns)]
        return list(zip(*by_column, strict=True))

    def _of(self, index: int) -> list[Value]:
        return [point[index] for point in self.values]


@dataclass(frozen=True)
class Sweep:
    """Parsed sweep: the product of its groups, the last group varying fastest.

    >>> sweep = parse_sweep([{"guidance": "0..0.5..0.25"}, {"seed": [3, 4]}])
    >>> sweep.count, list(sweep.names())[:3]
    (6, ['guidance=0.0 seed=3', 'guidance=0.0 seed=4', 'guidance=0.25 seed=3'])
    >>> next(sweep.points())
    {'guidance': 0.0, 'seed': 3}
    """

    axes: tuple[Axis, ...] = ()  # on a sheet the last runs across, the others down
    written: tuple[Any, ...] = field(default=(), compare=False)  # the groups in the user's own spelling

    @property
    def count(self) -> int:
        """Number of points: 1 without a group."""
        return math.prod(len(axis) for axis in self.axes)

    @property
    def columns(self) -> tuple[str, ...]:
        """Manifest columns that the sweep sets."""
        return tuple(column for axis in self.axes for column in axis.columns)

    def points(self) -> Iterator[dict[str, Value]]:
        """Yield the points, each as column → value."""
        for point in product(*(axis.values for axis in self.axes)):
            yield dict(zip(self.columns, (value for values in point for value in values), strict=True))

    def names(self) -> Iterator[str]:
        """Yield a name for every point that can be part of a file name; no two lead to the same file."""
        longest = sum(max(len(name.encode()) for name in axis.names) + 1 for axis in self.axes) - 1
        if longest > NAME_BYTES:
            return (f"point#{number}" for number in range(1, self.count + 1))
        return (" ".join(names) for names in product(*(axis.names for axis in self.axes)))


UNSWEPT = Sweep()


def parse_sweep(value: object, limit: int = LIMIT, where: str = "sweep") -> Sweep:
    """Parse the job's list of groups, each a mapping of columns to a list, a range or a single value.

    A text with `..` is a range: `0..9`, `1..10..0.5`, both ends included. Raises JobError with all errors at once, also
    for more points than `limit`.
    """
    problems: list[str] = []
    if value is not None and not isinstance(value, list | tuple):
        raise JobError(f"{where}: required a list of groups; got {_show(value)}")
    groups = value or ()
    axes = [_axis(group, limit, f"{where}[{index}]", problems) for index, group in enumerate(groups)]
    problems += _columns_twice(groups, where)
    sweep = Sweep(tuple(axis for axis in axes if axis is not None), written=tuple(groups))
    if not problems and sweep.axes and sweep.count > limit:
        sizes = " × ".join(str(len(axis)) for axis in sweep.axes)
        problems.append(_over(limit, where, f"{sweep.count:,} points ({sizes})"))
    if problems:
        raise JobError("\n".join(problems))
    return sweep


def _axis(group: object, limit: int, where: str, problems: list[str]) -> Axis | None:
    """Parse a group. Adds what is wrong to `problems` and returns None then."""
    if not isinstance(group, dict) or not group:
        got = "an empty group" if isinstance(group, dict) else _show(group)
        problems.append(f"{where}: required columns with their values, as {{guidance: 1..9}}; got {got}")
        return None
    before = len(problems)
    columns = {}
    for name, cells in group.items():
        if fault := _name_fault(name):
            problems.append(f"{where}: {fault}")
        try:
            columns[str(name)] = _values(cells, limit, f"{where}.{shorten(name)}")
        except JobError as error:
            problems.append(str(error))
    if len(problems) > before:
        return None
    if len({len(values) for values in columns.values()}) > 1:
        lengths = ", ".join(f"{len(values)} of {name}" for name, values in columns.items())
        problems.append(f"{where}: required equally many values of every column of a group; got {lengths}")
        return None
    points = tuple(zip(*columns.values(), strict=True))
    firsts: dict[tuple[Value, ...], int] = {}
    for index, point in enumerate(points):
        if (first := firsts.setdefault(point, index)) != index:
            got = f"{_show(point if len(point) > 1 else point[0])} as value {first + 1} and {index + 1}"
            problems.append(f"{where}: required every point once; got {got}")
    return Axis(tuple(columns), points)


def _name_fault(name: object) -> str | None:
    """Return why a column can't have this name, None if it can."""
    if not isinstance(name, str) or not _is_file_name(name, COLUMN_BYTES):
        return f"required a column's name, fit for a file name and at most {COLUMN_BYTES} bytes; got {_show(name)}"
    return f"required a column other than {name!r}: {TAKEN[name]}; got it" if name in TAKEN else None


def _columns_twice(groups: Sequence[object], where: str) -> Iterator[str]:
    seen: dict[object, int] = {}
    for index, group in enumerate(groups):
        for name in group if isinstance(group, dict) else ():
            if (first := seen.setdefault(name, index)) != index:
                yield f"{where}[{index}].{shorten(name)}: required a column in one group; got it in {where}[{first}], too"


def _values(cells: object, limit: int, where: str) -> tuple[Value, ...]:
    """Parse the values of a column. Raises JobError with every value that is wrong."""
    if isinstance(cells, str) and ".." in cells:
        return _range(cells, limit, where)
    values: Sequence[Any] = cells if isinstance(cells, list | tuple) else [cells]
    if not values:
        raise JobError(f"{where}: required at least one value; got an empty list")
    faults = [
        f"{where}[{index}]: required a text without control codes or a finite number; got {_show(cell)}"
        for index, cell in enumerate(values)
        if not _is_value(cell)
    ]
    if faults:
        raise JobError("\n".join(faults if isinstance(cells, list | tuple) else [faults[0].replace("[0]:", ":", 1)]))
    return tuple(cell + 0.0 if isinstance(cell, float) else cell for cell in values)  # + 0.0: no negative zero


def _is_value(cell: object) -> bool:
    if isinstance(cell, str):
        return "\r" not in cell and all(unicodedata.category(sign) != "Cs" and sign != "\0" for sign in cell)
    return isinstance(cell, int | float) and not isinstance(cell, bool) and math.isfinite(cell)


def _range(text: str, limit: int, where: str) -> tuple[Value, ...]:
    """Count the numbers of `first..last` or `first..last..step` in decimals: 0..0.3..0.1 holds 0.1, 0.2 and 0.3.

    >>> _range("1..2..0.25", 10, "here"), _range("3..1..-1", 10, "here")
    ((1.0, 1.25, 1.5, 1.75, 2.0), (3, 2, 1))
    """
    form = "a range of finite numbers as 0..9 or 1..10..0.5 (a text with '..' goes into a list)"
    parts = text.split("..")
    if len(parts) not in (2, 3) or not all(NUMBER.fullmatch(part.strip()) for part in parts):
        raise JobError(f"{where}: required {form}; got {_show(text)}")
    first, last, step = (Decimal(part.strip()) for part in [*parts, "1"][:3])
    if any(number.adjusted() >= DIGITS or -int(number.as_tuple().exponent) > DIGITS for number in (first, last, step)):
        raise JobError(
            f"{where}: required numbers of at most {DIGITS} digits before and behind the point; got {_show(text)}"
        )
    span = EXACT.subtract(last, first)
    if not step or span * step < 0:
        required = "a step below 0 to come down to the last number" if span < 0 else "a step above 0"
        raise JobError(f"{where}: required {required}; got {step} in {_show(text)}")
    steps = EXACT.divide_int(span, step) if abs(span) < abs(step) * 10 * (limit + 1) else Decimal(10 * limit)
    if steps >= limit:
        raise JobError(_over(limit, where, f"more in {_show(text)}"))
    if EXACT.multiply(steps, step) != span:
        reached = EXACT.add(first, EXACT.multiply(steps, step))
        raise JobError(
            f"{where}: required steps that reach the last number, {last}; got {reached} as the last in {_show(text)}"
        )
    whole = all(int(number.as_tuple().exponent) >= 0 for number in (first, step))
    numbers = (EXACT.add(first, EXACT.multiply(index, step)) for index in range(int(steps) + 1))
    return tuple(int(number) if whole else float(number) + 0.0 for number in numbers)


def _over(limit: int, where: str, got: str) -> str:
    return f"{where}: required at most {limit:,} points, or a higher limit in the job; got {got}"


def _marks(column: str, values: Sequence[Value]) -> list[tuple[str, str]]:
    """Pair name and label of every value: (`guidance=0.25`, `0.25`).

    If one of the values can't stand in a file name, all are numbered: (`prompt#2`, `#2`).
    """
    distinct = list(dict.fromkeys(values))
    texts = {value: str(value) for value in distinct}
    folded = {file_name_key(text) for text in texts.values()}
    if len(folded) == len(distinct) and all(_is_file_name(text, LABEL_BYTES) for text in texts.values()):
        return [(f"{column}={texts[value]}", texts[value]) for value in values]
    numbers = dict(zip(distinct, count(1), strict=False))
    return [(f"{column}#{numbers[value]}", f"#{numbers[value]}") for value in values]


def _is_file_name(text: str, size_bytes: int) -> bool:
    """Check that a text can stand in `column=text` inside and at the end of a file name."""
    outside = text != text.strip() or not text or any(part in text for part in ("/", "\\", "..", "="))
    if outside or any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        return False
    return len(text.encode()) <= size_bytes


def _show(value: object) -> str:
    return shorten(repr(value))
