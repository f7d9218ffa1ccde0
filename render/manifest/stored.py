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

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.core import COLUMNS, Keyframe, Walk, column_names, in_split_order, replacing, still_name
from render.manifest.formats.separators import SEPARATORS
from render.manifest.labels import read_labels
from render.manifest.problems import Problems
from render.manifest.raw import CHUNK, STORED, RawTable, is_text
from render.manifest.sweeping import SWEPT
from render.manifest.table import read_table
from render.store import is_damage, open_parquet

__all__ = ["Manifest", "manifest_from", "read_stored", "stored_fingerprint"]

STORED_NAMES = column_names(stored=True)
WALK_SETTINGS = tuple(name for name in column_names("walk", stored=True) if name != "walk")
DEFAULTS = {column.name: column.default for column in COLUMNS if column.default_of == "column" and column.stored}
LATER = (
    "split",
)  # columns that a manifest need not have that an older version stored: all cells were the default then
KEYFRAME_FIELDS = tuple(column.name for column in fields(Keyframe))  # as its positional arguments have them

COSTS = [
    "model",
    "width",
    "height",
    "steps",
    "guidance",
    "true_guidance",
    "scheduler",
    "image",
    "strength",
    "split",
]  # of a still
RUN = 1000  # stills in a row, from which on those of equal cost are not built one by one

_Row = tuple[str | None, int, tuple[Any, ...], Keyframe]  # walk, images of a still, settings of the walk, keyframe


@dataclass(frozen=True, eq=False)
class Manifest:
    """The keyframes of a job, with every default filled in."""

    name: str  # the file's stem
    _table: Any = field(
        repr=False
    )  # pa.Table: STORED_NAMES without an empty cell but `walk` of stills, then the labels
    _files: tuple[tuple[int, str], ...] = ()  # of a folder: the rows before each file, and its name
    warnings: tuple[str, ...] = ()  # of reading it
    separators: frozenset[str] = frozenset()  # of CSV: what its columns are separated by, `,`, `;` or a tab

    @property
    def row_count(self) -> int:
        return int(self._table.num_rows)

    @property
    def last_row(self) -> int:
        """The number of its last row."""
        return int(self._table["source_row"][-1].as_py())

    def rows(self, start: int = 0, stop: int | None = None) -> Any:
        """Return some rows as Arrow's table, [stop - start], with all columns."""
        return self._table.slice(start, None if stop is None else stop - start)

    def part(self, start: int, stop: int | None = None) -> Manifest:
        """Return the manifest of some rows, which keep their numbers."""
        return replace(self, _table=self.rows(start, stop))

    def after(self, rows: int) -> Manifest:
        """Return the manifest with its rows numbered as if `rows` others stood before them."""
        place = self._table.column_names.index("source_row")
        numbers = pc.add(self._table["source_row"], rows).cast(self._table["source_row"].type)
        return replace(self, _table=self._table.set_column(place, "source_row", numbers))

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
    def splits(self) -> tuple[str, ...]:
        """Names of the data set's splits: train, validation and test first, the others in the order of their rows."""
        return in_split_order(pc.unique(self._table["split"]).to_pylist())

    @property
    def walk_names(self) -> tuple[str, ...]:
        """Names of the walks, without stills."""
        return tuple(pc.unique(self._table["walk"].drop_null()).to_pylist())

    @property
    def has_media(self) -> bool:
        """True if a row has a start image or a sound."""
        return any(pc.any(pc.not_equal(self._table[name], "")).as_py() for name in ("image", "audio"))

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
        """SHA-256 of the content of the rows: the same for every file format, line end and order of our columns.

        Our columns of nothing but their own defaults are left out, so that a new one changes no old fingerprint.
        """
        table = self._table if self._is_swept else self._table.drop_columns(["source_row"])  # they just count, then
        table = table.drop_columns([name for name in table.column_names if _is_default(name, table[name])])
        digests = {name: hashlib.sha256() for name in table.column_names}
        for start in range(0, self.row_count, CHUNK):
            part = table.slice(start, CHUNK)
            for name, digest in digests.items():
                cells = json.dumps(part[name].to_pylist(), default=_jsonable)
                digest.update(f"{cells[1:-1]}, ".encode())  # one text, wherever the chunks end
        labels = [(label.name, str(label.type)) for label in self._labels]
        content = [labels, {name: digest.hexdigest() for name, digest in digests.items()}]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    @property
    def separated_by(self) -> tuple[str, ...]:
        """Names of what separates the columns of its CSV files, where that is not the comma."""
        return tuple(name for sign, name in SEPARATORS.items() if sign in self.separators and sign != ",")

    @property
    def labels(self) -> tuple[tuple[str, str, Any], ...]:
        """Name, type and first value of every label; None where all cells are empty."""
        found = []
        for label in self._labels:
            first = self._table[label.name].drop_null().slice(0, 1).to_pylist()
            found.append((label.name, str(label.type), first[0] if first else None))
        return tuple(found)

    def where(self, row: int) -> str:
        """Return the file and the row in it, for a warning."""
        before, file = max((part for part in self._files if part[0] < row), default=(0, self.name))
        return f"{file}: row {row - before}"

    def walks(self) -> Iterator[Walk]:
        """Yield the walks in file order, built as they are asked for; a still with `images` becomes that many."""
        return self._walks(self._table)

    def alike(self) -> Iterator[tuple[Walk, int]]:
        """Yield the walks with 1 each, and of many stills in a row one for all of equal cost, with their number.

        Stills that differ in prompt, seed and labels alone take the same work: a plan of a million builds a few of them.
        """
        start = 0
        for first, stop in [*_runs(self._table["walk"].is_null().to_numpy()), (self.row_count, self.row_count)]:
            for walk in self._walks(self._table.slice(start, first - start)):
                yield walk, 1
            groups = self._table.slice(first, stop - first).select([*COSTS, "images"])  # a label may be called `place`
            groups = groups.append_column("place", pa.array(range(stop - first)))
            groups = groups.group_by(COSTS, use_threads=False).aggregate([("place", "min"), ("images", "sum")])
            counts = dict(zip(groups["place_min"].to_pylist(), groups["images_sum"].to_pylist(), strict=True))
            for place, count in sorted(counts.items()):
                yield next(self._walks(self._table.slice(first + place, 1))), count
            start = stop

    def _walks(self, table: Any) -> Iterator[Walk]:
        for name, rows in groupby(self._rows(table), key=itemgetter(0)):
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

    def _rows(self, whole: Any) -> Iterator[_Row]:
        label_names = self._labels.names
        for start in range(0, whole.num_rows, CHUNK):
            table = whole.slice(start, CHUNK)
            cells = {name: table[name].to_pylist() for name in table.column_names}
            labels = zip(*(cells[name] for name in label_names), strict=True)
            cells["labels"] = [dict(zip(label_names, values, strict=True)) for values in labels] or [{}] * len(table)
            cells["row"] = cells["source_row"]
            cells["onset_pace"] = [tuple(pace or ()) for pace in cells["onset_pace"]]
            keyframes = starmap(Keyframe, zip(*(cells[name] for name in KEYFRAME_FIELDS), strict=True))
            settings = zip(*(cells[name] for name in WALK_SETTINGS), strict=True)
            yield from zip(cells["walk"], cells["images"], settings, keyframes, strict=True)


