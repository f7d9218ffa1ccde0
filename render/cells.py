"""What the cells and the columns of a manifest must be, and what they say."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.recipe import STORE_COLUMNS
from render.table import CHUNK, LISTED, Problems, RawTable, is_text, show

__all__ = ["COLUMNS", "WALK_NAME", "Cells", "Rule", "Sheet", "choice", "finite", "integer", "read_labels", "same_file"]

COLUMNS = (
    "walk",
    "prompt",
    "negative_prompt",
    "seed",
    "images",
    "frames",
    "easing",
    "interpolation",
    "width",
    "height",
    "steps",
    "guidance",
    "scheduler",
)
ALIASES = {  # of other tools
    "sampler": "scheduler",
    "step": "steps",
    "num_inference_steps": "steps",
    "cfg": "guidance",
    "cfg_scale": "guidance",
    "guidance_scale": "guidance",
}
FLOAT_EXACT = 2**53  # up to here, a float64 holds every integer
INTEGER = re.compile(r"([+-]?[0-9]{1,40})(\.0+)?")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
RESERVED = re.compile(r"still-[0-9]{6,}(-[0-9]{4,})?")


@dataclass(frozen=True, slots=True)
class Rule:
    """What the cells of one column must be."""

    required: str
    parse: Callable[[Any], Any]  # the value of a cell that is not empty, None where it breaks the rule
    dtype: Any  # numpy's, of the values
    kind: Literal["text", "numbers"]  # of the cells; text of numbers is fine, too
    options: tuple[str, ...] = ()

    def got(self, cell: Any) -> str:
        """What was got, for an error."""
        if isinstance(cell, float) and math.isfinite(cell) and abs(cell) > FLOAT_EXACT:
            return f"{cell!r}, rounded by its float column"
        return show(cell) + _nearest(str(cell), self.options)


def integer(low: int, high: int, multiple: int = 1, unit: str = "") -> Rule:
    """Integers such as 24, " 24 ", "24.0" and 24.0; of any size, none of them by way of a float."""

    def parse(cell: str | float | Decimal) -> int | None:
        value = _exact_integer(cell)
        return value if value is not None and low <= value <= high and value % multiple == 0 else None

    what = "an integer" if multiple == 1 else f"a multiple of {multiple}"
    return Rule(f"{what}, {low} … {high}{unit}", parse, "int64", "numbers")


def finite(low: float) -> Rule:
    """Finite numbers of `low` and above."""

    def parse(cell: str | float | Decimal) -> float | None:
        if isinstance(cell, str) and not NUMBER.fullmatch(cell.strip()):
            return None
        value = float(cell)
        return value + 0.0 if math.isfinite(value) and value >= low else None  # + 0.0: no negative zero

    return Rule(f"a finite number of at least {low:g}", parse, "float64", "numbers")


def choice(options: tuple[str, ...]) -> Rule:
    def parse(cell: str) -> str | None:
        return cell if cell in options else None

    return Rule(f"one of {', '.join(options)}", parse, object, "text", options)


def same_file(name: str) -> str:
    """Equal for names that are one file on some file system: case and composition don't count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _walk_name(cell: str) -> str | None:
    edges = not cell.strip() or cell != cell.strip() or cell.startswith(".")
    inside = any(part in cell for part in ("/", "\\", ".."))
    inside = inside or any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in cell)
    fits = len(cell.encode()) <= 120 and not RESERVED.fullmatch(same_file(cell))
    return cell if fits and not edges and not inside else None


WALK_NAME = Rule(
    "a file name of at most 120 bytes without '/', '\\', '..', control characters, a dot in front or spaces at the "
    "ends, and not of the form still-000000, which stills have",
    _walk_name,
    object,
    "text",
)


