"""Labels, names of splits and states of a folder that one rarely meets."""

from __future__ import annotations

import csv
import fcntl
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from exports import export
from made_up import write_stills

from render import JobError, StoreError, open_store
from render.catalog import write_marks
from render.catalog.sidecars import MARKS
from render.core import PARTIAL

pytest_plugins = ["exports"]
ODD = ["plain", "a\rb", "c\nd", 'e "f", g', "h\r\ni", "\r"]


@pytest.fixture(scope="session")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of six stills with odd labels. Not to be written to."""
    folder = tmp_path_factory.mktemp("odd")
    table = pd.DataFrame({"prompt": [f"3d tulip {number}" for number in range(6)]})
    table["mask_file_name"] = "mask.png"
    table["fold"], table["part"] = ["train", "train-x"] * 3, ["all", "test"] * 3
    table.to_parquet(folder / "rows.parquet")
    write_stills(folder / "rows.parquet", folder / "out")
    return folder / "out"


def test_csv_quotes_every_end_of_a_line(odd: Path, tmp_path: Path) -> None:
    out = shutil.copytree(odd, tmp_path / "store")
    keys = open_store(out).dataset().to_table(["key"])["key"].to_pylist()
    notes = [{"key": key, "note": text} for key, text in zip(keys, ODD, strict=True)]
    write_marks(out, pa.Table.from_pylist(notes, MARKS))
    export(out, tmp_path / "csv", "csv", columns=("note", "seed"))
    with (tmp_path / "csv" / "train.csv").open(encoding="utf-8", newline="") as file:
        assert [row["note"] for row in csv.DictReader(file)] == ODD
    assert pd.read_csv(tmp_path / "csv" / "train.csv", keep_default_na=False)["note"].tolist() == ODD


@pytest.mark.parametrize(("column", "name"), [("fold", "train-x"), ("part", "all")])
@pytest.mark.parametrize("to", ["hf", "webdataset"])
def test_names_of_splits_that_datasets_mistakes_are_refused(
    odd: Path, tmp_path: Path, to: str, column: str, name: str
) -> None:
    with pytest.raises(JobError, match=f"--splits {column}: required a column .*; got '{name}'"):
        export(odd, tmp_path / "out", to, splits=column)
    with pytest.raises(JobError, match=f"--splits: required names with shares .*; got the name '{name}'"):
        export(odd, tmp_path / "out", to, splits=f"train=0.5,{name}=0.5")
    assert not (tmp_path / "out").exists()


def test_imagefolder_refuses_columns_that_datasets_takes_for_files(odd: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="required none named 'mask_file_name', which imagefolder uses itself"):
        export(odd, tmp_path / "out", "imagefolder")
    assert export(odd, tmp_path / "hf", "hf").frames == {"train": 6}


def test_a_second_command_takes_nothing_from_the_first(odd: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    export(odd, folder)
    begun = folder / "data" / f"{PARTIAL}of-the-first"
    begun.write_bytes(b"half")
    with (folder / ".export" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="required that nobody else exports there"):
            export(odd, folder)
        assert begun.exists()
    export(odd, folder)
    assert not begun.exists()


def test_lance_begins_again_where_a_killed_run_left_no_dataset(odd: Path, tmp_path: Path) -> None:
    lance = pytest.importorskip("lance")
    folder = tmp_path / "out"
    export(odd, folder, "lance")
    note = folder / ".export" / "export.json"
    note.write_text(note.read_text().replace('"done": true', '"done": false'))
    for file in folder.glob(".export/train-*.json"):
        file.unlink()
    for file in folder.glob("train.lance/_versions/*"):
        file.unlink()
    export(odd, folder, "lance")
    assert lance.dataset(str(folder / "train.lance")).count_rows() == len(ODD)


@pytest.mark.parametrize("where", ["prompt", "CAST(prompt AS INTEGER) = 1", "regexp_matches(prompt, '(')"])
def test_a_condition_that_fails_on_a_value_is_refused(odd: Path, tmp_path: Path, where: str) -> None:
    for splits in ("train=1", "mask_file_name"):
        with pytest.raises(JobError, match="--where: required a condition in SQL over the columns"):
            export(odd, tmp_path / "out", where=where, splits=splits)
    assert not (tmp_path / "out").exists()
