"""Which frames are exported, and into which split each comes: against Python that reads the store by itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from exports import FRAMES, export, rows_of, share, walks_of

from render import JobError, open_store
from render.catalog import ScoreFiles, write_marks
from render.catalog.sidecars import MARKS

pytest_plugins = ["exports"]


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Split → rows, in the order of the files."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((folder / "data").iterdir()):
        found[path.name.rpartition("-")[0]] += ds.dataset(path).to_table().to_pylist()
    return dict(found)


def test_a_split_follows_from_the_hash_of_the_prompt(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "out", splits="train=0.6,valid=0.3,test=0.1")
    wanted = {
        walk: "train" if share(prompt) < 0.6 else "valid" if share(prompt) < 0.9 else "test"
        for walk, prompt in walks_of(rows_of(store))
    }
    found = {row["walk"]: split for split, rows in read(tmp_path / "out").items() for row in rows}
    assert found == wanted
    assert set(found.values()) == {"train", "valid", "test"}


def test_walks_and_the_seeds_of_a_prompt_never_straddle(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "out", splits="a=0.5,b=0.5")
    places: dict[str, set[str]] = defaultdict(set)
    seeds: Counter[str] = Counter()
    for split, rows in read(tmp_path / "out").items():
        for row in rows:
            places[row["walk"]].add(split)
            if row["frame"] == 0:
                places[f"prompt {row['prompt']}"].add(split)
                seeds[row["prompt"]] += 1
    assert all(len(splits) == 1 for splits in places.values())
    assert max(seeds.values()) >= 4


def test_a_split_does_not_depend_on_what_else_is_exported(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "all", splits="a=0.5,b=0.5")
    export(store, tmp_path / "some", splits="a=0.5,b=0.5", where="frame BETWEEN 3 AND 9 OR seed = 2")
    every = {(row["walk"], row["frame"]): split for split, rows in read(tmp_path / "all").items() for row in rows}
    some = {(row["walk"], row["frame"]): split for split, rows in read(tmp_path / "some").items() for row in rows}
    assert 0 < len(some) < len(every)
    assert some.items() <= every.items()


def test_a_column_says_the_split(store: Path, tmp_path: Path) -> None:
    done = export(store, tmp_path / "out", splits="thing", where="thing IN ('rocket', 'octopus')")
    found = read(tmp_path / "out")
    assert set(found) == set(done.frames) == {"rocket", "octopus"}
    assert all({row["thing"] for row in rows} == {split} for split, rows in found.items())
    with pytest.raises(JobError, match=r"--splits thing: required a column .*; got 'cat face'"):
        export(store, tmp_path / "other", splits="thing")


def test_frames_are_in_the_order_of_the_store(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "out", columns=("walk", "frame"))
    (rows,) = read(tmp_path / "out").values()
    stored = open_store(store).dataset().to_table(["walk", "frame"]).to_pylist()
    assert [(row["walk"], row["frame"]) for row in rows] == [(row["walk"], row["frame"]) for row in stored]
    assert list(rows[0]) == ["image", "walk", "frame"]


def test_a_condition_takes_labels_scores_and_marks(copied_store: Path, tmp_path: Path) -> None:
    keys = [row["key"] for row in rows_of(copied_store).values()]
    table = {"key": keys[:40], "sharpness": [float(n) for n in range(40)]}
    ScoreFiles(copied_store, "sharpness").write(pa.table(table), {})
    marks = [{"key": key, "mark": "keep", "note": "for ann only"} for key in keys[20:60]]
    write_marks(copied_store, pa.Table.from_pylist(marks, MARKS))
    done = export(copied_store, tmp_path / "out", where="mark = 'keep' AND sharpness >= 30 OR walk = 'walk-0'")
    (rows,) = read(tmp_path / "out").values()
    assert {row["key"] for row in rows if row["walk"] != "walk-0"} == {*keys[30:40]}
    assert done.frames == {"train": len(rows)}
    assert "sharpness" in rows[0]
    assert not {"mark", "note", "rating", "marked_at"} & set(rows[0])
    export(copied_store, tmp_path / "marked", where="mark = 'keep'", columns=("note",))
    assert {row["note"] for row in read(tmp_path / "marked")["train"]} == {"for ann only"}


def test_duplicates_are_left_out_but_the_first(copied_store: Path, tmp_path: Path) -> None:
    rows = rows_of(copied_store)
    groups = {"key": [row["key"] for row in rows.values()][:10], "group": ["g"] * 4 + ["h"] * 6}
    ScoreFiles(copied_store, "phash").write(pa.table(groups), {})
    done = export(copied_store, tmp_path / "groups", dedupe="group")
    assert done.left_out == {"duplicates": 8}
    kept = {row["key"] for row in read(tmp_path / "groups")["train"]}
    assert set(groups["key"]) & kept == {groups["key"][0], groups["key"][4]}
    assert export(copied_store, tmp_path / "bits", dedupe="sha256").left_out == {}  # no two are equal, as it is


def test_equal_pixels_are_exported_once(store: Path, tmp_path: Path) -> None:
    done = export(store, tmp_path / "out", dedupe="blank")
    assert done.left_out == {"duplicates": FRAMES - len({row["blank"] for row in rows_of(store).values()})}


@pytest.mark.parametrize("splits", ["train=1", "a=0.5,b=0.5"])
def test_a_balance_gives_each_split_the_same_number_of_each_value(store: Path, tmp_path: Path, splits: str) -> None:
    where = "thing != 'whale' OR seed = 1"
    done = export(store, tmp_path / "out", balance="thing", splits=splits, where=where)
    before = export(store, tmp_path / "all", splits=splits, where=where)
    kept = 0
    for split, rows in read(tmp_path / "out").items():
        counts = Counter(row["thing"] for row in rows)
        rarest = min(Counter(row["thing"] for row in read(tmp_path / "all")[split]).values())
        assert set(counts.values()) == {rarest}
        kept += len(rows)
    assert done.left_out == {"beyond the rarest value": sum(before.frames.values()) - kept}


def test_a_balance_takes_the_same_frames_every_time(store: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(store, tmp_path / name, balance="thing")
    assert read(tmp_path / "one") == read(tmp_path / "two")


def test_files_are_no_larger_than_asked(store: Path, tmp_path: Path) -> None:
    done = export(store, tmp_path / "out", max_shard="200kB")
    sizes = [
        sum(len(row["image"]["bytes"]) for row in ds.dataset(path).to_table().to_pylist())
        for path in sorted((tmp_path / "out" / "data").iterdir())
    ]
    assert max(sizes) <= 200_000
    assert all(one + two > 200_000 for one, two in pairwise(sizes[:-1]))
    assert sum(sizes) == done.size_bytes


def odd_labels() -> Iterator[tuple[str, Any, Any]]:
    """(name, value in a manifest, what a dataset has)."""
    yield "split", "mine", "mine"
    yield "kept", 3, 3
    yield "number", 1.5, 1.5
    yield "tags", ["a", "b"], ["a", "b"]
    yield "box", {"x": 1, "y": 2.5}, {"x": 1, "y": 2.5}


def test_labels_of_any_name_and_kind(tmp_path: Path) -> None:
    from painters import painting

    from render import run_job

    rows = [{"prompt": f"a dog {n}"} | {name: value for name, value, _ in odd_labels()} for n in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet")
    with painting():
        run_job(tmp_path / "m.parquet", f"output={tmp_path / 'store'}", "workers.count=1", "sheets.kinds=[]")
    for to in ("hf", "webdataset", "imagefolder", "csv", "kohya"):
        done = export(
            tmp_path / "store", tmp_path / to, to, splits="train=0.99,test=0.01", balance="split", dedupe="kept"
        )
        assert sum(done.frames.values()) == 1
    (found,) = read(tmp_path / "hf").values()
    assert {name: found[0][name] for name, _, _ in odd_labels()} == {name: value for name, _, value in odd_labels()}
