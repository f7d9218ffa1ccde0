"""Compare the manifest of an output folder with another one, cell by cell, and add rows to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import column_names
from render.manifest.problems import show
from render.manifest.raw import is_text
from render.manifest.stored import Manifest

__all__ = ["append_rows", "compare_manifests", "same_rows"]

OWN = column_names(stored=True)
COUNTED = ("source_row", "seed")  # that follow from the row's number, where a still has no seed of its own
CELLS = 2  # of a column that are reported in full
COLUMNS = 5  # that are reported


def compare_manifests(then: Manifest, now: Manifest) -> list[str]:
    """Return what differs, as lines: labels and types, rows that were removed, added or moved, or else single cells.

    Rows past the end of `then` count as a difference, too. [] for equal manifests; numbers of rows themselves don't count.
    """
    a, b = then.rows(), now.rows()
    lines = list(_labels(a, b))
    if b.num_rows != a.num_rows:
        lines.append(_moved(a, b) or _count(a, b))
    elif order := _reordered(a, b):
        lines.append(order)
    if not lines or lines[-1].startswith("label"):
        lines += _cells(a, b)
    return lines


def same_rows(then: Manifest, now: Manifest) -> npt.NDArray[np.bool_]:
    """Return for each place that both have, [min(N, M)], whether the rows there say the same in every column of `then`."""
    count = min(then.row_count, now.row_count)
    a, b = then.rows(0, count), now.rows(0, count)
    same = np.ones(count, np.bool_)
    for name in a.column_names:
        if name != "source_row":
            same &= ~_differing(a[name], b[name] if name in b.column_names else pa.nulls(count))
    if extra := [name for name in b.column_names if name not in a.column_names]:
        for name in extra:
            same &= b[name].is_null().to_numpy(zero_copy_only=False)
    return same


def append_rows(then: Manifest, more: Manifest) -> Manifest:
    """Return a manifest with the rows of `more` at its end; labels that these lack are empty there.

    Raises ValueError with a line for each label that `then` does not have, or has with another type: the shards of a store
    have one schema.
    """
    a, b = then.rows(), more.rows()
    if faults := list(_labels(a, b, lacking=False)):
        raise ValueError("\n".join(faults))
    columns = [
        _fit(b[name], a[name].type) if name in b.column_names else pa.nulls(b.num_rows, a[name].type)
        for name in a.column_names
    ]
    return replace(then, _table=pa.concat_tables([a, pa.table(columns, a.column_names)]))


def _labels(a: Any, b: Any, lacking: bool = True) -> Iterator[str]:
    """Yield a line for each label that only one table has (with `lacking`, also the first), or with another type."""
    for name in a.column_names:
        if name not in b.column_names and lacking:
            yield f"label {name!r}: there then, not now"
    for name in b.column_names:
        if name not in a.column_names:
            yield f"label {name!r}: not there then, there now"
        elif _fit(b[name], a[name].type) is None:
            yield f"label {name!r}: {_named(a[name].type)} then, {_named(b[name].type)} now"


def _named(kind: Any) -> str:
    return "string" if is_text(kind) else str(kind)


def _fit(column: Any, kind: Any) -> Any:
    """Return a column with another type that holds its values as they are; None where it can't."""
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column), kind)])
    integers = pa.types.is_integer(column.type)
    wider = integers and (pa.types.is_integer(kind) or pa.types.is_floating(kind) or is_text(kind))
    if column.type != kind and not wider and not (is_text(column.type) and is_text(kind)):
        return None
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        return None


