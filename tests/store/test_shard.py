"""Shards with made-up pictures; the references are pyarrow, `datasets` and Pillow."""

from __future__ import annotations

import datetime as dt
import hashlib
import io
import platform
from collections import deque
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

import render.store.shard
from render.core.blend import Prompt, Seed, mix
from render.core.errors import StoreError
from render.core.recipe import Recipe
from render.core.unit import Frame, Unit
from render.core.walk import Keyframe
from render.store.columns import STORE_COLUMNS, Origin
from render.store.encode import ENCODINGS, Rendered, encode_image
from render.store.ledger import Ledger
from render.store.shard import Failure, shard_schema, write_quarantine, write_shard

ORIGIN = Origin("starter", "abc", "CPU, 1 thread", "float32", "png", compiled=True)
NO_LABELS = pa.schema([])
UTC = dt.UTC
LABELS: dict[str, tuple[Any, Any]] = {  # type, value
    "int64": (pa.int64(), 2**53 + 1),
    "double": (pa.float64(), 0.1),
    "nan": (pa.float64(), float("nan")),
    "float": (pa.float32(), 0.5),
    "bool": (pa.bool_(), True),
    "string": (pa.string(), "é\n"),
    "large_string": (pa.large_string(), "long"),
    "zoned": (pa.timestamp("us", "Europe/Berlin"), dt.datetime(2026, 7, 1, 12, tzinfo=UTC)),
    "naive": (pa.timestamp("ms"), dt.datetime(2026, 7, 1, 12, 0, 0, 1000)),
    "date32": (pa.date32(), dt.date(2026, 7, 1)),
    "decimal": (pa.decimal128(10, 2), Decimal("1.50")),
    "list": (pa.list_(pa.field("element", pa.string())), ["a", "b"]),
    "nan_list": (pa.list_(pa.field("element", pa.float64())), [float("nan"), 1.0]),
    "large_list": (pa.large_list(pa.field("element", pa.int64())), [1, 2]),
    "fixed_list": (pa.list_(pa.field("element", pa.float32()), 2), [1.0, 2.0]),
    "struct": (pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))]), {"x": 1, "y": ["a"]}),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path / "out")
    ledger.create()
    return ledger


def labels_of(schema: pa.Schema) -> bytes:
    return bytes(schema.serialize().to_pybytes())


def make_pixels(seed: int, size: int = 8) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def make_unit(frames: int = 3, labels: dict[str, Any] | None = None) -> Unit:
    keyframe = Keyframe(1, "a dog", "blurry", 5, frames, "linear", "slerp", 2, 3.0, "ddim", labels=labels or {})
    recipes = [
        Recipe(
            prompt=mix("slerp", Prompt("a dog"), Prompt("a cat"), n / frames),
            negative_prompt=Prompt("blurry"),
            noise=mix("slerp-global", Seed(5), Seed(6), n / frames),
            width=8,
            height=8,
            steps=2,
            guidance=3.0,
            scheduler="ddim",
            model="m",
        )
        for n in range(frames)
    ]
    return Unit("00007", 128, tuple(Frame("w", n, recipe, keyframe) for n, recipe in enumerate(recipes)), 4)


def make_image(seed: int, size: int = 8, encoding: str = "png") -> Rendered:
    pixels = make_pixels(seed, size)
    sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
    return Rendered(encode_image(pixels, encoding), sha256, 1_780_000_000.25, blank=seed == 1)


