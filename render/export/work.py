"""The values that flow from a checked export to its files: the choice, the frames, and the parts they are written in."""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from render.catalog import CatalogColumn
from render.export.value import Export

__all__ = ["Choice", "Part", "Sample", "Work", "is_split", "plain_json"]

SPLIT = re.compile(r"\w+(\.\w+)*")  # names that `datasets` takes
NAME_MAX = 100  # characters of a split's name, which is part of file names
ALL = "all"  # name by which `datasets` means the sum of all splits


@dataclass(frozen=True, slots=True)
class Choice:
    """An export that was checked against the table of frames."""

    export: Export
    columns: tuple[CatalogColumn, ...]  # beside the picture
    shares: tuple[tuple[str, float], ...]  # (split, share); (): the column that `splits` names has the split
    shard_bytes: int  # of pictures, in a file with many


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame as it is exported."""

    name: str  # of its files, unique in the export, without an ending
    suffix: str  # png, webp or jpeg
    data: bytes  # encoded picture
    values: dict[str, Any]  # of the chosen columns
    caption: str  # on one line

    @property
    def file(self) -> str:
        return f"{self.name}.{self.suffix}"


@dataclass(frozen=True, slots=True)
class Part:
    """The grain of writing and resuming: a file with many pictures, or a folder of at most a thousand."""

    split: str
    number: int  # in its split, from 0
    rows_before: int  # of its split, in the parts before it

    @property
    def name(self) -> str:
        return f"{self.split}-{self.number:05d}"


@dataclass(frozen=True, slots=True)
class Work:
    """An export while it is written."""

    choice: Choice
    source: str  # name of the output folder
    schema: pa.Schema  # of the chosen columns
    frames: dict[str, int]  # of each split
    parts: dict[str, int] = field(default_factory=dict)  # of each split, once all are written

    @property
    def folder(self) -> Path:
        return self.choice.export.folder

    @property
    def notes(self) -> Path:
        """Folder of what a resume needs; nothing of it is published."""
        return self.folder / ".export"

    def lines(self, part: Part) -> Path:
        """Return the file in which a part of single pictures keeps its lines of the split's table."""
        return self.notes / f"{part.name}.lines"

    def all_lines(self, split: str) -> Iterator[bytes]:
        """Yield the lines of all parts of a split."""
        for number in range(self.parts.get(split, 0)):
            yield self.lines(Part(split, number, 0)).read_bytes()


def is_split(name: str) -> bool:
    """Return True for a name of a split that every target takes: `datasets` opens it, and no pattern of another's files
    (`data/train-*.parquet`) has its files, too.

    >>> [is_split(name) for name in ("train", "fold.1", "train-x", "all", "a b", "")]
    [True, True, False, False, False, False]
    """
    return bool(SPLIT.fullmatch(name)) and name.lower() != ALL and len(name) <= NAME_MAX


def plain_json(values: dict[str, Any]) -> str:
    """Return values as strict JSON on one line; what JSON has no form for becomes text, and NaN and infinity null.

    >>> plain_json({"day": dt.date(2026, 11, 27), "score": float("nan")})
    '{"day": "2026-11-27", "score": null}'
    """
    return json.dumps({name: _plain(value) for name, value in values.items()}, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, dt.date | dt.time):  # a datetime is a date
        return value.isoformat()
    return value if value is None or isinstance(value, str | int | bool) else str(value)
