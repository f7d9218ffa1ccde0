"""The types of labels: by content in CSV, and in a form that every reader of a store has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.manifest.cells import empty_to_null, is_missing

__all__ = ["parquet_type", "readable_type", "type_by_content"]

DECIMAL_DIGITS = 38  # of Polars' and DuckDB's decimals
LISTS: dict[Callable[[Any], bool], Callable[[Any, Any], Any]] = {  # test of a type: the list of other items, as it was
    pa.types.is_list: lambda item, _: pa.list_(item),
    pa.types.is_large_list: lambda item, _: pa.large_list(item),
    pa.types.is_fixed_size_list: lambda item, kind: pa.list_(item, kind.list_size),
}
UNREADABLE: dict[Callable[[Any], bool], str] = {  # test of a type: why not every reader of a store has it
    pa.types.is_list_view: "Polars reads no views of lists; a list is read by all",
    pa.types.is_large_list_view: "Polars reads no views of lists; a list is read by all",
    pa.types.is_duration: "DuckDB reads no durations; a number of seconds is read by all",
    pa.types.is_decimal: f"DuckDB and Polars read decimals of at most {DECIMAL_DIGITS} digits; text is read by all",
}
DAY = "[1-9][0-9]{3}-[01][0-9]-[0-3][0-9]"  # of ISO 8601, from the year 1000
TIME = r"[T ][0-2][0-9]:[0-5][0-9](:[0-5][0-9]([.][0-9]{1,6})?)?"
CONTENTS = {  # pattern of every cell: the type that holds it without loss
    r"^(0|-?[1-9][0-9]{0,18})$": pa.int64(),
    r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$": pa.float64(),
    r"^(true|false|True|False|TRUE|FALSE)$": pa.bool_(),
    f"^{DAY}$": pa.date32(),
    f"^{DAY}{TIME}$": pa.timestamp("us"),
    f"^{DAY}{TIME}(Z|[+]00:00)$": pa.timestamp("us", "UTC"),
}


def type_by_content(column: Any) -> Any:
    """Return a CSV column as int64, double, bool, date or time if every cell reads so, else as text; empty cells are null.

    Only what loses nothing gets another type: `007`, integers of too many digits, and times of another zone than UTC stay
    text. Among cells of such a type, NaN and NA are empty ones.
    """
    column = empty_to_null(column)
    cells = column.filter(pc.invert(is_missing(column)).fill_null(False))  # a text NA stays one beside other texts
    for pattern, kind in CONTENTS.items():
        if len(cells) and pc.all(pc.match_substring_regex(cells, pattern)).as_py():
            try:
                typed = pc.if_else(is_missing(column), pa.scalar(None, column.type), column).cast(kind)
            except pa.ArrowInvalid:  # 19 digits, and over the largest int64; 30 February
                continue
            if kind != pa.float64() or pc.all(pc.is_finite(typed)).as_py():
                return typed
    return column


def readable_type(kind: Any) -> Any:
    """Return the type of the same values that `datasets`, DuckDB, pandas and Polars read. Raises ValueError for no such.

    A map, which `datasets` can't open, becomes a list of structs with `key` and `value`.

    >>> readable_type(pa.list_(pa.decimal32(5, 2)))
    ListType(list<item: decimal128(5, 2)>)
    >>> readable_type(pa.map_(pa.string(), pa.int64()))
    ListType(list<item: struct<key: string, value: int64>>)
    """
    if pa.types.is_map(kind):
        pair = [("key", readable_type(kind.key_type)), ("value", readable_type(kind.item_type))]
        return pa.list_(pa.struct(pair))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(readable_type(field.type)) for field in kind])
    for is_kind, make in LISTS.items():
        if is_kind(kind):
            return make(kind.value_field.with_type(readable_type(kind.value_type)), kind)
    return _readable_leaf(kind)


def _readable_leaf(kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return readable_type(kind.value_type)
    if pa.types.is_null(kind):  # inside a list or struct
        return pa.string()
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
    if pa.types.is_decimal(kind) and kind.precision <= DECIMAL_DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    for is_kind, why in UNREADABLE.items():
        if is_kind(kind):
            raise ValueError(why)
    return kind


def parquet_type(column: Any) -> Any:
    """Return the type that comes back from a Parquet file: seconds become milliseconds, for one."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"": column.slice(0, 0)}), sink)
    return pq.ParquetFile(sink.getvalue()).schema_arrow.field(0).type
