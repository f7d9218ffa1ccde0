"""Read the committed frames of an output folder: by walk and index, as pictures or as a dataset."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from render.core import ObjectPath, StoreError, counted, one_line, shorten, to_go_on
from render.store.access import reach_output
from render.store.ledger import Ledger
from render.store.notebook import SHOWN_MAX, THUMBNAILS, animation_html, numbers, readable, spread, store_html
from render.store.ranges import READERS, is_damage, open_dataset, open_parquet

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Frames", "ImageStore", "StoredFrame", "open_store"]

_INDEX = pa.schema([("walk", pa.string()), ("frame", pa.int32()), ("shard", pa.int32()), ("row", pa.int64())])


@dataclass(frozen=True, slots=True, repr=False)
class StoredFrame:
    """One stored frame, still encoded."""

    walk: str
    index: int
    row: dict[str, Any]  # every column but `image`
    data: bytes

    def __repr__(self) -> str:
        prompt = shorten(self.row.get("prompt", ""))
        return f"<StoredFrame {self.walk!r} {self.index}: {prompt!r}, seed {self.row.get('seed')}, {len(self.data):,} bytes>"

    def image(self) -> Image:
        """Decode the picture, RGB."""
        import PIL.Image

        try:
            return PIL.Image.open(io.BytesIO(self.data)).convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises of broken files
            raise StoreError(
                f"{self.walk} {self.index}: required a stored image, got a damaged one: {error}"
            ) from error


class Frames(Sequence[StoredFrame]):
    """Frames of one walk in order, read on demand: at most two Parquet row groups are in memory."""

    def __init__(self, places: Sequence[tuple[Path, int, int]]) -> None:
        self._places = places  # (shard, row of the shard, index in the walk) of each frame
        self._group = lru_cache(maxsize=2)(_read_row_group)
        self._file = lru_cache(maxsize=2)(_open_shard)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<Frames: {counted(len(self), 'frame')}>"

    def _repr_html_(self) -> str:
        """Return the frames as a notebook shows them: an animated picture that needs no file."""
        chosen = [self[place] for place in spread(len(self), SHOWN_MAX)]
        shown = [image for _, image in readable(chosen)]
        if not shown:
            return escape(repr(self))
        some = f", {len(shown)} of them shown" if len(shown) < len(self) else ""
        return animation_html(f"{chosen[0].walk}: {counted(len(self), 'frame')}{some}", shown)

    @property
    def indices(self) -> list[int]:
        """Indices of the frames in their walk: 0, 1, 2 …, without frames that are not committed."""
        return [index for _, _, index in self._places]

    @overload
    def __getitem__(self, index: int) -> StoredFrame: ...
    @overload
    def __getitem__(self, index: slice) -> Frames: ...
    def __getitem__(self, index: int | slice) -> StoredFrame | Frames:
        if isinstance(index, slice):
            return Frames(self._places[index])
        path, row, _ = self._places[index]
        group, metadata = 0, self._file(path).metadata
        while row >= metadata.row_group(group).num_rows:
            row -= metadata.row_group(group).num_rows
            group += 1
        with _readable(path):
            values = self._group(self._file(path), group).slice(row, 1).to_pylist()[0]
        data = values.pop("image")["bytes"]
        return StoredFrame(values["walk"], values["frame"], values, data)

    def __iter__(self) -> Iterator[StoredFrame]:
        return (self[index] for index in range(len(self)))


def _open_shard(path: Path) -> pq.ParquetFile:
    with _readable(path):
        return open_parquet(path)


def _read_row_group(file: pq.ParquetFile, group: int) -> pa.Table:
    return file.read_row_group(group)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise StoreError for a shard that is not there or can't be read, with the command that mends it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        if not is_damage(path, error):
            raise
        got = "no file" if isinstance(error, FileNotFoundError) else f"a damaged one: {one_line(error)}"
        mend = f"{to_go_on('repair', path.parents[1])} mends it"
        raise StoreError(f"{path}: required the shard that was committed, got {got}; {mend}") from error


class ImageStore:
    """Committed frames of an output folder."""

    def __init__(self, out: Path, ledger: Ledger | None = None) -> None:
        """`ledger` is that of `out`, if one has read the records already."""
        ledger = ledger or Ledger(out)
        if not ledger.folder.run.is_dir():
            raise StoreError(f"{out}: required the output folder of a run, got one without .run/")
        self.path = out
        self._files = [ledger.folder.data / name for name in ledger.files()]

    def __repr__(self) -> str:
        return f"<ImageStore {str(self.path)!r}: {counted(len(self._files), 'shard')}>"

    def _repr_html_(self) -> str:
        """Return the store as a notebook shows it: a table of facts, and a dozen pictures."""
        names = self.walks
        firsts = self.firsts(names[place] for place in spread(len(names), THUMBNAILS))
        counts = pc.value_counts(self._index["walk"])
        walks = sum(count > 1 for count in counts.field("counts").to_pylist())
        facts = [
            ("output", str(self.path)),
            ("frames", f"{len(self):,}"),
            ("of", numbers(walks, len(names) - walks)),
            ("files", counted(len(self._files), "shard")),
            ("columns", ", ".join(self.dataset().schema.names) if self._files else ""),
        ]
        return store_html(facts, readable(frame for frame in firsts if frame is not None))

    @property
    def files(self) -> list[Path]:
        """Paths of the committed shards."""
        return list(self._files)

    def __len__(self) -> int:
        return int(self._index.num_rows)

    def __contains__(self, walk: str) -> bool:
        return walk in self._names

    @property
    def walks(self) -> list[str]:
        """Names of all walks and stills, in the order of the units."""
        names: list[str] = pc.unique(self._index["walk"]).to_pylist()
        return names

    def frames(self, walk: str) -> Frames:
        """Return the committed frames of a walk or still, in order. Raises KeyError when there are none."""
        return self._frames(walk, pc.field("walk") == walk)

    def frame(self, walk: str, index: int = 0) -> StoredFrame:
        """Return one frame. Raises KeyError when it is not in the store."""
        return self._frames(f"{walk} {index}", (pc.field("walk") == walk) & (pc.field("frame") == index))[0]

    def firsts(self, walks: Iterable[str]) -> Iterator[StoredFrame | None]:
        """Yield the first frame of each walk or still; None for one whose first frame is not committed."""
        names = list(walks)
        frames = iter(Frames([self._firsts[name] for name in names if name in self._firsts]))
        return (next(frames) if name in self._firsts else None for name in names)

    def dataset(self) -> ds.Dataset:
        """Open all columns of all shards as a pyarrow dataset."""
        return open_dataset(self._files)

    def _frames(self, name: str, condition: pc.Expression) -> Frames:
        found = self._index.filter(condition).sort_by("frame")
        if not found.num_rows:
            raise KeyError(name)
        places = zip(*(found[name].to_pylist() for name in ("shard", "row", "frame")), strict=True)
        return Frames([(self._files[shard], row, index) for shard, row, index in places])

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.walks)

    @cached_property
    def _firsts(self) -> dict[str, tuple[Path, int, int]]:
        """Place (shard, row, index) of the first frame of each walk and still."""
        found = self._index.filter(pc.field("frame") == 0)
        places = zip(*(found[name].to_pylist() for name in ("walk", "shard", "row")), strict=True)
        return {name: (self._files[shard], row, 0) for name, shard, row in places}

    @cached_property
    def _index(self) -> pa.Table:
        """Table of walk, frame, shard and row of every frame, made in one pass over two small columns."""
        with ThreadPoolExecutor(READERS if isinstance(self.path, ObjectPath) else 1) as pool:
            tables = list(pool.map(_places, range(len(self._files)), self._files))
        return pa.concat_tables([_INDEX.empty_table(), *tables])


def _places(shard: int, path: Path) -> pa.Table:
    with _readable(path):
        table = open_parquet(path).read(columns=["walk", "frame"])
    numbers = pa.array([shard] * table.num_rows, pa.int32()), pa.array(range(table.num_rows), pa.int64())
    return pa.Table.from_arrays([table["walk"], table["frame"], *numbers], schema=_INDEX)


def open_store(path: str | Path) -> ImageStore:
    """Open the output folder of a run: a path, or `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Raises StoreError for another.

    Of an object store each row group is read with one or two requests when a frame of it is asked for.
    """
    return ImageStore(reach_output(path))
