"""Read a combination, a YAML file of columns with values to draw: every fault at once, each with its column or key."""

from __future__ import annotations

import datetime
import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from render.core import JobError
from render.job import read_yaml
from render.manifest import Problems, read_table, show
from render.templates.specs import PLACE, ROWS_MAX, Choice, Combination, Condition, Options, Range, Spec, Uniform

__all__ = ["read_combination"]

KEYS = ("columns", "exclude", "count", "each", "seed", "drop")
NAME = re.compile(r"[A-Za-z_]\w*")
SEED_MAX = 2**64 - 1
DECIMALS = 2  # of numbers that are drawn between others, where nothing is said
EXAMPLE = "a value, a list of values, weights such as {red: 3, blue: 1}, {uniform: [2, 8]}, {given: …, values: …}"


def read_combination(path: Path, problems: Problems) -> Combination:
    """Return the combination of a file. Raises ManifestError with everything that is wrong with it."""
    try:
        tree = read_yaml(path)
    except JobError as error:
        problems.fatal("a combination in YAML", str(error).partition("got ")[2])
    reader = _Reader(path, problems)
    for key in tree:
        if key not in KEYS:
            problems.add(f"one of the keys {', '.join(KEYS)}", show(key) + _near(key, KEYS))
    columns = tree.get("columns")
    if not isinstance(columns, dict) or not columns:
        problems.fatal("a key columns with names and values, such as {columns: {prompt: a cat}}", show(columns))
    for name, written in columns.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            problems.add("a name of letters, digits and _ for every column", show(name))
        else:
            reader.take(name, written)
    if "prompt" not in columns:
        problems.add("a column prompt, such as prompt: a {style} {thing}", show(list(columns)))
    excluded = tree.get("exclude") or []
    if not isinstance(excluded, list):
        problems.add("a list of conditions in exclude, such as [{style: 3d, colour: red}]", show(excluded))
        excluded = []
    exclude = tuple(reader.condition("exclude", one) for one in excluded)
    each = reader.each(tree)
    found = Combination(
        tuple(reader.specs.values()),
        exclude,
        reader.count(tree.get("count"), each),
        each,
        reader.integer("seed", tree.get("seed"), 0, SEED_MAX),
        frozenset(reader.names("drop", tree.get("drop"))),
    )
    problems.raise_any()
    return found


