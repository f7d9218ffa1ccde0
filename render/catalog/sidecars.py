"""Tables beside the shards, joined to the frames by their column `key`: scores and marks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import StoreError, one_line, read_many, replacing
from render.store import OutputFolder, is_damage, open_parquet

__all__ = ["MARKS", "ScoreFiles", "read_marks", "score_names", "write_marks"]

SETTINGS = b"nightrender"  # key of a score file's metadata, whose value is the scorer's settings as JSON
MARKS = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        ("mark", pa.string()),  # keep, reject or null
        ("rating", pa.int8()),  # 1 … 5 or null
        ("note", pa.string()),
        ("marked_at", pa.timestamp("us", tz="UTC")),
    ]
)


def score_names(out: Path) -> list[str]:
    """Return the names of the scorers that have written to an output folder, sorted."""
    folder = OutputFolder(out).scores
    return sorted(path.name for path in folder.iterdir() if not path.is_file()) if folder.is_dir() else []


class ScoreFiles:
    """Columns of one scorer: the Parquet files of OUT/scores/NAME, each with some of the frames.

    Files are only added. Each is there whole or not at all and names the scorer's settings, so that whoever goes on
    scores the keys that no file has. A key that two files have has the same values in both.
    """

    def __init__(self, out: Path, name: str) -> None:
        self.name = name
        self.folder = OutputFolder(out).scores / name

    def files(self) -> list[Path]:
        """Return the files in the order of their names; none for a scorer that has not written yet."""
        if not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.iterdir() if path.suffix == ".parquet" and path.name[0] != ".")

    def read(self, files: Sequence[Path] | None = None, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the tables of some files, by default all. Raises StoreError for a damaged file."""

        def read(path: Path) -> pa.Table:
            with _readable(path):
                file = open_parquet(path)
                if file.schema_arrow.field("key").type not in (pa.string(), pa.large_string()):
                    raise pa.ArrowTypeError("the column key has no texts")
                return file.read(columns=columns)

        yield from read_many(self.files() if files is None else files, read)

    def keys(self) -> set[str]:
        """Return the keys of all frames that have a score."""
        return {key for table in self.read(columns=["key"]) for key in table["key"].to_pylist()}

    def schema(self) -> pa.Schema | None:
        """Return the columns of the scorer; None before it has written."""
        files = self.files()
        if not files:
            return None
        with _readable(files[0]):
            return open_parquet(files[0]).schema_arrow

    def settings(self) -> dict[str, Any] | None:
        """Return the settings that the scores were made with; None before the scorer has written."""
        schema = self.schema()
        found = (schema.metadata or {}).get(SETTINGS) if schema is not None else None
        settings: dict[str, Any] | None = json.loads(found) if found else None
        return settings

    def write(self, table: pa.Table, settings: Mapping[str, Any]) -> Path:
        """Add a file with the scores of some frames; returns its path."""
        path = self.folder / f"{uuid4().hex}.parquet"
        metadata = {SETTINGS: json.dumps(settings, sort_keys=True).encode()}
        _write(path, table.replace_schema_metadata(metadata))
        return path

    def replace(self, table: pa.Table, settings: Mapping[str, Any]) -> None:
        """Write a table in the place of all files that are there."""
        before = self.files()
        self.write(table, settings)
        for path in before:
            path.unlink(missing_ok=True)


def read_marks(out: Path) -> pa.Table:
    """Return the table of marks, of the columns of MARKS; without rows where nobody has marked a frame."""
    path = OutputFolder(out).marks
    if not path.is_file():
        return MARKS.empty_table()
    with _readable(path):
        return open_parquet(path).read().select(MARKS.names).cast(MARKS)


def write_marks(out: Path, marks: pa.Table) -> None:
    """Replace the table of marks, of the columns of MARKS, each key once."""
    _write(OutputFolder(out).marks, marks.cast(MARKS))


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise StoreError for a file that is not right; an error of a bucket that does not answer stays as it is."""
    try:
        yield
    except (OSError, pa.ArrowException, KeyError) as error:
        if not is_damage(path, error):
            raise
        wanted = f"{path}: required a table of scores or marks, got a damaged file"
        raise StoreError(f"{wanted}: {one_line(error)}; delete it, and what it had is missing") from error
