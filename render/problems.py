"""The errors of a manifest, told all at once. Standard library only."""

from __future__ import annotations

from decimal import Decimal
from typing import NoReturn

from render.recipe import ManifestError

__all__ = ["LISTED", "Problems", "show"]

LISTED = 100  # errors told in full


class Problems:
    """The errors of one manifest, gathered so that all are told at once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.total = 0
        self.swept = False  # every row may come many times now; what is wrong with it is told once
        self._parts: list[tuple[int, str]] = []  # of a folder: rows before a file, and its name
        self._found: list[tuple[int, str]] = []  # (row, line): at least the first LISTED by row

    def add(self, required: str, got: str, *, row: int = 0, column: str | None = None, group: int = 0) -> None:
        """Row 0 stands for the whole file or column; a group, from 1, is the one of the sweep that sets the column."""
        before, file = max((part for part in self._parts if part[0] < row), default=(0, self.file))
        place = [f"group {group}"] if group else [f"row {row - before}"] if row else []
        place += [f"column {column!r}"] if column is not None else []
        where = ": ".join(["sweep" if group else file, *([", ".join(place)] if place else [])])
        found = (row, f"{where}: required {required}; got {' '.join(got.splitlines())}")
        if self.swept and found in self._found:
            return
        self._found.append(found)
        self.total += 1
        if len(self._found) > 10 * LISTED:
            self._found = self._first()

    @property
    def parts(self) -> tuple[tuple[int, str], ...]:
        """Of a folder: the rows before each of its files, and the file."""
        return tuple(self._parts)

    def take(self, before: int, part: Problems) -> None:
        """Takes over the errors of one file of a folder, that has so many rows in the files before it."""
        self._parts.append((before, part.file))
        self._found += [(before + row if row else 0, line) for row, line in part._found]
        self.total += part.total

    def skip(self, count: int) -> None:
        """Counts errors that can't be among the first LISTED."""
        self.total += count

    def raise_any(self) -> None:
        """Raises ManifestError with the first LISTED errors by row, if there are any."""
        if not self.total:
            return
        lines = [line for _, line in self._first()]
        more = self.total - len(lines)
        heading = f"{self.file}: {self.total} error{'s' if self.total > 1 else ''}"
        raise ManifestError("\n".join([heading, *lines, *([f"… and {more} more"] if more else [])])) from None

    def fatal(self, required: str, got: str) -> NoReturn:
        """Adds an error that leaves nothing to look at, and raises."""
        self.add(required, got)
        self.raise_any()
        raise AssertionError

    def _first(self) -> list[tuple[int, str]]:
        return sorted(self._found, key=lambda found: found[0])[:LISTED]


def show(value: object) -> str:
    """What was got, for an error: the value's repr, shortened."""
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