class _Reader:
    """Reads the parts of one file; what is wrong is added to `problems`."""

    def __init__(self, path: Path, problems: Problems) -> None:
        self._path, self._problems = path, problems
        self.specs: dict[str, Spec] = {}  # the columns above
        self._broken: set[str] = set()  # names of columns with a fault of their own

    def take(self, name: str, written: Any) -> None:
        """Add a column to those that are read."""
        spec = self._spec(name, written)
        if spec is None:
            self._broken.add(name)
        else:
            self.specs[name] = spec

    def each(self, tree: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the columns whose values are the classes."""
        each = self.names("each", tree.get("each"))
        ranges = [spec.name for spec in self.specs.values() if any(isinstance(one, Uniform) for one in spec.choices)]
        if odd := [name for name in each if name in ranges]:
            self._problems.add("columns with single values in each", show(odd))
        if ranges and "count" not in tree:
            self._problems.add(f"a count, as {ranges[0]!r} has numbers without end", "none")
        return each

    def _spec(self, name: str, written: Any) -> Spec | None:
        before = self._problems.total
        cases: list[tuple[Condition, Choice | None]] = []
        plain: Any = written
        if isinstance(written, dict) and "given" in written:
            cases, plain = self._given(name, written), written.get("otherwise")
        elif isinstance(written, dict) and "when" in written:
            plain = {key: value for key, value in written.items() if key != "when"}
            for case in self._list(name, written["when"]):
                own = {key: value for key, value in case.items() if key in ("values", "weights", "uniform", "decimals")}
                others = {key: value for key, value in case.items() if key not in own}
                cases.append((self.condition(name, others), self._choice(name, own)))
        needs_more = not (isinstance(written, dict) and "given" in written) or plain is not None
        otherwise = self._choice(name, plain) if needs_more else None
        if self._problems.total > before:
            return None
        return Spec(name, tuple((condition, choice) for condition, choice in cases if choice), otherwise)

    def _given(self, name: str, written: dict[Any, Any]) -> list[tuple[Condition, Choice | None]]:
        """Return the cases of values that depend on another column."""
        given, values = written["given"], written.get("values")
        if isinstance(given, list) or not isinstance(values, dict) or {*written} - {"given", "values", "otherwise"}:
            required = "{given: a column above, values: {its value: …}, otherwise: …}"
            self._problems.add(required, show(written), column=name)
            return []
        if not self.names(name, given):
            return []
        parent = str(given)
        cases = [(self.condition(name, {parent: key}), self._choice(name, own)) for key, own in values.items()]
        lacking = [value for value in self.specs[parent].values if value not in values]
        if written.get("otherwise") is None and (lacking or self.specs[parent].is_open):
            which = f"none for {', '.join(map(show, lacking)) or 'other numbers'}"
            self._problems.add(f"values for every value of {parent!r}, or a key otherwise", which, column=name)
        return cases

    def _choice(self, name: str, written: Any) -> Choice | None:
        """Return what is drawn from, of a list, weights, a table, a range or a single value."""
        weights: Any = None
        if isinstance(written, dict) and "uniform" in written:
            return self._uniform(name, written)
        if isinstance(written, dict) and "table" in written:
            return self._table(name, written)
        if isinstance(written, dict) and {*written} <= {"values", "weights"} and "values" in written:
            written, weights = written["values"], written.get("weights")
        if isinstance(written, dict) and written and all(_is_number(weight) for weight in written.values()):
            written, weights = list(written), list(written.values())
        values = written if isinstance(written, list) else [written]
        return self._options(name, values, [1] * len(values) if weights is None else weights)

    def _options(self, name: str, values: list[Any], weights: Any) -> Options | None:
        bad = [value for value in values if not _is_cell(value)]
        if bad or not values:
            self._problems.add(EXAMPLE, show(bad[0] if bad else values), column=name)
        elif len({*values}) < len(values):
            twin = next(value for place, value in enumerate(values) if value in values[:place])
            self._problems.add("every value once (weights make one more frequent)", show(twin), column=name)
        elif not isinstance(weights, list) or len(weights) != len(values) or not all(map(_is_number, weights)):
            self._problems.add(f"{len(values)} weights, one for each value", show(weights), column=name)
        elif min(weights) < 0 or not math.isfinite(total := math.fsum(weights)) or total <= 0:
            self._problems.add("weights of at least 0, one of them above", show(weights), column=name)
        else:
            self._check_places(name, values)
            pairs = [(value, float(weight)) for value, weight in zip(values, weights, strict=True) if weight]
            return Options(*map(tuple, zip(*pairs, strict=True)))
        return None

    def _check_places(self, name: str, values: list[Any]) -> None:
        """Refuse a place that names no column above."""
        places = [place for value in values if isinstance(value, str) for place in PLACE.findall(value)]
        for place in dict.fromkeys(places):
            if place not in self.specs and place not in self._broken:
                got = f"{{{place}}}{_near(place, [*self.specs, *self._broken])}"
                self._problems.add("places with the names of columns above", got, column=name)

    def _uniform(self, name: str, written: dict[Any, Any]) -> Uniform | None:
        ends, decimals = written["uniform"], written.get("decimals", DECIMALS)
        right = isinstance(ends, list) and len(ends) == 2 and all(_is_number(end) for end in ends)
        if not right or not ends[0] <= ends[1] or not math.isfinite(ends[0] - ends[1]):
            self._problems.add("two numbers, the lower first, such as {uniform: [2, 8]}", show(ends), column=name)
        elif {*written} - {"uniform", "decimals"} or type(decimals) is not int or not 0 <= decimals <= 12:
            self._problems.add("{uniform: [2, 8], decimals: 0 … 12}", show(written), column=name)
        else:
            whole = all(isinstance(end, int) for end in ends) and "decimals" not in written
            return Uniform(ends[0], ends[1], None if whole else decimals)
        return None

    def _table(self, name: str, written: dict[Any, Any]) -> Options | None:
        """Return the values of a table's column of this name, or of that named, with its column `weight`."""
        own, column = Problems(str(written["table"])), written.get("column", name)
        if {*written} - {"table", "column"} or not isinstance(written["table"], str):
            self._problems.add("{table: values.csv, column: name}", show(written), column=name)
            return None
        raw = read_table(self._path.parent / written["table"], own)
        if column not in raw.columns:
            self._problems.add(f"a column {column!r} in {written['table']}", show(list(raw.columns)), column=name)
            return None
        values = raw.columns[column].to_pylist()
        weights: Any = raw.columns["weight"].to_pylist() if "weight" in raw.columns else [1] * len(values)
        try:
            weights = [float(weight) for weight in weights]
        except (TypeError, ValueError):
            weights = raw.columns["weight"].slice(0, 3).to_pylist()
        return self._options(name, values, weights)

    def condition(self, where: str, written: Any) -> Condition:
        """Return a condition: columns with a value, a list of values, or {min: …, max: …}."""
        if not isinstance(written, dict) or not written:
            self._refuse(where, "a condition such as {style: 3d, colour: [red, blue]}", show(written))
            return {}
        found: dict[str, tuple[Any, ...] | Range] = {}
        for name, wanted in written.items():
            if not self.names(where, name):
                continue
            if isinstance(wanted, dict):
                ends = wanted.get("min", -math.inf), wanted.get("max", math.inf)
                if {*wanted} - {"min", "max"} or not all(_is_number(end) for end in ends):
                    self._refuse(where, f"{{min: 2, max: 5}} for {name!r}", show(wanted))
                else:
                    found[name] = Range(*ends)
                continue
            values, known = tuple(wanted) if isinstance(wanted, list) else (wanted,), self.specs[name].values
            found[name] = values
            for value in () if self.specs[name].is_open else values:
                if value not in known:
                    self._refuse(where, f"values that {name!r} can have", show(value) + _near(value, known))
        return found

    def names(self, where: str, written: Any) -> tuple[str, ...]:
        """Return the names of columns, of one or a list of them; those that are none are reported."""
        found = written if isinstance(written, list) else [] if written is None else [written]
        for name in found:
            if not isinstance(name, str) or name not in (*self.specs, *self._broken):
                required = "the name of a column" + " above" * (where not in KEYS)
                self._refuse(where, required, show(name) + _near(name, self.specs))
        return tuple(name for name in found if isinstance(name, str) and name in self.specs)

    def _refuse(self, where: str, required: str, got: str) -> None:
        """Add an error of a column, or of one of the file's other keys."""
        if where in KEYS:
            self._problems.add(f"{required} in {where}", got)
        else:
            self._problems.add(required, got, column=where)

    def _list(self, name: str, written: Any) -> Iterator[dict[Any, Any]]:
        if not isinstance(written, list) or not all(isinstance(case, dict) for case in written):
            self._problems.add("a list such as [{thing: rocket, values: [3d]}] in when", show(written), column=name)
            return iter(())
        return iter(written)

    def integer(self, key: str, written: Any, low: int, most: int) -> int | None:
        if written is None or (type(written) is int and low <= written <= most):
            return None if written is None else int(written)
        self._problems.add(f"an integer, {low} … {most}, in {key}", show(written))
        return None

    def count(self, written: Any, each: tuple[str, ...]) -> int | Mapping[Any, int] | None:
        """Return the rows of each class, or in all."""
        if not isinstance(written, dict):
            count = self.integer("count", written, 1, ROWS_MAX)
            if each and written is None:
                self._problems.add("a count of the rows of each", "none")
            return count
        if len(each) != 1:
            self._problems.add("one column in each, whose values count names", show(list(each)))
            return None
        for value, rows in written.items():
            self.condition("count", {each[0]: value})
            self.integer("count", rows, 0, ROWS_MAX)
        return written


def _near(value: object, known: Iterable[object]) -> str:
    near = difflib.get_close_matches(str(value), [*map(str, known)], 1)
    return f" (nearest: {near[0]})" if near else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool | datetime.date)
