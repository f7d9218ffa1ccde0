"""The manifest of a job with every default filled in: its walks, its fingerprint, and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from itertools import groupby, starmap
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.core import Keyframe, Walk, column_names, replacing, still_name
from render.manifest.labels import read_labels
from render.manifest.problems import Problems
from render.manifest.sweeping import SWEPT
from render.manifest.table import CHUNK, STORED, RawTable, is_text, read_table

__all__ = ["Manifest", "manifest_from", "read_stored", "stored_fingerprint"]

STORED_NAMES = column_names(stored=True)
WALK_SETTINGS = tuple(name for name in column_names("walk", stored=True) if name != "walk")
KEYFRAME_FIELDS = tuple(column.name for column in fields(Keyframe))  # as its positional arguments have them

_Row = tuple[str | None, int, tuple[Any, ...], Keyframe]  # walk, images of a still, settings of the walk, keyframe


@dataclass(frozen=True, eq=False)
class Manifest:
    """The keyframes of a job, with every default filled in."""

    name: str  # the file's stem
    _table: Any = field(
        repr=False
    )  # pa.Table: STORED_NAMES without an empty cell but `walk` of stills, then the labels
    _files: tuple[tuple[int, str], ...] = ()  # of a folder: the rows before each file, and its name

    @property
    def row_count(self) -> int:
        return int(self._table.num_rows)

    def select(self, *names: str) -> Any:
        """Return some columns as Arrow's table, [N]."""
        return self._table.select(list(names))

    def problems(self, file: str) -> Problems:
        """Return a collector of errors of this manifest's rows; `file` is its file or folder."""
        problems = Problems(file)
        for before, part in self._files:
            problems.take(before, Problems(part))
        return problems

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Names of the models that rows use, in the order of their first rows."""
        return tuple(pc.unique(self._table["model"]).to_pylist())

    @cached_property
    def sounds(self) -> dict[str, str]:
        """SHA-256 → path below the folder of media, of every sound that walks have."""
        pairs = self._table.select(["audio_sha256", "audio"]).group_by(["audio_sha256", "audio"]).aggregate([])
        return {pair["audio_sha256"]: pair["audio"] for pair in pairs.to_pylist() if pair["audio"]}

    @cached_property
    def label_schema(self) -> bytes:
        """The Arrow schema of `Keyframe.labels`, as `pa.ipc.read_schema` reads it. All text is `string`."""
        return bytes(self._labels.serialize().to_pybytes())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the content of the rows: the same for every file format, line end and order of our columns."""
        table = self._table if self._is_swept else self._table.drop_columns(["source_row"])  # they just count, then
        digests = [hashlib.sha256() for _ in table.columns]
        for start in range(0, self.row_count, CHUNK):
            for digest, column in zip(digests, table.slice(start, CHUNK).columns, strict=True):
                cells = json.dumps(column.to_pylist(), default=_jsonable)
                digest.update(f"{cells[1:-1]}, ".encode())  # one text, wherever the chunks end
        labels = [(label.name, str(label.type)) for label in self._labels]
        return hashlib.sha256(json.dumps([labels, *(digest.hexdigest() for digest in digests)]).encode()).hexdigest()

    def where(self, row: int) -> str:
        """Return the file and the row in it, for a warning."""
        before, file = max((part for part in self._files if part[0] < row), default=(0, self.name))
        return f"{file}: row {row - before}"

    def walks(self) -> Iterator[Walk]:
        """Yield the walks in file order, built as they are asked for; a still with `images` becomes that many."""
        for name, rows in groupby(self._rows(), key=itemgetter(0)):
            if name is None:
                for _, images, settings, keyframe in rows:
                    yield from _stills(keyframe, images, settings)
            else:
                first, *others = rows
                *_, settings, start = first
                yield _walk(name, (start, *(keyframe for *_, keyframe in others)), settings, still=False)

    def write(self, path: Path) -> None:
        """Write Parquet that `read_stored` reads as these walks; never half a file."""
        with replacing(path) as temporary:
            pq.write_table(
                self._table.replace_schema_metadata({STORED: self.fingerprint.encode()}), temporary, compression="zstd"
            )

    @property
    def _is_swept(self) -> bool:
        return SWEPT in self._labels.names

    @property
    def _labels(self) -> Any:
        labels = [column for column in self._table.schema if column.name not in STORED_NAMES]
        return pa.schema([(label.name, pa.string() if is_text(label.type) else label.type) for label in labels])

    def _rows(self) -> Iterator[_Row]:
        label_names = self._labels.names
        for start in range(0, self.row_count, CHUNK):
            table = self._table.slice(start, CHUNK)
            cells = {name: table[name].to_pylist() for name in table.column_names}
            labels = zip(*(cells[name] for name in label_names), strict=True)
            cells["labels"] = [dict(zip(label_names, values, strict=True)) for values in labels] or [{}] * len(table)
            cells["row"] = cells["source_row"]
            cells["onset_pace"] = [tuple(pace or ()) for pace in cells["onset_pace"]]
            keyframes = starmap(Keyframe, zip(*(cells[name] for name in KEYFRAME_FIELDS), strict=True))
            settings = zip(*(cells[name] for name in WALK_SETTINGS), strict=True)
            yield from zip(cells["walk"], cells["images"], settings, keyframes, strict=True)


def _walk(name: str, keyframes: tuple[Keyframe, ...], settings: tuple[Any, ...], still: bool) -> Walk:
    point = keyframes[0].labels.get(SWEPT, "")
    return Walk(name, keyframes, still=still, point=point, **_by_name(settings))


@lru_cache(maxsize=1024)
def _by_name(settings: tuple[Any, ...]) -> dict[str, Any]:
    """Return the settings of a walk by name; most rows of a long table have the same."""
    return dict(zip(WALK_SETTINGS, settings, strict=True))


def _stills(keyframe: Keyframe, images: int, settings: tuple[Any, ...]) -> Iterator[Walk]:
    """Yield a still for each image of a row, the seeds consecutive, named after the row, the image and the sweep's point."""
    point = keyframe.labels.get(SWEPT, "")
    for image in range(images):
        name = still_name(keyframe.row) + (f"-{image:04d}" if images > 1 else "")
        own = replace(keyframe, seed=keyframe.seed + image) if image else keyframe
        yield _walk(f"{name} {point}" if point else name, (own,), settings, still=True)


def _jsonable(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def read_stored(path: Path) -> Manifest:
    """Return the manifest that `Manifest.write` wrote. Its cells were checked before that, and are not again.

    Raises ManifestError for a file that is none, or of another version.
    """
    problems = Problems(str(path))
    return manifest_from(path.stem, read_table(path, problems), problems)


def stored_fingerprint(path: Path) -> str:
    """Return the fingerprint that a stored manifest's footer has; "" where the file is none, or is cut short."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except (OSError, pa.ArrowException):
        return ""
    return str(metadata.get(STORED, b""), "utf-8", "replace")


def manifest_from(name: str, raw: RawTable, problems: Problems) -> Manifest:
    """Return the manifest of a stored table. Raises ManifestError for a table that is none, or of another version."""
    missing = [column for column in STORED_NAMES if column not in raw.columns]
    if missing or not raw.stored:
        problems.fatal("a stored manifest of this version", f"one without {', '.join(missing) or 'its mark'}")
    labels = read_labels(raw, problems)
    problems.raise_any()
    return Manifest(name, pa.table({column: raw.columns[column] for column in STORED_NAMES} | labels))