def _differing(a: Any, b: Any) -> npt.NDArray[np.bool_]:
    """Return [N], true where two columns differ. Empty cells are equal, and so are two NaN."""
    fitted = _fit(b, a.type)
    if fitted is not None and a.equals(fitted):
        return np.zeros(len(a), np.bool_)
    if fitted is None or pa.types.is_nested(a.type):
        pairs = zip(a.to_pylist(), b.to_pylist(), strict=True)
        return np.fromiter((repr(x) != repr(y) for x, y in pairs), np.bool_, len(a))
    other = pc.not_equal(a, fitted).fill_null(False)
    if pa.types.is_floating(a.type):
        other = pc.and_not(other, pc.and_(pc.is_nan(a), pc.is_nan(fitted)).fill_null(False))
    one_empty = pc.xor(a.is_null(), fitted.is_null())
    return np.asarray(pc.or_(other, one_empty).to_numpy(), np.bool_)


def _digests(table: Any) -> npt.NDArray[np.int64]:
    """Return a number for each row, [N], equal for rows with equal cells, but for what follows from their numbers."""
    columns = [table[name].to_pylist() for name in table.column_names if name not in COUNTED]
    return np.fromiter((hash(repr(row)) for row in zip(*columns, strict=True)), np.int64, table.num_rows)


def _moved(a: Any, b: Any) -> str:
    """Return a line on rows that were removed from the table, or put between others; "" where there is more to it."""
    x, y = _digests(a), _digests(b)
    fewer, more = (x, y) if len(x) < len(y) else (y, x)
    longer = a if len(x) > len(y) else b
    lost = len(more) - len(fewer)
    unlike = np.flatnonzero(fewer != more[: len(fewer)])
    first = int(unlike[0]) if len(unlike) else len(fewer)
    if not np.array_equal(fewer[first:], more[first + lost :]):
        return ""
    rows = _span(longer["source_row"].slice(first, lost))
    if longer is a:
        return f"{rows} of then {'are' if lost > 1 else 'is'} not there now"
    if first < len(fewer):
        return f"{rows} {'are' if lost > 1 else 'is'} new: rows may be added at the end only"
    return f"{rows} {'are' if lost > 1 else 'is'} new"


def _span(rows: Any) -> str:
    first, last = rows[0].as_py(), rows[-1].as_py()
    return f"row {first}" if first == last else f"rows {first} … {last}"


def _count(a: Any, b: Any) -> str:
    """Return a line on tables of different lengths, which differ in their cells as well."""
    cells = list(_cells(a.slice(0, b.num_rows), b.slice(0, a.num_rows)))
    return "\n".join([f"{a.num_rows:,} rows then, {b.num_rows:,} now", *cells])


def _reordered(a: Any, b: Any) -> str:
    """Return a line on rows that are the same in another order, "" for others."""
    x, y = _digests(a), _digests(b)
    unlike = np.flatnonzero(x != y)
    if not len(unlike) or not np.array_equal(np.sort(x), np.sort(y)):
        return ""
    first = int(unlike[0])
    came = int(np.flatnonzero(x == y[first])[0])
    others = len(unlike) - 1
    more = f", and {others} other row{'s' if others > 1 else ''} moved, too" if others else ""
    return f"row {b['source_row'][first].as_py()} holds now what row {a['source_row'][came].as_py()} held{more}"


def _cells(a: Any, b: Any) -> Iterator[str]:
    """Yield lines on the cells that differ in tables of one length, by column: a few, and the number of the others."""
    found = []
    for name in a.column_names:
        fits = name in b.column_names and _fit(b[name], a[name].type) is not None  # others are reported as labels
        if fits and name != "source_row" and len(places := np.flatnonzero(_differing(a[name], b[name]))):
            found.append((name, places))
    for name, places in found[:COLUMNS]:
        for place in places[:CELLS].tolist():
            values = show(a[name][place].as_py()), show(b[name][place].as_py())
            yield f"row {b['source_row'][place].as_py()}, column {name!r}: {values[0]} then, {values[1]} now"
        if (more := len(places) - CELLS) > 0:
            yield f"column {name!r}: and {more:,} other row{'s' if more > 1 else ''}"
    if len(found) > COLUMNS:
        yield f"and {len(found) - COLUMNS} other columns: {', '.join(repr(name) for name, _ in found[COLUMNS:])}"
