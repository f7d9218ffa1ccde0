"""Stores of made-up shards, committed in any order; the references are pandas, pyarrow, DuckDB and `datasets`."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

import render.store.reader
import render.store.shard
from render.core.blend import Prompt, Seed
from render.core.errors import StoreError
from render.core.recipe import Recipe
from render.core.unit import Frame, Unit
from render.core.walk import Keyframe
from render.store.columns import STORE_COLUMNS, Origin
from render.store.encode import Rendered, encode_image
from render.store.ledger import Ledger
from render.store.reader import ImageStore, StoredFrame, open_store
from render.store.shard import Failure, shard_schema, write_shard

SCHEMA = shard_schema(bytes(pa.schema([("group", pa.string())]).serialize().to_pybytes()))
ORIGIN = Origin("starter", "", "CPU, 1 thread", "float32", "png")
SIZE = 16
WALK, OTHER, STILL = "ball", "o'ther é", "still-00001"


def make_frame(walk: str, index: int) -> Frame:
    keyframe = Keyframe(1, f"of {walk}", "", index, 1, "linear", "slerp", 2, 1.0, "ddim", labels={"group": "g"})
    recipe = Recipe(Prompt(keyframe.prompt), Prompt(""), Seed(index), SIZE, SIZE, 2, 1.0, "ddim", "m")
    return Frame(walk, index, recipe, keyframe)


def make_pixels(walk: str, index: int) -> NDArray[np.uint8]:
    seed = int.from_bytes(f"{walk} {index}".encode(), "big")
    return np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def make_image(frame: Frame) -> Rendered:
    pixels = make_pixels(frame.walk, frame.index)
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Rendered(encode_image(pixels, "png"), digest, 1_780_000_000.0, blank=False)


def commit(ledger: Ledger, unit: Unit, failed: Sequence[int] = ()) -> None:
    results = [Failure("x") if n in failed else make_image(frame) for n, frame in enumerate(unit.frames)]
    assert ledger.commit(write_shard(ledger, unit, results, ORIGIN, SCHEMA, 1.0))


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two walks and a still in row groups of two; committed last to first; frames 1 and 5 of WALK were retried."""
    monkeypatch.setattr(render.store.shard, "ROW_GROUP_BYTES", 3600)  # two pictures of noise
    ledger = Ledger(tmp_path / "out")
    ledger.create()
    walk = [make_frame(WALK, n) for n in range(8)]
    rest = [*(make_frame(OTHER, n) for n in range(3)), make_frame(STILL, 0)]
    first, second = Unit("00000", 3, tuple(walk[:5]), 4), Unit("00001", 3, (*walk[5:], rest[0]), 4)
    commit(ledger, Unit("00002", 3, tuple(rest[1:]), 4))
    for half in second.halves()[::-1]:
        commit(ledger, half, failed=[0] if half.id == "00001-0" else [])
    assert ledger.split(second)
    commit(ledger, second.halves()[0].part("r", [0]))
    commit(ledger, first, failed=[1])
    commit(ledger, first.part("r", [1]))
    (ledger.folder.data / "train-00000-of-00003-orphan.parquet").write_bytes(b"not committed")
    return ledger.folder.out


@pytest.fixture
def store(out: Path) -> ImageStore:
    return open_store(out)


def pattern(out: Path) -> str:
    (out / "data" / "train-00000-of-00003-orphan.parquet").unlink(missing_ok=True)  # a resume sweeps it
    return str(out / "data" / "*.parquet")


def check(frame: StoredFrame, walk: str, index: int) -> None:
    assert (frame.walk, frame.index) == (frame.row["walk"], frame.row["frame"]) == (walk, index)
    assert set(frame.row) == {*STORE_COLUMNS, "group"} - {"image"}
    assert frame.image().mode == "RGB"
    np.testing.assert_array_equal(np.asarray(frame.image()), make_pixels(walk, index))


def test_frames_are_in_order_whatever_was_committed_when(store: ImageStore) -> None:
    assert len(store) == 12
    assert len(store.files) == 6
    assert set(store.walks) == {WALK, OTHER, STILL}
    for walk, count in [(WALK, 8), (OTHER, 3), (STILL, 1)]:
        frames = store.frames(walk)
        assert len(frames) == count
        for index, frame in enumerate(frames):
            check(frame, walk, index)


