"""Open shards where they lie, on a disk or in a bucket: of an object only the ranges are fetched that are needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

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
    """Open Parquet files of one schema as a dataset."""
    files = ds.ParquetFileFormat()
    objects = [path for path in paths if isinstance(path, ObjectPath)]
    if not objects:
        return ds.dataset([str(path) for path in paths], format=files)
    with ThreadPoolExecutor(READERS) as pool:
        opened = list(pool.map(lambda path: path.open("rb"), objects))
    fragments = [files.make_fragment(pa.PythonFile(file, "r")) for file in opened]
    return ds.FileSystemDataset(fragments, fragments[0].physical_schema, files)