def columns_of(path: Path) -> dict[str, Any]:
    """Metadata of the first row group's column chunks, by path."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    return {(chunk := group.column(n)).path_in_schema: chunk for n in range(group.num_columns)}


def test_a_shard_reads_back(ledger: Ledger) -> None:
    unit, images = replace(make_unit(), decode_rows=2, exact=False), [make_image(n) for n in range(3)]
    receipt = write_shard(ledger, unit, images, ORIGIN, shard_schema(labels_of(NO_LABELS)), 0.6)
    assert receipt.file is not None
    path = ledger.folder.data / receipt.file
    table = pq.ParquetFile(path).read()
    assert tuple(table.column_names) == STORE_COLUMNS
    rows = table.to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [image.data for image in images]
    assert [row["image"]["path"] for row in rows] == ["w-00000.png", "w-00001.png", "w-00002.png"]
    assert [row["sha256"] for row in rows] == [image.sha256 for image in images]
    assert [row["frame"] for row in rows] == [0, 1, 2]
    assert [Recipe.from_json(row["recipe"]) for row in rows] == [frame.recipe for frame in unit.frames]
    assert [row["key"] for row in rows] == [frame.recipe.key for frame in unit.frames]
    assert {name: value for name, value in rows[1].items() if name not in {"image", "key", "recipe", "sha256"}} == {
        "prompt": "a dog",
        "negative_prompt": "blurry",
        "seed": 5,
        "step": 2,
        "cfg": 3.0,
        "sampler": "ddim",
        "width": 8,
        "height": 8,
        "timestamp": dt.datetime.fromtimestamp(1_780_000_000.25, UTC),
        "walk": "w",
        "frame": 1,
        "model": "starter",
        "revision": "abc",
        "batch_rows": 4,
        "device": "CPU, 1 thread",
        "dtype": "float32",
        "compiled": True,
        "decode_rows": 2,
        "exact": False,
        "render_ms": 200.0,
        "seed_shift": 0,
        "blank": True,
    }
    assert (receipt.unit, receipt.frames, receipt.batch_rows, receipt.seconds) == ("00007", 3, 4, 0.6)
    assert (receipt.blank, receipt.quarantined) == ((1,), ())
    assert receipt.size_bytes == path.stat().st_size
    assert receipt.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name.startswith("train-00007-of-00128-")
    assert list(ledger.folder.scratch.iterdir()) == list(ledger.folder.quarantine.iterdir()) == []
    assert ledger.receipts() == []


def test_every_attempt_has_a_name_of_its_own(ledger: Ledger) -> None:
    images, schema = [make_image(n) for n in range(3)], shard_schema(labels_of(NO_LABELS))
    names = {write_shard(ledger, make_unit(), images, ORIGIN, schema, 1.0).file for _ in range(2)}
    assert {path.name for path in ledger.folder.data.iterdir()} == names
    assert len(names) == 2


def test_image_bytes_lie_as_they_are(ledger: Ledger) -> None:
    images = [make_image(n) for n in range(3)]
    receipt = write_shard(ledger, make_unit(), images, ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0)
    path = ledger.folder.data / str(receipt.file)
    columns = columns_of(path)
    data = columns["image.bytes"]
    assert data.compression == "UNCOMPRESSED"
    assert set(data.encodings) == {"PLAIN", "RLE"}  # RLE holds the definition levels
    assert not data.has_dictionary_page
    assert columns["prompt"].compression == columns["recipe"].compression == "ZSTD"
    assert columns["prompt"].has_dictionary_page
    assert all(chunk.has_column_index and chunk.has_offset_index for chunk in columns.values())
    assert all(image.data in path.read_bytes() for image in images)


def test_row_groups_are_cut_by_size(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.store.shard, "ROW_GROUP_BYTES", 70_000)
    images = [make_image(n, size=100) for n in range(7)]  # of noise: 30 kB each
    receipt = write_shard(ledger, make_unit(7), images, ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0)
    metadata = pq.ParquetFile(ledger.folder.data / str(receipt.file)).metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [2, 2, 2, 1]


def test_a_row_group_has_at_least_one_image(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.store.shard, "ROW_GROUP_BYTES", 1)
    images = [make_image(n) for n in range(2)]
    receipt = write_shard(ledger, make_unit(2), images, ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0)
    assert pq.ParquetFile(ledger.folder.data / str(receipt.file)).metadata.num_row_groups == 2


def test_the_features_are_those_that_datasets_derives() -> None:
    labels = pa.schema([(name, kind) for name, (kind, _) in LABELS.items()])
    schema = shard_schema(labels_of(labels))
    plain = datasets.Features.from_arrow_schema(schema.remove_metadata())
    told = datasets.Features.from_arrow_schema(schema)
    assert told == datasets.Features({**plain, "image": datasets.Image()})


@pytest.mark.parametrize("name", LABELS)
def test_a_label_keeps_type_and_value(ledger: Ledger, tmp_path: Path, name: str) -> None:
    kind, value = LABELS[name]
    schema = shard_schema(labels_of(pa.schema([(name, kind)])))
    unit = make_unit(2, {name: value})
    unit = replace(unit, frames=(unit.frames[0], replace(make_unit(2, {name: None}).frames[1])))
    receipt = write_shard(ledger, unit, [make_image(n) for n in range(2)], ORIGIN, schema, 1.0)
    path = ledger.folder.data / str(receipt.file)
    table = pq.ParquetFile(path).read()
    assert tuple(table.column_names) == (*STORE_COLUMNS, name)
    assert table.schema.field(name).type == kind
    assert repr(table[name].to_pylist()) == repr(pa.array([value, None], kind).to_pylist())
    opened = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert isinstance(opened.features["image"], datasets.Image)
    np.testing.assert_array_equal(np.asarray(opened[1]["image"]), make_pixels(1))
    assert opened[1][name] is None or kind == pa.list_(pa.field("element", pa.float32()), 2)


@pytest.mark.parametrize("name", [name for name in LABELS if "list" in name] + ["struct", "a.b"])
def test_labels_are_compressed_leaf_by_leaf(ledger: Ledger, name: str) -> None:
    kind, value = LABELS.get(name, LABELS["string"])
    unit, schema = make_unit(1, {name: value}), shard_schema(labels_of(pa.schema([(name, kind)])))
    receipt = write_shard(ledger, unit, [make_image(0)], ORIGIN, schema, 1.0)
    columns = columns_of(ledger.folder.data / str(receipt.file))
    leaves = [leaf for leaf in columns if leaf == name or leaf.startswith(f"{name}.")]
    assert len(leaves) == (2 if name == "struct" else 1)
    assert {columns[leaf].compression for leaf in leaves} == {"ZSTD"}
    assert all(columns[leaf].has_dictionary_page for leaf in leaves)
    assert {columns[leaf].compression for leaf in ("image.bytes", "image.path")} == {"UNCOMPRESSED"}


def test_an_output_folder_may_look_like_a_partition(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "cfg=7" / "walk=a")
    ledger.create()
    receipt = write_shard(ledger, make_unit(1), [make_image(0)], ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0)
    assert receipt.file is not None


def test_what_reads_back_otherwise_is_not_published(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write = pq.write_table

    def lose_a_row(table: pa.Table, path: Path, **options: Any) -> None:
        write(table.slice(1), path, **options)

    monkeypatch.setattr("render.store.shard.pq.write_table", lose_a_row)
    with pytest.raises(StoreError, match="required the 3 rows that were written, got others back"):
        write_shard(
            ledger, make_unit(), [make_image(n) for n in range(3)], ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0
        )
    assert list(ledger.folder.data.iterdir()) == []


def test_a_flipped_byte_is_found_or_changes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad disk is one kind of error, whatever Arrow raises of such a file."""
    write, images = pq.write_table, [make_image(n) for n in range(3)]
    schema, places = shard_schema(labels_of(pa.schema([("label", pa.string())]))), deque(range(0, 12_000, 97))
    errors: list[str] = []

    def flip(table: pa.Table, path: Path, **options: Any) -> None:
        write(table, path, **options)
        data = bytearray(path.read_bytes())
        data[places.popleft() % len(data)] ^= 0xFF
        path.write_bytes(data)

    monkeypatch.setattr("render.store.shard.pq.write_table", flip)
    while places:
        try:
            receipt = write_shard(ledger, make_unit(3, {"label": "é"}), images, ORIGIN, schema, 1.0)
        except StoreError as error:
            errors.append(str(error))
            continue
        rows = pq.ParquetFile(ledger.folder.data / str(receipt.file)).read().to_pylist()
        assert [row["image"]["bytes"] for row in rows] == [image.data for image in images]
        assert [row["label"] for row in rows] == ["é"] * 3
    assert len(errors) > 30
    assert not any("\n" in error for error in errors)


