"""The cells of a manifest: columns read by their rules, and the place for their errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.manifest.kinds import MISSING, ColumnRule
from render.manifest.problems import LISTED, Problems, show
from render.manifest.raw import CHUNK, RawTable, is_text

__all__ = ["Cells", "CheckedTable", "empty_to_null", "is_missing"]

Describe: TypeAlias = Callable[[int], tuple[str, str]]  # position → what is required there, what was got


@dataclass(frozen=True, slots=True)
class Cells:
    """One column, read by its rule. Each array is [N], and not to be written to."""

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
        pictures = f" (pictures? The job can leave them out: columns: {{{name}: ignore}})"
        got = f"a column of {column.type}{pictures if pa.types.is_struct(column.type) else ''}"
        self.problems.add(kind, got, column=name)
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
        if column.null_count == len(column) and (which == which[0]).all():
            return self._empty(name, standards[which[0]])
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.decimal256(76, column.type.scale))  # the small ones have no dictionary_encode
        encoded = column.combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy()
        if first.kind == "numbers" and is_text(column.type):
            codes = _without_missing(codes, encoded.dictionary)
        values, bad = np.empty(len(codes), first.dtype), np.zeros(len(codes), np.bool_)
        for number, standard in enumerate(standards):
            own = np.flatnonzero(which == number)
            if len(own):
                values[own], bad[own] = self._read(name, standard, encoded.dictionary, codes[own], own)
        return Cells(values, codes, bad)

    def _empty(self, name: str, standard: ColumnRule) -> Cells:
        """Return a column of empty cells: one default, which takes no memory for each row."""
        codes = np.full(1, -1, np.int32)
        nothing = pa.array([], pa.large_string())
        values, bad = self._read(name, standard, nothing, codes, np.zeros(1, np.int64))
        count = len(self.raw.rows)
        return Cells(*(np.broadcast_to(one, count) for one in (values, codes, bad)))

    def _read(
        self, name: str, standard: ColumnRule, contents: Any, codes: npt.NDArray[np.int32], rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Return the values, and True for the bad ones, of the rows at some positions."""
        rule, default = standard.rule, standard.default
        if default is not None and rule.parse(default) is None:
            if (codes < 0).any() and name not in self.raw.broken:
                got = f"{show(default)}, {standard.whose}{rule.reason(default)}"
                self.problems.add(rule.required, got, column=name)
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


def _without_missing(codes: npt.NDArray[np.int32], contents: Any) -> npt.NDArray[np.int32]:
    """Return the codes with -1, an empty cell, for what programs write where a number is missing: NaN, NA, null."""
    found = np.flatnonzero(is_missing(contents).to_numpy(zero_copy_only=False))
    return np.where(np.isin(codes, found), np.int32(-1), codes) if len(found) else codes


def _firsts(positions: npt.NDArray[np.int64], alike: npt.NDArray[Any]) -> list[int]:
    """Return the first position of each value, in their order."""
    return sorted(dict(zip(alike[::-1].tolist(), positions[::-1].tolist(), strict=True)).values())


def is_missing(texts: Any) -> Any:
    """Return True for each text that stands for a missing value, as NaN does; null for null."""
    words = pa.array(MISSING, texts.type)
    short = pc.if_else(pc.less_equal(pc.binary_length(texts), 12), texts, "")  # spares time with prompts
    return pc.is_in(pc.utf8_lower(pc.utf8_trim_whitespace(short)), value_set=words)


def empty_to_null(column: Any) -> Any:
    """Return a text column with null for every empty cell."""
    empty = pc.equal(column, "")
    return pc.if_else(empty, pa.scalar(None, column.type), column) if pc.any(empty).as_py() else column
