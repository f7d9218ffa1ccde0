"""The cells of a manifest: rules, and columns read by them."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import file_name_key
from render.manifest.problems import LISTED, Problems, show
from render.manifest.table import CHUNK, RawTable, is_text

__all__ = [
    "NAME_BYTES",
    "WALK_NAME",
    "Cells",
    "CheckedTable",
    "ColumnRule",
    "Rule",
    "choice",
    "empty_to_null",
    "finite",
    "flag",
    "integer",
    "nearest",
]

NAME_BYTES = 120  # of a walk's name
FLOAT_EXACT = 2**53  # up to here, a float64 holds every integer
INTEGER = re.compile(r"([+-]?[0-9]{1,40})(\.0+)?")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
Describe: TypeAlias = Callable[[int], tuple[str, str]]  # position → what is required there, what was got
RESERVED = re.compile(r"still-[0-9]{6,}(-[0-9]{4,})?( .*)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for the cells of one column."""

    required: str
    parse: Callable[[Any], Any]  # the value of a cell that is not empty, None where it breaks the rule
    dtype: Any  # numpy's, of the values
    kind: Literal["text", "numbers", "yes or no"]  # of the cells; text of numbers or of yes and no is fine, too
    options: tuple[str, ...] = ()
    misfits: Mapping[str, str] = field(default_factory=dict)  # contents that are no mistyped option → why they are none

    def got(self, cell: Any) -> str:
        """Return the cell as an error shows it, with the likely reason."""
        if isinstance(cell, float) and math.isfinite(cell) and abs(cell) > FLOAT_EXACT:
            return f"{cell!r}, rounded by its float column"
        why = self.misfits.get(str(cell))
        return f"{show(cell)}, {why}" if why else show(cell) + nearest(str(cell), self.options)


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """A rule, and the value of empty cells."""

    rule: Rule
    default: Any
    whose: str = "the job's default"  # for an error


def integer(low: int, high: int, multiple: int = 1, unit: str = "") -> Rule:
    """Return the rule for integers such as 24, " 24 ", "24.0" and 24.0; of any size, none of them by way of a float."""

    def parse(cell: str | float | Decimal) -> int | None:
        value = _exact_integer(cell)
        return value if value is not None and low <= value <= high and value % multiple == 0 else None

    what = "an integer" if multiple == 1 else f"a multiple of {multiple}"
    return Rule(f"{what}, {low} … {high}{unit}", parse, "int64", "numbers")


def finite(low: float, high: float = math.inf) -> Rule:
    """Return the rule for finite numbers from `low` to `high`."""

    def parse(cell: str | float | Decimal) -> float | None:
        if isinstance(cell, str) and not NUMBER.fullmatch(cell.strip()):
            return None
        value = float(cell)
        return value + 0.0 if math.isfinite(value) and low <= value <= high else None  # + 0.0: no negative zero

    required = f"a finite number of at least {low:g}" if high == math.inf else f"a number, {low:g} … {high:g}"
    return Rule(required, parse, "float64", "numbers")


def choice(options: tuple[str, ...]) -> Rule:
    def parse(cell: str) -> str | None:
        return cell if cell in options else None

    return Rule(f"one of {', '.join(options)}", parse, object, "text", options)


def flag() -> Rule:
    """Return the rule for yes and no, as people and as other programs write them."""
    meanings = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    return Rule("yes or no", lambda cell: meanings.get(str(cell).strip().casefold()), np.bool_, "yes or no")


def _walk_name(cell: str) -> str | None:
    edges = not cell.strip() or cell != cell.strip() or cell.startswith(".")
    inside = any(part in cell for part in ("/", "\\", ".."))
    inside = inside or any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in cell)
    fits = len(cell.encode()) <= NAME_BYTES and not RESERVED.fullmatch(file_name_key(cell))
    return cell if fits and not edges and not inside else None


WALK_NAME = Rule(
    f"a file name of at most {NAME_BYTES} bytes without '/', '\\', '..', control characters, a dot in front or spaces "
    "at the ends, and not of the form still-000000, which stills have",
    _walk_name,
    object,
    "text",
)