def test_a_write_error_publishes_nothing(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write = pq.write_table

    def fill_the_disk(table: pa.Table, path: Path, **options: Any) -> None:
        write(table.slice(1), path, **options)  # pyarrow closes a file that is valid, and short
        raise OSError("No space left on device")

    monkeypatch.setattr("render.store.shard.pq.write_table", fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        write_shard(
            ledger, make_unit(), [make_image(n) for n in range(3)], ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0
        )
    assert list(ledger.folder.data.iterdir()) == []
    assert ledger.delete_orphans() == 1


def test_failures_go_to_quarantine(ledger: Ledger) -> None:
    unit = make_unit(4)
    results: list[Rendered | Failure] = [
        make_image(1),
        Failure("Traceback: first"),
        make_image(0),
        Failure("Traceback: second", tries=2),
    ]
    receipt = write_shard(ledger, unit, results, ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0)
    assert (receipt.frames, receipt.quarantined, receipt.blank) == (2, (1, 3), (0,))
    assert pq.ParquetFile(ledger.folder.data / str(receipt.file)).read(["frame"])["frame"].to_pylist() == [0, 2]
    (file,) = ledger.folder.quarantine.iterdir()
    columns = ["walk", "frame", "row", "recipe", "error"]
    assert pq.ParquetFile(file).read(columns).to_pylist() == [
        {"walk": "w", "frame": n, "row": 1, "recipe": unit.frames[n].recipe.json, "error": error}
        for n, error in [(1, "Traceback: first"), (3, "Traceback: second")]
    ]
    others = pq.ParquetFile(file).read().drop_columns(columns).to_pylist()
    assert [(row["prompt"], row["tries"], row["host"]) for row in others] == [
        (unit.frames[1].keyframe.prompt, 1, platform.node()),
        (unit.frames[3].keyframe.prompt, 2, platform.node()),
    ]
    assert all(row["memory_bytes"] > 10**7 and row["timestamp"].year > 2000 for row in others)


def test_a_unit_of_failures_has_no_shard(ledger: Ledger) -> None:
    receipt = write_shard(
        ledger, make_unit(2), [Failure("a"), Failure("b")], ORIGIN, shard_schema(labels_of(NO_LABELS)), 1.0
    )
    assert (receipt.file, receipt.frames, receipt.size_bytes, receipt.quarantined) == (None, 0, 0, (0, 1))
    assert list(ledger.folder.data.iterdir()) == []


def test_quarantine_files_do_not_overwrite_each_other(ledger: Ledger) -> None:
    for _ in range(2):
        write_quarantine(ledger, make_unit(), {0: Failure("x")})
    assert len(list(ledger.folder.quarantine.iterdir())) == 2


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_open_with_pillow(encoding: str) -> None:
    pixels = make_pixels(3, 32)
    with Image.open(io.BytesIO(encode_image(pixels, encoding))) as picture:
        assert (picture.format, picture.mode, picture.size) == (encoding.upper(), "RGB", (32, 32))
        decoded = np.asarray(picture).astype(int)
    if encoding != "jpeg":
        np.testing.assert_array_equal(decoded, pixels)
    smooth = np.full((32, 32, 3), 100, np.uint8)
    with Image.open(io.BytesIO(encode_image(smooth, encoding))) as picture:
        np.testing.assert_allclose(np.asarray(picture).astype(int), smooth, atol=2)