def test_walks_come_in_the_order_of_units(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.create()
    for number, walk in [(2, "a"), (0, "b"), (1, "c")]:
        commit(ledger, Unit(f"{number:05d}", 3, (make_frame(walk, 0),), 4))
    assert open_store(tmp_path).walks == ["b", "c", "a"]


def test_one_frame(store: ImageStore) -> None:
    check(store.frame(WALK, 6), WALK, 6)
    check(store.frame(WALK, 1), WALK, 1)
    check(store.frame(STILL), STILL, 0)


@pytest.mark.parametrize(("walk", "index"), [("none", 0), (WALK, 8), (WALK, -1), (STILL, 1)])
def test_a_frame_that_is_not_there(store: ImageStore, walk: str, index: int) -> None:
    with pytest.raises(KeyError, match=f"{walk} {index}"):
        store.frame(walk, index)


def test_a_walk_that_is_not_there(store: ImageStore) -> None:
    with pytest.raises(KeyError, match="none"):
        store.frames("none")


def test_frames_are_a_sequence(store: ImageStore) -> None:
    frames = store.frames(WALK)
    check(frames[-1], WALK, 7)
    assert [frame.index for frame in frames[2:6:2]] == [2, 4]
    assert [frame.index for frame in frames[::-1]] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert [frame.index for frame in reversed(frames)] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert len(frames[8:]) == 0
    for index in (8, -9):
        with pytest.raises(IndexError):
            frames[index]


def test_iteration_reads_a_row_group_once(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[tuple[int, int]] = []
    read = render.store.reader._read_row_group

    def counted(file: pq.ParquetFile, group: int) -> pa.Table:
        table = read(file, group)
        reads.append((group, table.num_rows))
        return table

    monkeypatch.setattr(render.store.reader, "_read_row_group", counted)
    assert [frame.index for frame in store.frames(WALK)] == list(range(8))
    groups = [pq.ParquetFile(path).metadata for path in store.files]
    assert len(reads) == sum(meta.num_row_groups for meta, path in zip(groups, store.files, strict=True) if has(path))
    assert max(rows for _, rows in reads) == 2  # never a whole shard


def has(path: Path) -> bool:
    return WALK in pq.ParquetFile(path).read(["walk"])["walk"].to_pylist()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="required the output folder of a run"):
        open_store(tmp_path)


def test_a_store_before_its_first_commit(tmp_path: Path) -> None:
    Ledger(tmp_path).create()
    store = open_store(tmp_path)
    assert (len(store), store.walks, store.files) == (0, [], [])


def test_a_store_may_lie_below_a_partition_folder(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "walk=x" / "frame=7")
    ledger.create()
    commit(ledger, Unit("00000", 1, (make_frame(WALK, 0),), 4))
    store = open_store(ledger.folder.out)
    check(store.frame(WALK), WALK, 0)
    assert store.dataset().schema.names == [*STORE_COLUMNS, "group"]


def named(rows: Iterable[Mapping[Any, Any]]) -> set[tuple[str, int]]:
    return {(row["walk"], row["frame"]) for row in rows}


ALL = {*((WALK, n) for n in range(8)), *((OTHER, n) for n in range(3)), (STILL, 0)}


def test_as_a_pyarrow_dataset(out: Path, store: ImageStore) -> None:
    table = store.dataset().to_table()
    assert (table.num_rows, named(table.select(["walk", "frame"]).to_pylist())) == (12, ALL)
    pattern(out)
    assert ds.dataset(out / "data").count_rows() == 12


def test_in_pandas(out: Path) -> None:
    pattern(out)
    frame = pd.read_parquet(out / "data")
    assert named(frame.to_dict("records")) == ALL
    first = frame[(frame["walk"] == WALK) & (frame["frame"] == 0)].iloc[0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(first["image"]["bytes"]))), make_pixels(WALK, 0))
    assert str(frame["timestamp"].dtype) == "datetime64[us, UTC]"


def test_in_duckdb(out: Path) -> None:
    source = f"'{pattern(out)}'"
    with duckdb.connect() as connection:
        assert connection.sql(f"select count(*) from {source}").fetchall() == [(12,)]
        counts = connection.sql(f"select walk, count(*) from {source} group by walk").fetchall()
        assert dict(counts) == {WALK: 8, OTHER: 3, STILL: 1}
        query = f"select image.bytes, image.path from {source} where walk = $1 and frame = 5"
        (row,) = connection.execute(query, [WALK]).fetchall()
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(row[0]))), make_pixels(WALK, 5))
    assert row[1] == f"{WALK}-00005.png"


def test_in_datasets(out: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    loaded = datasets.load_dataset("parquet", data_files=pattern(out), split="train", cache_dir=cache)
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded.column_names == [*STORE_COLUMNS, "group"]
    assert named([{"walk": w, "frame": f} for w, f in zip(loaded["walk"], loaded["frame"], strict=True)]) == ALL
    for row in loaded:
        np.testing.assert_array_equal(np.asarray(row["image"]), make_pixels(row["walk"], row["frame"]))
