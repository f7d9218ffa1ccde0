"""Open shards where they lie, on a disk or in a bucket: of an object only the ranges are fetched that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs

from render.core import BehindEndError, ObjectPath

__all__ = ["READERS", "is_damage", "open_dataset", "open_parquet"]

READERS = 16  # objects that are read at a time


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open a Parquet file; of an object one request fetches the footer, and one or two each row group."""
    if isinstance(path, ObjectPath):
        return pq.ParquetFile(path.open("rb"), pre_buffer=True)
    return pq.ParquetFile(path)


def is_damage(path: Path, error: Exception) -> bool:
    """Return True for an error of a file that is not there or not right; False for a bucket that does not answer.

    Arrow raises OSError itself for files that it can't read, what talks to a bucket subclasses of it.
    """
    if not isinstance(path, ObjectPath) or isinstance(error, FileNotFoundError | BehindEndError):
        return True
    return not isinstance(error, OSError) or type(error) is OSError


def open_dataset(paths: Sequence[Path]) -> ds.Dataset:
    """Open Parquet files of one schema as a dataset. A file is opened when it is scanned, and closed after that."""
    files = ds.ParquetFileFormat()
    if not any(isinstance(path, ObjectPath) for path in paths):
        return ds.dataset([str(path) for path in paths], format=files)
    bucket = fs.PyFileSystem(_Objects())
    schema = open_parquet(paths[0]).schema_arrow
    return ds.FileSystemDataset.from_paths([str(path) for path in paths], schema, files, bucket)


def _refuse(*_: object) -> NoReturn:
    raise NotImplementedError("objects are opened by their names, and only read")


class _Objects(fs.FileSystemHandler):  # type: ignore[misc]
    """Objects for Arrow, by the texts of their paths."""

    get_file_info = get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _refuse
    delete_root_dir_contents = delete_file = move = copy_file = open_output_stream = open_append_stream = _refuse

    def get_type_name(self) -> str:
        return "render"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_file(self, path: str) -> pa.PythonFile:
        return pa.PythonFile(ObjectPath.parse(path).open("rb"), "r")

    open_input_stream = open_input_file
