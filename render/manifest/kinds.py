"""The kinds of cells: integers, numbers, words, yes and no, names; with the likely reason why a cell is none."""

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

from render.core import file_name_key
from render.manifest.problems import show

__all__ = ["MISSING", "NAME_BYTES", "WALK_NAME", "ColumnRule", "Rule", "choice", "finite", "flag", "integer", "nearest"]

NAME_BYTES = 120  # of a walk's name
FLOAT_EXACT = 2**53  # up to here, a float64 holds every integer
INTEGER = re.compile(r"([+-]?[0-9]{1,40})(\.0+)?")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
INT64_MAX = 2**63 - 1
MISSING = ("nan", "na", "<na>", "n/a", "null", "none")  # what programs write where a value is missing, in lower case
RESERVED = re.compile(r"still-[0-9]{6,}(-[0-9]{4,})?( .*)?")


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule for the cells of one column."""

    required: str
    parse: Callable[[Any], Any]  # the value of a cell that is not empty, None where it breaks the rule
    dtype: Any  # numpy's, of the values
    kind: Literal["text", "numbers", "yes or no"]  # of the cells; text of numbers or of yes and no is fine, too
    reason: Callable[[Any], str] = lambda _: ""  # why a cell may break the rule, as it follows the cell in an error

    def got(self, cell: Any) -> str:
        """Return the cell as an error shows it, with the likely reason."""
        return show(cell) + self.reason(cell)


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
    kind = "uint64" if high > INT64_MAX else "int64"
    return Rule(f"{what}, {low} … {high}{unit}", parse, kind, "numbers", why_no_integer)


def finite(low: float, high: float = math.inf) -> Rule:
    """Return the rule for finite numbers from `low` to `high`."""

    def parse(cell: str | float | Decimal) -> float | None:
        if isinstance(cell, str) and not NUMBER.fullmatch(cell.strip()):
            return None
        value = float(cell)
        return value + 0.0 if math.isfinite(value) and low <= value <= high else None  # + 0.0: no negative zero

    required = f"a finite number of at least {low:g}" if high == math.inf else f"a number, {low:g} … {high:g}"
    return Rule(required, parse, "float64", "numbers", why_no_number)


def choice(options: tuple[str, ...]) -> Rule:
    def parse(cell: str) -> str | None:
        return cell if cell in options else None

    required = f"one of {', '.join(options)}"
    return Rule(required, parse, object, "text", lambda cell: nearest(str(cell), options))


def flag() -> Rule:
    """Return the rule for yes and no, as people and as other programs write them."""
    meanings = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    return Rule("yes or no", lambda cell: meanings.get(str(cell).strip().casefold()), np.bool_, "yes or no")


def _walk_name(cell: str) -> str | None:
    edges = not cell.strip() or cell != cell.strip() or cell.startswith(".")
    inside = any(part in cell for part in ("/", "\\", ".."))
    inside = inside or any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in cell)
    fits = len(cell.encode()) <= NAME_BYTES and not RESERVED.fullmatch(file_name_key(cell))
    return cell if fits and not edges and not inside and cell.casefold() not in MISSING else None


def _why_no_name(cell: str) -> str:
    return " (a missing value? Leave the cell empty)" if str(cell).casefold() in MISSING else ""


WALK_NAME = Rule(
    f"a file name of at most {NAME_BYTES} bytes without '/', '\\', '..', control characters, a dot in front or spaces "
    "at the ends, and not of the form still-000000, which stills have",
    _walk_name,
    object,
    "text",
    _why_no_name,
)


def _exact_integer(cell: str | float | Decimal) -> int | None:
    if isinstance(cell, str):
        match = INTEGER.fullmatch(cell.strip())
        return int(match[1]) if match else None
    if isinstance(cell, float) and not abs(cell) <= FLOAT_EXACT:  # NaN, too
        return None
    return int(cell) if cell == int(cell) else None


def why_no_integer(cell: Any) -> str:
    """Return the likely reason why a cell is no integer in its range, "" for no idea."""
    if isinstance(cell, float) and math.isfinite(cell) and abs(cell) > FLOAT_EXACT:
        return ", rounded by its float column"
    text = str(cell).strip()
    if match := re.fullmatch(r"[0-9]{1,3}(([, '\u00a0\u202f])[0-9]{3})+", text):
        signs = "commas" if match[2] == "," else "signs between them"
        return f" (looks like thousands with {signs}: {re.sub('[^0-9]', '', text)})"
    if re.fullmatch(r"0[xX][0-9a-fA-F]+", text):
        return f" (looks like hexadecimal: {int(text, 16)})"
    if re.fullmatch(r"[0-9]+([.,][0-9]+)?[eE][+]?(0?[6-9]|1[0-9])", text):
        return " (looks rounded by a spreadsheet: its digits are lost there)"
    return ""


def why_no_number(cell: Any) -> str:
    """Return the likely reason why a cell is no number, "" for no idea."""
    if re.fullmatch(r"[+-]?[0-9]+,[0-9]+", str(cell).strip()):
        return (
            " (looks like a decimal comma, which is read where semicolons separate the columns and no cell has a point)"
        )
    return ""


def nearest(word: str, options: tuple[str, ...]) -> str:
    """Return a hint for an error, "" when no option is near."""
    near = difflib.get_close_matches(word.casefold(), options)
    return f" (nearest: {', '.join(near or options)})" if near or len(options) == 1 else ""
