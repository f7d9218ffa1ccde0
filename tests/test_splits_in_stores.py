"""Splits of a data set from the manifest to `datasets.load_dataset`, through all that changes a store."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from painters import painting

from render import (
    StoreError,
    compact_store,
    open_store,
    plan_job,
    repair_store,
    run_job,
    verify_store,
)
from render.core import hashed_split
from render.plan import plan_units
from render.store import Ledger, split_of

JOB = ("sampling.steps=2", "workers.count=1", "workers.batch_rows=2", "animation.formats=[]", "sheets.kinds=[]")
HEAD = "walk,prompt,seed,frames,split\n"
ROWS = (
    HEAD
    + "a,dog,1,3,train\na,cat,2,,\n"
    + "".join(f",{split} {n},{n},,{split}\n" for n in range(6) for split in ("train", "test", "validation"))
)
FRAMES = Counter(train=10, test=6, validation=6)


def night(folder: Path, text: str = ROWS, *more: str, **options: Any) -> Path:
    table = folder / "table.csv"
    table.write_text(text)
    with painting():
        return run_job(table, *JOB, "store.unit_frames=4", f"output={folder / 'out'}", *more, **options).out


def load(out: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return datasets.load_dataset(str(out), cache_dir=str(folder / "cache"))


def check(out: Path, frames: Counter[str] = FRAMES) -> None:
    """Every file has frames of one split, which its name says."""
    verdict = verify_store(out, deep=True)
    assert (verdict.frames, verdict.problems) == (frames.total(), ())
    found: Counter[str] = Counter()
    for row in duckdb.sql(
        f"select filename, split, prompt from read_parquet('{out}/data/*.parquet', filename=true)"
    ).fetchall():
        assert split_of(Path(row[0]).name) == row[1]
        assert row[2].split()[0] in (row[1], "dog", "cat")
        found[row[1]] += 1
    assert found == frames


def test_datasets_has_every_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = night(tmp_path)
    check(out)
    loaded = load(out, tmp_path, monkeypatch)
    assert {name: len(split) for name, split in loaded.items()} == FRAMES
    assert list(loaded) == ["train", "validation", "test"]
    assert {row["prompt"] for row in loaded["test"]} == {f"test {n}" for n in range(6)}
    assert loaded["train"][0]["image"].size == (128, 128)
    frame = pd.read_parquet(next((out / "data").glob("validation-*")))
    assert set(frame["split"]) == {"validation"}
    assert open_store(out).frame("a").row["split"] == "train"


def test_shares_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"train": 0.6, "test": 0.4}
    prompts = [f"prompt {n // 2}" for n in range(24)]
    out = night(tmp_path, "prompt\n" + "\n".join(prompts) + "\n", "splits={train: 0.6, test: 0.4}")
    expected = Counter(hashed_split(prompt, shares) for prompt in prompts)
    loaded = load(out, tmp_path, monkeypatch)
    assert {name: len(split) for name, split in loaded.items()} == expected
    assert not {*loaded["train"]["prompt"]} & {*loaded["test"]["prompt"]}


def test_without_train_the_card_names_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = night(tmp_path, "prompt,split\na,test\nb,test\n")
    assert list(load(out, tmp_path, monkeypatch)) == ["test"]
    assert 'split="test")' in (out / "README.md").read_text()


def test_units_have_one_split_and_are_as_many_as_planned(tmp_path: Path) -> None:
    prepared = plan_job(pd.read_csv(io.StringIO(ROWS)), *JOB, "store.unit_frames=4", f"output={tmp_path / 'x'}")
    units = list(plan_units(prepared.manifest.walks, prepared.plan))
    assert len(units) == prepared.plan.units == 3 + 2 + 2
    assert [unit.id for unit in units] == [f"{n:05d}" for n in range(7)]
    assert sum((Counter({unit.split: len(unit.frames)}) for unit in units), Counter()) == FRAMES


def test_what_changes_a_store_keeps_its_splits(tmp_path: Path) -> None:
    out = night(tmp_path)
    names = [path.name for path in open_store(out).files]
    lost = next(name for name in names if name.startswith("test-"))
    (out / "data" / lost).unlink()
    with painting():
        repair_store(out)
    check(out)
    for slot in (out / ".run" / "commits").iterdir():
        slot.unlink()  # of all units: the shards are taken back
    assert night(tmp_path) == out
    check(out)
    assert compact_store(out).files == 3
    check(out)
    assert sorted(split_of(path.name) for path in (out / "data").iterdir()) == ["test", "train", "validation"]
    for record in (out / ".run" / "compactions").iterdir():
        record.unlink()
    for slot in (out / ".run" / "commits").iterdir():
        slot.unlink()
    night(tmp_path)
    check(out)


def test_a_shard_of_another_split_is_not_taken_back(tmp_path: Path) -> None:
    out = night(tmp_path)
    shard = next((out / "data").glob("test-*"))
    slot = shard.name.split("-")[1]
    shard.rename(shard.with_name("train" + shard.name.removeprefix("test")))
    (out / ".run" / "commits" / f"{slot}.json").unlink()
    night(tmp_path)
    check(out)


def test_an_output_of_before_is_resumed(tmp_path: Path) -> None:
    """Its plan says nothing of splits, and its stored manifest has no such column."""
    text = "prompt\n" + "".join(f"p{n}\n" for n in range(8))
    out = night(tmp_path, text)
    plan = json.loads((out / ".run" / "plan.json").read_text())
    assert plan.pop("has_splits") is False
    (out / ".run" / "plan.json").write_text(json.dumps(plan))
    stored = out / ".run" / "manifest.parquet"
    pq.write_table(pq.read_table(stored).drop_columns(["split"]), stored)
    kept = next(iter(Ledger(out).receipts()))
    (out / "data" / str(kept.file)).unlink()
    (out / ".run" / "commits" / f"{kept.unit}.json").unlink()
    before = {path.name: path.read_bytes() for path in (out / "data").iterdir()}
    assert night(tmp_path, text) == out
    assert {name: (out / "data" / name).read_bytes() for name in before} == before
    assert "split" not in open_store(out).dataset().schema.names
    assert verify_store(out, deep=True).problems == ()


def test_rows_of_a_new_split_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shards of a store have one schema: one that began without splits gets no column, but files of the split."""
    text = "prompt,split\n" + "".join(f"p{n},\n" for n in range(4))
    out = night(tmp_path, text)
    night(tmp_path, text + "q0,test\nq1,test\n", extend=True)
    assert {name: len(split) for name, split in load(out, tmp_path, monkeypatch).items()} == {"train": 4, "test": 2}
    assert "split" not in open_store(out).dataset().schema.names
    with pytest.raises(StoreError, match=r"row 1, column 'split': 'train' then, 'test' now"):
        night(tmp_path, text.replace("p0,", "p0,test") + "q0,test\nq1,test\n")