def _runs(is_still: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return (first, one past the last) of every RUN or more stills in a row."""
    edges = np.flatnonzero(np.diff(is_still.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    return [(first, stop) for first, stop in edges.tolist() if stop - first >= RUN]


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


def _is_default(name: str, column: Any) -> bool:
    """Return True for a column of ours of nothing but its own default; that of the job or the model is a value like any."""
    ours = DEFAULTS.get(name)
    if ours is None:
        return False
    if pa.types.is_list(column.type):
        return bool(pc.all(pc.equal(pc.list_value_length(column).fill_null(0), 0)).as_py())
    return bool(pc.all(pc.equal(column, pa.scalar(ours, column.type)).fill_null(False)).as_py())


def _jsonable(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def read_stored(path: Path) -> Manifest:
    """Return the manifest that `Manifest.write` wrote. Its cells were checked before that, and are not again.

    Raises ManifestError for a file that is none, or of another version.
    """
    problems = Problems(str(path))
    return manifest_from(path.stem, read_table(path, problems), problems)


def stored_fingerprint(path: Path) -> str:
    """Return the fingerprint that a stored manifest's footer has; "" where there is no such file, or it is cut short."""
    try:
        metadata = open_parquet(path).schema_arrow.metadata or {}
    except (OSError, pa.ArrowException) as error:
        if not is_damage(path, error):
            raise
        return ""
    return str(metadata.get(STORED, b""), "utf-8", "replace")


def manifest_from(name: str, raw: RawTable, problems: Problems) -> Manifest:
    """Return the manifest of a stored table. Raises ManifestError for a table that is none, or of another version."""
    rows = len(raw.rows)
    later = {name: pa.chunked_array([pa.repeat(DEFAULTS[name], rows)]) for name in LATER if name not in raw.columns}
    raw = replace(raw, columns=raw.columns | later)
    missing = [column for column in STORED_NAMES if column not in raw.columns]
    if missing or not raw.stored:
        problems.fatal("a stored manifest of this version", f"one without {', '.join(missing) or 'its mark'}")
    labels = read_labels(raw, (), problems)
    problems.raise_any()
    return Manifest(name, pa.table({column: raw.columns[column] for column in STORED_NAMES} | labels))
