"""Every target is read back by its own library: the same bytes, the same values, in the order of the store."""

from __future__ import annotations

import csv
import gc
import json
from pathlib import Path
from typing import Any

import pytest
from exports import FRAMES, export, rows_of
from PIL import Image

from render.export.targets import TARGETS

pytest_plugins = ["exports"]
SPLITS = "train=0.7,test=0.3"
COLUMNS = ("walk", "frame", "prompt", "seed", "thing", "cfg", "timestamp", "blank")


def wanted(store: Path, walk: str, frame: int) -> dict[str, Any]:
    return rows_of(store)[f"{walk} {frame}"]


def check_whole(store: Path, found: dict[str, list[tuple[str, int]]]) -> None:
    """Every frame is in one split, and both splits have some."""
    every = [place for places in found.values() for place in places]
    assert len(every) == len(set(every)) == FRAMES
    assert {f"{walk} {frame}" for walk, frame in every} == set(rows_of(store))
    assert all(found.values())


def test_hf_is_opened_by_datasets(store: Path, tmp_path: Path) -> None:
    import datasets

    done = export(store, tmp_path / "hf", "hf", splits=SPLITS, max_shard="300kB")
    rows, found = rows_of(store), {}
    files = {split: str(tmp_path / "hf" / "data" / f"{split}-*.parquet") for split in done.frames}
    for split in ("train", "test"):
        images = datasets.load_dataset("parquet", data_files=files, split=split, cache_dir=str(tmp_path / "cache"))
        assert isinstance(images.features["image"], datasets.Image)
        assert set(images.column_names) == {*next(iter(rows.values())), "image"} - {"recipe"}
        assert len(images) == done.frames[split]
        found[split] = list(zip(images["walk"], images["frame"], strict=True))
        plain = images.cast_column("image", datasets.Image(decode=False))
        for row in plain.select(range(20)):
            original = rows[f"{row['walk']} {row['frame']}"]
            assert row["image"]["bytes"] == original["image"]["bytes"]
            assert {name: row[name] for name in COLUMNS} == {name: original[name] for name in COLUMNS}
        assert images[0]["image"].size == (128, 128)
    check_whole(store, found)
    assert done.files == len(list((tmp_path / "hf" / "data").iterdir())) > 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves tar files to the collector
