"""Find out what separates the columns of a CSV or TSV file: comma, semicolon or tab; and how its quotes are meant."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

from render.core import table_ending
from render.manifest.formats.text import open_text
from render.manifest.problems import Problems, show

__all__ = ["SEPARATORS", "Dialect", "find_dialect"]

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
OTHER_SIGNS = re.compile(r"\||:|  +")  # that people separate columns with
KEYS = ("prompt", "template")  # a reading of the header that has one of these columns is the likely one


@dataclass(frozen=True, slots=True)
class Dialect:
    """The way in which the text of a file is cut into cells."""

    separator: str
    hint: bool = False  # the first line is Excel's `sep=;`, and no header
    skip_spaces: bool = False  # spaces behind a separator are no part of the text
    quotes: bool = True  # False: a quote is a sign like others, as in a TSV that nobody quoted

    def records(self, path: Path, problems: Problems) -> Iterator[list[str]]:
        """Yield the fields of all lines that are not blank. Raises csv.Error where a quote stands wrongly."""
        with open_text(path, problems) as file:
            if self.hint:
                next(file)
            reader = csv.reader(
                file,
                delimiter=self.separator,
                strict=True,
                quoting=0 if self.quotes else 3,
                skipinitialspace=self.skip_spaces,
            )
            yield from filter(None, reader)


def find_dialect(path: Path, problems: Problems) -> Dialect:
    """Return the dialect in which header and rows make the table that was meant. Raises ManifestError in doubt."""
    usual = "\t" if table_ending(path) == ".tsv" else ","
    if said := _hinted(path, problems):
        return _checked(Dialect(said, hint=True), path, problems)
    headers = {one: _header(Dialect(one), path, problems) for one in SEPARATORS}
    found = {one: names for one, names in headers.items() if len(names) > 1}
    if not found:
        _check_single(headers[usual], problems)
        return _tab_dialect(path, problems) if usual == "\t" else _checked(Dialect(usual), path, problems)
    separator = next(iter(found)) if len(found) == 1 else _choose(found, path, problems)
    return _tab_dialect(path, problems) if separator == "\t" else _checked(Dialect(separator), path, problems)


def _choose(found: dict[str, list[str]], path: Path, problems: Problems) -> str:
    """Return the separator of the one likely reading: with a prompt in the header, and every row as wide as the header."""
    likely = [one for one, names in found.items() if any(name.strip().casefold() in KEYS for name in names)]
    even = [one for one in found if _is_even(Dialect(one), path, problems)]
    both = [one for one in likely if one in even]
    chosen = both if likely and even else likely or even
    if len(chosen) == 1:
        return chosen[0]
    readings = "; ".join(f"with {SEPARATORS[one]} the columns {show(names)}" for one, names in found.items())
    return problems.fatal("one way to cut header and rows into columns (quotes around a text keep it whole)", readings)


def _check_single(header: list[str], problems: Problems) -> None:
    """Refuse a header of one column that is a comment, or that another sign divides."""
    for name in header[:1]:
        if name.lstrip().startswith("#"):
            problems.fatal("the names of the columns in the first line", f"{show(name)} (a comment? Remove it)")
        if len(parts := OTHER_SIGNS.split(name)) > 1 and any(part.strip().casefold() in KEYS for part in parts):
            problems.fatal("columns separated by commas, semicolons or tabs", f"the header {show(name)}")


def _checked(dialect: Dialect, path: Path, problems: Problems) -> Dialect:
    """Return the dialect. Refuses spaces in front of a quote where they change what the quote holds together."""
    sign = f"{dialect.separator} "
    with open_text(path, problems) as file:
        if not any(f'{sign}"' in line or (f"{sign} " in line and '"' in line) for line in file):
            return dialect
    skipping = replace(dialect, skip_spaces=True)
    try:
        pairs = zip_longest(dialect.records(path, problems), skipping.records(path, problems), fillvalue=list[str]())
        for number, (one, two) in enumerate(pairs):
            if [cell.lstrip(" ") for cell in one] != [cell.lstrip(" ") for cell in two]:
                got = f"row {number} is {show(two)} without the spaces in front of quotes, {show(one)} with them"
                problems.fatal("one way to read the quotes (they stand right behind the separator)", got)
    except csv.Error:
        pass  # reported when the rows are read
    return dialect


def _hinted(path: Path, problems: Problems) -> str:
    """Return the separator that a first line such as `sep=;` names, "" for a file without."""
    with open_text(path, problems) as file:
        first = file.readline(10).rstrip("\n")
    separator = first.casefold().strip('"').removeprefix("sep=")
    return separator if separator in SEPARATORS and first.casefold().strip('"').startswith("sep=") else ""


def _header(dialect: Dialect, path: Path, problems: Problems) -> list[str]:
    """Return the header, [] where the file can't be cut so."""
    try:
        return next(dialect.records(path, problems), [])
    except csv.Error:
        return []


def _is_even(dialect: Dialect, path: Path, problems: Problems) -> bool:
    """Return True if every row has as many fields as the header."""
    try:
        return len({len(fields) for fields in dialect.records(path, problems)}) == 1
    except csv.Error:
        return False


def _tab_dialect(path: Path, problems: Problems) -> Dialect:
    """Return how quotes are meant between tabs, where many programs write them as they stand in the text.

    They are signs like others if no other reading is even; two even readings of other rows are refused.
    """
    quoted, plain = Dialect("\t"), Dialect("\t", quotes=False)
    if not _is_even(plain, path, problems):
        return quoted
    if not _is_even(quoted, path, problems):
        return plain
    one_way, other_way = quoted.records(path, problems), plain.records(path, problems)
    for number, (one, two) in enumerate(zip_longest(one_way, other_way, fillvalue=list[str]())):
        if any("\n" in cell for cell in one):
            got = f"row {number} is {show(one)} if quotes hold lines together, {show(two)} if not"
            problems.fatal("one way to read the quotes (a table with commas has only one)", got)
    return quoted
