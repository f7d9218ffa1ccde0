"""The errors of a manifest, reported all at once. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import NoReturn

from render.core import ManifestError

__all__ = ["LISTED", "Problems", "show"]

LISTED = 100  # errors reported in full


class Problems:
    """The errors of one manifest, gathered to be reported together."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.total = 0
        self.blamed: set[str] = set()  # columns that have an error
        self.swept: Mapping[str, int] = {}  # column → the group of the sweep that sets it, from 1; rows come many times
        self._warnings: dict[str, str] = {}  # text → the file that it is about, of several the first
        self._reported: set[tuple[int, str]] = set()  # under a sweep, so that each error is reported once
        self._parts: list[tuple[int, str]] = []  # of a folder: rows before a file, and its name
        self._found: list[tuple[int, str]] = []  # (row, line): at least the first LISTED by row

    def add(self, required: str, got: str, *, row: int = 0, column: str | None = None) -> None:
        """Add an error; row 0 stands for the file or column. In a column that a sweep sets, it is the sweep's."""
        self.blamed.add(column or "")
        before, file = max((part for part in self._parts if part[0] < row), default=(0, self.file))
        said = f"required {required}; got {' '.join(got.splitlines())}"
        where = [f"row {row - before}"] if row else []
        where += [f"column {column!r}"] if column is not None else []
        found = row, f"{': '.join([file, *([', '.join(where)] if where else [])])}: {said}"
        reported = found
        if group := self.swept.get(column or ""):
            reported = 0, f"sweep: group {group}, column {column!r}: {said}"
            place = f"row {row - before} of {file}" if self._parts else f"row {row}"
            found = 0, f"{reported[1]} (first on {place})" if row else reported[1]
        if reported in self._reported:
            return
        if self.swept:
            self._reported.add(reported)
        self._found.append(found)
        self.total += 1
        if len(self._found) > 10 * LISTED:
            self._found = self._first()

    def warn(self, text: str) -> None:
        """Note what will surprise but stops nothing; of a text that comes again, the first is kept."""
        self._warnings.setdefault(text, self.file)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings in their order, each with the name of its file."""
        return tuple(f"{PurePath(file).name}: {text}" for text, file in self._warnings.items())

    @property
    def parts(self) -> tuple[tuple[int, str], ...]:
        """Of a folder: the rows before each of its files, and the file."""
        return tuple(self._parts)

    def take(self, before: int, part: Problems) -> None:
        """Take over the errors of one file of a folder; `before` is the number of rows in the files before it."""
        self._parts.append((before, part.file))
        self._found += [(before + row if row else 0, line) for row, line in part._found]
        self.total += part.total
        for text, file in part._warnings.items():
            self._warnings.setdefault(text, file)

    def skip(self, count: int) -> None:
        """Count errors that can't be among the first LISTED."""
        self.total += count

    def raise_any(self) -> None:
        """Raise ManifestError with the first LISTED errors by row, if there are any."""
        if not self.total:
            return
        lines = [line for _, line in self._first()]
        more = self.total - len(lines)
        heading = f"{self.file}: {self.total} error{'s' if self.total > 1 else ''}"
        raise ManifestError("\n".join([heading, *lines, *([f"… and {more} more"] if more else [])])) from None

    def fatal(self, required: str, got: str) -> NoReturn:
        """Add an error that leaves nothing to look at, and raise."""
        self.add(required, got)
        self.raise_any()
        raise AssertionError

    def _first(self) -> list[tuple[int, str]]:
        return sorted(self._found, key=lambda found: found[0])[:LISTED]


def show(value: object) -> str:
    """Return a value as an error shows it: its repr, shortened."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