@dataclass(frozen=True, slots=True)
class Cells:
    """One column, read by its rule. Each array is [N]."""

    values: npt.NDArray[Any]  # the default where the cell is empty or bad
    codes: npt.NDArray[np.int32]  # number of the cell's distinct content by first appearance, -1 where it is empty
    bad: npt.NDArray[np.bool_]

    @property
    def given(self) -> npt.NDArray[np.bool_]:
        return self.codes >= 0


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """The raw columns of a manifest, and the place for their errors."""

    raw: RawTable
    problems: Problems

    def refuse(
        self, name: str, positions: npt.NDArray[np.int64], describe: Describe, alike: npt.NDArray[Any] | None = None
    ) -> None:
        """Add an error for the rows at some positions; a sweep's copies of a row count as one.

        An error in a column that the sweep sets is the sweep's, whatever the row. `alike`, [P], is equal for rows with the
        same error, which spares time.
        """
        if name in self.problems.swept:
            chosen = positions.tolist() if alike is None else _firsts(positions, alike)
        else:
            _, firsts = np.unique(self.raw.rows[positions], return_index=True)
            chosen = positions[np.sort(firsts)][:LISTED].tolist()
            self.problems.skip(len(firsts) - len(chosen))
        for position in chosen:
            self.problems.add(*describe(position), row=int(self.raw.rows[position]), column=name)

    def refuse_values(
        self, name: str, positions: npt.NDArray[np.int64], codes: npt.NDArray[Any], describe: Describe
    ) -> None:
        """Add errors about single cells; in a column that the sweep sets once for each code, [P]."""
        if name not in self.problems.swept:
            self.refuse(name, positions, describe)
            return
        for position in _firsts(positions, codes):
            self.problems.add(*describe(position), column=name)

    def column(self, name: str, kind: str) -> Any:
        """Return the column with null for every empty cell; all null for one that is missing or not of a `kind` type."""
        column = self.raw.columns.get(name)
        empty = pa.chunked_array([pa.nulls(len(self.raw.rows), pa.large_string())])
        if column is None or column.null_count == len(column):
            return empty
        if is_text(column.type):
            return empty_to_null(column)
        number = any(
            is_kind(column.type) for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        )
        if kind == "numbers" and number:
            return column
        if kind == "yes or no" and pa.types.is_boolean(column.type):
            return column.cast(pa.large_string())
        self.problems.add(kind, f"a column of {column.type}", column=name)
        return empty

    def cells(self, name: str, standard: ColumnRule) -> Cells:
        """Return the column, read by one rule."""
        return self.cells_by(name, [standard], np.zeros(len(self.raw.rows), np.int32))

    def cells_by(self, name: str, standards: Sequence[ColumnRule], which: npt.NDArray[np.int32]) -> Cells:
        """Return the column, each row read by its own of several rules of one kind; `which` are their numbers, [N].

        Each rule parses every distinct content of its rows once.
        """
        first = standards[0].rule
        column = self.column(name, first.kind)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.decimal256(76, column.type.scale))  # the small ones have no dictionary_encode
        encoded = column.combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy()
        values, bad = np.empty(len(codes), first.dtype), np.zeros(len(codes), np.bool_)
        for number, standard in enumerate(standards):
            own = np.flatnonzero(which == number)
            if len(own):
                values[own], bad[own] = self._read(name, standard, encoded.dictionary, codes[own], own)
        return Cells(values, codes, bad)

    def _read(
        self, name: str, standard: ColumnRule, contents: Any, codes: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the values, and True for the bad ones, of the rows at some positions."""
        rule, default = standard.rule, standard.default
        if default is not None and rule.parse(default) is None:
            if (codes < 0).any() and name not in self.raw.broken:
                why = f", {rule.misfits[default]}" if default in rule.misfits else ""
                self.problems.add(rule.required, f"{show(default)}, {standard.whose}{why}", column=name)
            default = 0
        found = np.zeros(len(contents) + 1, np.bool_)
        found[codes] = True
        present = np.flatnonzero(found[:-1])
        parts = (contents.take(present[start : start + CHUNK]).to_pylist() for start in range(0, len(present), CHUNK))
        parsed = [rule.parse(content) for part in parts for content in part]
        values = np.full(len(contents) + 1, default, rule.dtype)  # by code; -1, the empty cell, is the last
        values[present] = np.array([default if value is None else value for value in parsed], rule.dtype)
        broken = np.zeros(len(contents) + 1, np.bool_)
        broken[present] = [value is None for value in parsed]
        bad = broken[codes]
        self.refuse_values(
            name,
            rows[bad],
            codes[bad],
            lambda i: (rule.required, rule.got(contents[codes[np.searchsorted(rows, i)]].as_py())),
        )
        return values[codes], bad


def _firsts(positions: npt.NDArray[np.int64], alike: npt.NDArray[Any]) -> list[int]:
    """Return the first position of each value, in their order."""
    return sorted(dict(zip(alike[::-1].tolist(), positions[::-1].tolist(), strict=True)).values())


def empty_to_null(column: Any) -> Any:
    """Return a text column with null for every empty cell."""
    empty = pc.equal(column, "")
    return pc.if_else(empty, pa.scalar(None, column.type), column) if pc.any(empty).as_py() else column


def _exact_integer(cell: str | float | Decimal) -> int | None:
    if isinstance(cell, str):
        match = INTEGER.fullmatch(cell.strip())
        return int(match[1]) if match else None
    if isinstance(cell, float) and not abs(cell) <= FLOAT_EXACT:  # NaN, too
        return None
    return int(cell) if cell == int(cell) else None


def nearest(word: str, options: tuple[str, ...]) -> str:
    """Return a hint for an error, "" when no option is near."""
    near = difflib.get_close_matches(word.casefold(), options)
    return f" (nearest: {', '.join(near or options)})" if near or len(options) == 1 else ""
