"""JSON Lines → raw columns: one object a line, its names the columns; a name that a line lacks is an empty cell."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from render.core import shorten
from render.manifest.formats.text import open_text
from render.manifest.problems import Problems, show
from render.manifest.raw import CHUNK, RawTable, column_keys

__all__ = ["read_json_lines"]

FLOAT_EXACT = 2**53  # up to here, a float64 holds every integer
Parts = list[Any]  # of a column: an Arrow array for each chunk, or the chunk's values as a list


def read_json_lines(path: Path, problems: Problems) -> RawTable:
    """Return the columns of all objects, in the order in which their names come first. Blank lines don't count."""
    columns: dict[str, Parts] = {}
    rows = array("q")
    with open_text(path, problems) as file:
        objects = _objects(file, problems)
        while chunk := list(islice(objects, CHUNK)):
            count = len(rows)
            rows.extend(row for row, _ in chunk)
            for name in dict.fromkeys(name for _, values in chunk for name in values):
                parts = columns.setdefault(name, [pa.nulls(count)] if count else [])
                parts.append(_packed([values.get(name) for _, values in chunk]))
            for parts in columns.values():
                if (missing := len(rows) - sum(map(len, parts))) > 0:
                    parts.append(pa.nulls(missing))
    keys = column_keys(list(columns), problems)
    arrays = {key: _joined(parts) for key, parts in zip(keys, columns.values(), strict=True)}
    return RawTable(arrays, np.array(rows, np.int64))


def _objects(lines: Iterable[str], problems: Problems) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the values of each object."""
    row = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row += 1
        try:
            line.encode()
            value = json.loads(line, object_pairs_hook=_object)
            if r"\ud" in line.casefold():  # an escape that may be half of a surrogate pair
                json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            got = f"{show(line.encode(errors='surrogateescape'))} (Windows-1252? Save it as UTF-8)"
            problems.add("text in UTF-8", got, row=row)
        except (ValueError, RecursionError) as error:
            why = " (a list over several lines? Here every line is one object)" if line.strip() in ("[", "{") else ""
            why = " (a comma behind the object? None stands between lines)" if line.rstrip().endswith("},") else why
            problems.add("one JSON object on every line", f"{_reason(error)} on line {number}{why}", row=row)
        else:
            if isinstance(value, dict):
                yield row, value
                continue
            problems.add("one JSON object on every line", f"{show(value)} on line {number}", row=row)
        if problems.total > 100:
            return


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "lists and objects nested too deep"
    return "an integer of thousands of digits" if "digits" in str(error) else shorten(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return found


def _packed(values: list[Any]) -> Any:
    """Return the values of a chunk as an Arrow array; as they are, where they are of several types."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {str} or kinds in ({bool}, {float}, {int}):
        try:
            return pa.array(values, pa.large_string() if kinds == {str} else None)
        except (OverflowError, pa.ArrowException):  # an integer of more than 64 bits
            pass
    return values


def _joined(parts: Parts) -> Any:
    """Return a whole column: of the chunks' type if they agree, or else what its values have in common."""
    kinds = {part.type for part in parts if not isinstance(part, list) and not pa.types.is_null(part.type)}
    if len(kinds) <= 1 and not any(isinstance(part, list) for part in parts):
        kind = kinds.pop() if kinds else pa.null()
        return pa.chunked_array([part.cast(kind) for part in parts], kind)
    values = [value for part in parts for value in (part if isinstance(part, list) else part.to_pylist())]
    return pa.chunked_array([_common(values)])


def _common(values: list[Any]) -> Any:
    """Return an array of values of several types: numbers if that loses nothing, nested values, or text as CSV has it."""
    values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    exact = all(abs(value) <= FLOAT_EXACT for value in present if type(value) is int)
    if kinds == {int} or (kinds == {int, float} and exact) or kinds <= {dict} or kinds <= {list}:
        for kind in (None, pa.uint64()) if kinds == {int} else (None,):
            try:
                return pa.array(values, kind)
            except (OverflowError, pa.ArrowException):
                continue
    cells = [
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values
    ]
    return pa.array(cells, pa.large_string())