def read_labels(raw: RawTable, problems: Problems) -> dict[str, Any]:
    """The columns that are not in COLUMNS, with their types."""
    labels = {}
    for name, column in raw.columns.items():
        if name in COLUMNS or name in raw.broken:
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
class Sheet:
    """The raw columns, and where their errors go."""

    raw: RawTable
    problems: Problems

    def refuse(self, name: str, bad: npt.NDArray[np.bool_], tell: Callable[[int], tuple[str, str]]) -> None:
        """An error for every row that is bad; `tell` gives (required, got) at a position."""
        positions = np.flatnonzero(bad)
        for position in positions[:LISTED].tolist():
            self.problems.add(*tell(position), row=int(self.raw.rows[position]), column=name)
        self.problems.skip(max(0, len(positions) - LISTED))

    def column(self, name: str, kind: str) -> Any:
        """The column with null for every empty cell; all null where it is missing or not of a `kind` type."""
        column = self.raw.columns.get(name)
        empty = pa.chunked_array([pa.nulls(len(self.raw.rows), pa.large_string())])
        if column is None or column.null_count == len(column):
            return empty
        if is_text(column.type):
            return _empty_to_null(column)
        number = any(
            is_kind(column.type) for is_kind in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        )
        if kind == "numbers" and number:
            return column
        self.problems.add(kind, f"a column of {column.type}", column=name)
        return empty

    def cells(self, name: str, rule: Rule, default: Any) -> Cells:
        """Parses every distinct content once."""
        column = self.column(name, rule.kind)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.decimal256(76, column.type.scale))  # the small ones have no dictionary_encode
        encoded = column.combine_chunks().dictionary_encode()
        contents = encoded.dictionary
        codes = encoded.indices.fill_null(-1).to_numpy()
        if default is not None and rule.parse(default) is None:
            if (codes < 0).any() and name not in self.raw.broken:
                self.problems.add(rule.required, f"{show(default)}, the job's default", column=name)
            default = 0
        parts = (contents.slice(start, CHUNK).to_pylist() for start in range(0, len(contents), CHUNK))
        parsed = [rule.parse(content) for part in parts for content in part]
        bad = np.array([*(value is None for value in parsed), False])[codes]  # -1, the empty cell, is the last
        self.refuse(name, bad, lambda i: (rule.required, rule.got(contents[codes[i]].as_py())))
        values = np.array([*(default if value is None else value for value in parsed), default], rule.dtype)
        return Cells(values[codes], codes, bad)


def _empty_to_null(column: Any) -> Any:
    empty = pc.equal(column, "")
    return pc.if_else(empty, pa.scalar(None, column.type), column) if pc.any(empty).as_py() else column


def _type_by_content(column: Any) -> Any:
    """CSV text as int64, double or bool where every cell reads so, and text otherwise; empty cells are null.

    Only what loses nothing becomes a number: `007`, and integers of too many digits, stay text.
    """
    column = _empty_to_null(column)
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
    """The type that comes back from a Parquet file, where seconds become milliseconds."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"": column.slice(0, 0)}), sink)
    return pq.ParquetFile(sink.getvalue()).schema_arrow.field(0).type


def _label_fault(name: str) -> tuple[str, str] | None:
    """(required, got) where a column that is not in COLUMNS can't be a label, for a typo must not lose a setting."""
    plain = re.sub(r"[\s-]+", "_", name.strip().casefold())
    near = [column for column in COLUMNS if sorted(column) == sorted(plain)]  # letters swapped
    near = [ALIASES[plain]] if plain in ALIASES else near or difflib.get_close_matches(plain, COLUMNS, 1, 0.85)
    if not near and plain not in STORE_COLUMNS:
        return None
    required = "a column of the manifest, or a label's name that is not nearly one and no column of the store"
    return required, show(name) + _nearest(plain, tuple(near))


def _exact_integer(cell: str | float | Decimal) -> int | None:
    if isinstance(cell, str):
        match = INTEGER.fullmatch(cell.strip())
        return int(match[1]) if match else None
    if isinstance(cell, float) and not abs(cell) <= FLOAT_EXACT:  # NaN, too
        return None
    return int(cell) if cell == int(cell) else None


def _nearest(word: str, options: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(word.casefold(), options)
    return f" (nearest: {', '.join(near or options)})" if near or len(options) == 1 else ""
