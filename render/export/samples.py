"""Read the chosen frames with their pictures, in order and at constant memory; encode them anew if that is asked for."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from render.catalog import Catalog
from render.core import StoreError
from render.export.selection import pages
from render.export.work import Choice, Sample
from render.store import encode_image, public_name, read_parameters

__all__ = ["PartSamples", "read_samples"]

SLICE_ROWS = 500  # rows that are Python values at once
ENCODERS = 4  # threads that encode anew
SUFFIXES = {"PNG": "png", "WEBP": "webp", "JPEG": "jpeg"}


class PartSamples:
    """The samples of one part: an iterator that ends when the part is full, and counts what it gave."""

    def __init__(self, samples: Iterator[Sample], rows: int | None, size_bytes: int) -> None:
        """Take from `samples` up to a number of rows, if it is given, or else of bytes, but at least one."""
        self._samples, self._rows, self._size = samples, rows, size_bytes
        self._next = next(samples, None)
        self.rows = self.size_bytes = 0

    @property
    def is_last(self) -> bool:
        return self._next is None

    def begin(self) -> None:
        """Begin the next part."""
        self.rows = self.size_bytes = 0

    def __iter__(self) -> Iterator[Sample]:
        while (sample := self._next) is not None and self._has_room(sample):
            self.rows, self.size_bytes = self.rows + 1, self.size_bytes + len(sample.data)
            self._next = next(self._samples, None)
            yield sample

    def _has_room(self, sample: Sample) -> bool:
        if self._rows is not None:
            return self.rows < self._rows
        return not self.rows or self.size_bytes + len(sample.data) <= self._size


def read_samples(catalog: Catalog, choice: Choice, split: str, begin: int) -> Iterator[Sample]:
    """Yield the frames of a split from its row `begin` on. Raises StoreError for damaged shards and pictures."""
    plain = _plain_samples(catalog, choice, split, begin)
    return _encoded(plain, choice.export.format) if choice.export.format else plain


def _plain_samples(catalog: Catalog, choice: Choice, split: str, begin: int) -> Iterator[Sample]:
    names, position = [column.name for column in choice.columns], begin
    for page in pages(catalog, split, begin):
        places = zip(page["shard"].to_pylist(), page["row"].to_pylist(), strict=True)
        pictures = catalog.pictures(places)
        for row in _rows(page):
            picture = next(pictures)
            values = {name: row[f"column {name}"] for name in names}
            if isinstance(values.get("model"), str):
                values["model"] = public_name(values["model"])  # a folder's path is of no use to others
            yield Sample(
                name=f"{position:07d}-{_plain_name(row['walk'])}-{row['frame']:05d}",
                suffix=picture.path.rpartition(".")[2],
                data=picture.data,
                values=values,
                caption=" ".join((row["caption"] or "").split()),
            )
            position += 1


def _rows(page: pa.Table) -> Iterator[dict[str, Any]]:
    for first in range(0, page.num_rows, SLICE_ROWS):
        yield from page.slice(first, SLICE_ROWS).to_pylist()


def _plain_name(walk: str) -> str:
    """Return a walk's name as every file system and program takes it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", walk)[:80]


def _encoded(samples: Iterator[Sample], encoding: str) -> Iterator[Sample]:
    """Yield the samples in their order with pictures in another format, a few of them at work at a time."""
    with ThreadPoolExecutor(ENCODERS, "encode") as pool:
        waiting: deque[Future[Sample]] = deque()
        for sample in samples:
            waiting.append(pool.submit(_in_format, sample, encoding))
            if len(waiting) > 2 * ENCODERS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _in_format(sample: Sample, encoding: str) -> Sample:
    """Return a sample in another format; what its picture says of itself goes with it."""
    from dataclasses import replace

    try:
        with Image.open(io.BytesIO(sample.data)) as picture:
            if SUFFIXES.get(str(picture.format)) == encoding:
                return sample
            text, pixels = read_parameters(picture), np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises of broken files
        raise StoreError(f"{sample.name}: required a stored image, got a damaged one: {error}") from error
    return replace(sample, suffix=encoding, data=encode_image(pixels, encoding, text))
