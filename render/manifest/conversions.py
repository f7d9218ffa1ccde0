"""Columns that are read in another form: decimal commas, and `size`, which is width and height."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from render.core import COLUMNS, Number
from render.manifest.cells import CheckedTable
from render.manifest.kinds import ColumnRule, Rule
from render.manifest.names import OWN
from render.manifest.raw import RawTable, is_text

__all__ = ["split_size", "with_points"]

FRACTIONS = {column.name for column in COLUMNS if isinstance(column.cell, Number)}
FRACTIONS |= {"guidance", "true_guidance", "fps"}  # whose rules need more than the column
COMMA = r"^\s*[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?\s*$"
LABEL_WITH_COMMA = r"^-?(0|[1-9][0-9]{0,14})(,[0-9]+)?([eE][+-]?[0-9]{1,3})?$"
SIZE = re.compile(r"\s*([0-9]{1,6})\s*[xX×*]\s*([0-9]{1,6})\s*")
SIDES = ("width", "height")


def with_points(raw: RawTable) -> RawTable:
    """Return the table with decimal points for the decimal commas of files whose columns semicolons separate.

    In our columns of fractions a column with points is left as it is. A label's commas are decimal ones if all of its
    cells are numbers that way.
    """
    if not raw.comma_rows.any():
        return raw
    commas = pa.chunked_array([pa.array(raw.comma_rows)])
    columns = dict(raw.columns)
    for name, column in raw.columns.items():
        if not is_text(column.type) or (name in OWN and name not in FRACTIONS):
            continue
        with_comma = pc.and_(pc.match_substring_regex(column, COMMA).fill_null(False), commas)
        if not pc.any(with_comma).as_py():
            continue
        if name in OWN:
            fits = not pc.any(pc.and_(pc.match_substring(column, ".").fill_null(False), commas)).as_py()
        else:
            cells = column.filter(pc.not_equal(column, "").fill_null(False))
            fits = pc.all(pc.match_substring_regex(cells, LABEL_WITH_COMMA)).as_py() and bool(raw.comma_rows.all())
        if fits:
            columns[name] = pc.if_else(with_comma, pc.replace_substring(column, ",", "."), column)
    return replace(raw, columns=columns)


def _parse_size(cell: Any) -> str | None:
    match = SIZE.fullmatch(str(cell))
    return f"{match[1]}x{match[2]}" if match else None


def _why_no_size(_: Any) -> str:
    return " (is it a label? The job can say so: labels: [size])"


SIZE_RULE = ColumnRule(Rule("width and height as 512x768", _parse_size, object, "text", _why_no_size), None)


def split_size(checked: CheckedTable) -> RawTable:
    """Return the table with `width` and `height` in place of `size`, if it has one. Refuses a size beside one of them."""
    raw = checked.raw
    if "size" not in raw.columns:
        return raw
    for side in SIDES:
        if side in raw.columns:
            checked.problems.add(f"an empty column, for {side} is given, too", "values", column="size")
    cells = checked.cells("size", SIZE_RULE)
    sides: dict[str, Any] = {}
    for number, side in enumerate(SIDES):
        values = [size and size.split("x")[number] for size in cells.values.tolist()]
        sides[side] = pa.chunked_array([pa.array(values, pa.large_string())])
    columns: dict[str, Any] = {}
    for name, column in raw.columns.items():
        columns |= sides if name == "size" else {name: column}
    broken = raw.broken - {"size"} | ({*SIDES} if "size" in raw.broken else set())
    return replace(raw, columns=columns, broken=broken)