def test_webdataset_is_opened_by_its_library(store: Path, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    done = export(store, tmp_path / "tars", "webdataset", splits=SPLITS, max_shard="300kB")
    rows, found = rows_of(store), {}
    for split in done.frames:
        tars = sorted(str(path) for path in (tmp_path / "tars").glob(f"{split}-*.tar"))
        samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
        found[split] = [(sample["json"]["walk"], sample["json"]["frame"]) for sample in samples]
        for sample in samples[:20]:
            original = rows[f"{sample['json']['walk']} {sample['json']['frame']}"]
            assert sample["txt"] == original["prompt"] == sample["json"]["prompt"]
            assert sample["json"]["timestamp"] == original["timestamp"].isoformat()
            assert sample["webp"].size == (128, 128)
        for raw in webdataset.WebDataset(tars, shardshuffle=False):
            values = json.loads(raw["json"])
            assert raw["webp"] == rows[f"{values['walk']} {values['frame']}"]["image"]["bytes"]
    check_whole(store, found)
    del samples, raw
    gc.collect()


def test_webdataset_is_opened_by_datasets(store: Path, tmp_path: Path) -> None:
    import datasets

    export(store, tmp_path / "tars", "webdataset", where="walk = 'walk-1'")
    images = datasets.load_dataset(
        "webdataset", data_files={"train": str(tmp_path / "tars/train-*.tar")}, split="train", cache_dir=str(tmp_path)
    )
    assert [row["frame"] for row in images["json"]] == list(range(24))
    assert images[3]["webp"].size == (128, 128)
    assert images[3]["txt"] == wanted(store, "walk-1", 3)["prompt"]


def test_imagefolder_is_opened_by_datasets(store: Path, tmp_path: Path) -> None:
    import datasets

    done = export(store, tmp_path / "images", "imagefolder", splits=SPLITS, columns=("walk", "frame", "thing", "seed"))
    found = {}
    for split in done.frames:
        images = datasets.load_dataset(
            "imagefolder", data_dir=str(tmp_path / "images"), split=split, cache_dir=str(tmp_path / "cache")
        )
        assert set(images.column_names) == {"image", "text", "walk", "frame", "thing", "seed"}
        found[split] = list(zip(images["walk"], images["frame"], strict=True))
        for row in images.select(range(10)):
            original = wanted(store, row["walk"], row["frame"])
            assert row["text"] == original["prompt"]
            assert row["image"].size == (128, 128)
    check_whole(store, found)
    first = json.loads((tmp_path / "images" / "train" / "metadata.jsonl").read_text().splitlines()[0])
    picture = tmp_path / "images" / "train" / first["file_name"]
    assert picture.read_bytes() == wanted(store, first["walk"], first["frame"])["image"]["bytes"]


def test_kohya_has_a_caption_beside_each_picture(store: Path, tmp_path: Path) -> None:
    done = export(store, tmp_path / "train", "kohya", repeats=10, where="thing = 'rocket' AND frame = 0")
    folder = tmp_path / "train" / "10_pets"
    pictures = sorted(folder.glob("*.webp"))
    assert len(pictures) == done.files == len(list(folder.glob("*.txt"))) > 20
    for picture in pictures:
        walk = picture.stem.split("-", 1)[1].rpartition("-")[0]
        original = wanted(store, walk, 0)
        assert picture.read_bytes() == original["image"]["bytes"]
        assert picture.with_suffix(".txt").read_text() == original["prompt"]


def test_kohya_has_a_training_folder_for_each_split(store: Path, tmp_path: Path) -> None:
    done = export(store, tmp_path / "train", "kohya", splits=SPLITS)
    counts = {split: len(list((tmp_path / "train" / split / "1_pets").glob("*.webp"))) for split in done.frames}
    assert counts == done.frames


def test_csv_names_its_files(store: Path, tmp_path: Path) -> None:
    import pandas as pd

    done = export(store, tmp_path / "csv", "csv", splits=SPLITS)
    found = {}
    for split in done.frames:
        table = pd.read_csv(tmp_path / "csv" / f"{split}.csv", parse_dates=["timestamp"])
        found[split] = list(zip(table["walk"], table["frame"], strict=True))
        for row in table.head(20).to_dict("records"):
            original = wanted(store, row["walk"], row["frame"])
            assert (tmp_path / "csv" / row["file_name"]).read_bytes() == original["image"]["bytes"]
            assert {name: row[name] for name in COLUMNS} == {name: original[name] for name in COLUMNS}
    check_whole(store, found)
    with (tmp_path / "csv" / "train.csv").open(newline="") as file:
        assert next(csv.reader(file))[0] == "file_name"


def test_lance_is_opened_by_its_library(store: Path, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    done = export(store, tmp_path / "lance", "lance", splits=SPLITS, max_shard="300kB")
    found = {}
    for split in done.frames:
        table = lance.dataset(str(tmp_path / "lance" / f"{split}.lance")).to_table()
        found[split] = list(zip(table["walk"].to_pylist(), table["frame"].to_pylist(), strict=True))
        for row in table.slice(0, 20).to_pylist():
            original = wanted(store, row["walk"], row["frame"])
            assert row["image"] == original["image"]["bytes"]
            assert {name: row[name] for name in COLUMNS} == {name: original[name] for name in COLUMNS}
    check_whole(store, found)


@pytest.mark.parametrize("to", [name for name in TARGETS if name != "lance"])
def test_pictures_are_encoded_anew_only_when_asked(store: Path, tmp_path: Path, to: str) -> None:
    export(store, tmp_path / to, to, format="jpeg", where="walk = 'walk-0'")
    if to in ("imagefolder", "kohya", "csv"):
        pictures = sorted((tmp_path / to).rglob("*.jpeg"))
        assert len(pictures) == 24
        with Image.open(pictures[0]) as picture:
            assert picture.format == "JPEG"
