"""The table of frames, over a made-up store: what is in it, what a query may do, and what it takes in later."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from buckets import Server
from made_up import MADE_UP, write_stills

from render import compact_store, open_store
from render.catalog.catalog import Catalog
from render.catalog.sidecars import MARKS, ScoreFiles, read_marks, write_marks
from render.core.errors import JobError, StoreError
from render.core.objects import ObjectPath

pytest_plugins = ["buckets", "made_up"]
FRAMES = MADE_UP


def keys(out: Path) -> list[str]:
    found: list[str] = open_store(out).dataset().to_table(["key"])["key"].to_pylist()
    return found


def score(out: Path, name: str, columns: dict[str, list[object]]) -> None:
    ScoreFiles(out, name).write(pa.table(columns), {"scorer": name})


def test_the_table_has_every_frame_and_its_labels(out: Path) -> None:
    reference = duckdb.connect()
    stored = reference.read_parquet([str(path) for path in open_store(out).files])
    with Catalog(out) as catalog:
        assert len(catalog) == FRAMES
        names = [column.name for column in catalog.columns]
        assert {"image", "recipe"}.isdisjoint(names)
        assert {*names, "image", "recipe"} == {*stored.columns, "mark", "rating", "note", "marked_at"}
        assert {column.name for column in catalog.columns if column.source == "label"} == {"thing"}
        sql = "SELECT walk, frame, prompt, seed, cfg, thing, blank FROM {} ORDER BY walk, frame"
        wanted = reference.sql(sql.format("stored")).to_arrow_table()
        assert catalog.query(sql.format("frames")).equals(wanted)


def test_a_picture_and_a_recipe_are_found_by_their_place(out: Path) -> None:
    store = open_store(out)
    with Catalog(out) as catalog:
        rows = catalog.query(
            "SELECT walk, frame, shard, row FROM frames WHERE thing = 'rocket' ORDER BY seed"
        ).to_pylist()
        places = [(row["shard"], row["row"]) for row in rows]
        pictures = list(catalog.pictures(places))
        assert [(one.shard, one.row) for one in pictures] == sorted(places)
        for row in rows:
            frame = store.frame(row["walk"], row["frame"])
            picture = next(one for one in pictures if (one.shard, one.row) == (row["shard"], row["row"]))
            assert picture.data == frame.data
            assert catalog.recipe(picture.shard, picture.row) == frame.row["recipe"]
        assert list(catalog.places("thing = 'rocket'")) == sorted(places)


def test_scores_and_marks_are_joined_by_key(out: Path) -> None:
    first, second, *_ = sorted(set(keys(out)))
    score(
        out, "sharp", {"key": [first, second], "sharpness": [1.5, 2.5], "thing": ["a", "b"], "vector": [[1.0], [2.0]]}
    )
    when = datetime(2026, 1, 2, tzinfo=UTC)
    write_marks(out, pa.table([[second], ["keep"], [5], ["good"], [when]], schema=MARKS))
    with Catalog(out) as catalog:
        sources = {column.name: column.source for column in catalog.columns if column.source not in {"store", "label"}}
        assert sources == {
            "sharpness": "sharp",
            "sharp_thing": "sharp",  # the manifest has a label of this name
            **dict.fromkeys(("mark", "rating", "note", "marked_at"), "mark"),
        }
        found = catalog.query(
            "SELECT DISTINCT key, sharpness, sharp_thing, mark, rating FROM frames WHERE sharpness > 0"
        )
        rows = sorted(found.to_pylist(), key=lambda row: row["key"])
        assert [tuple(row.values()) for row in rows] == [(first, 1.5, "a", None, None), (second, 2.5, "b", "keep", 5)]
        assert len(catalog) == FRAMES
    assert read_marks(out)["note"].to_pylist() == ["good"]


def test_a_key_with_two_scores_is_no_second_frame(out: Path) -> None:
    key = keys(out)[0]
    for _ in range(2):
        score(out, "sharp", {"key": [key], "sharpness": [1.5]})
    assert ScoreFiles(out, "sharp").keys() == {key}
    assert ScoreFiles(out, "sharp").settings() == {"scorer": "sharp"}
    with Catalog(out) as catalog:
        assert len(catalog) == FRAMES


def test_what_comes_later_is_taken_in(made_up_once: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made_up_once, out, ignore=shutil.ignore_patterns("0000[0-4].json"))
    with Catalog(out) as catalog:
        there = len(catalog)
        assert 0 < there < FRAMES
        shutil.copytree(made_up_once, out, dirs_exist_ok=True)
        assert catalog.refresh() == FRAMES - there
        score(out, "sharp", {"key": [keys(out)[0]], "sharpness": [1.5]})
        assert catalog.refresh() == 0
        assert catalog.query("SELECT count(sharpness) AS n FROM frames")["n"].to_pylist() >= [1]
        compact_store(out)
        catalog.refresh()
        assert len(catalog) == FRAMES
        assert catalog.query("SELECT count(DISTINCT (walk, frame)) AS n FROM frames")["n"].to_pylist() == [FRAMES]


def test_an_output_without_frames_has_every_column(made_up_once: Path, tmp_path: Path) -> None:
    shutil.copytree(made_up_once, tmp_path / "out", ignore=shutil.ignore_patterns("000*.json", "train-*"))
    with Catalog(tmp_path / "out") as catalog:
        assert len(catalog) == 0
        assert catalog.query("SELECT prompt, seed, mark FROM frames").num_rows == 0


@pytest.mark.parametrize(
    "where",
    [
        "thing ==",
        "nothing = 1",
        "thing = 'a'; DROP TABLE stored",
        "seed = (SELECT 1 FROM '/etc/passwd')",
    ],
)
def test_a_condition_that_is_none_is_refused(out: Path, where: str) -> None:
    with Catalog(out) as catalog:
        with pytest.raises(JobError, match=r"^--where: required a condition in SQL over the columns prompt, .* got "):
            catalog.check(where, "--where")
        assert len(catalog) == FRAMES
        catalog.check("thing = 'rocket' -- all of them", "--where")


@pytest.mark.parametrize(
    "sql", ["COPY stored TO '{}/x.csv'", "SELECT * FROM read_text('{}/out.parquet')", "ATTACH '{}/x'"]
)
def test_a_query_touches_no_file(out: Path, sql: str) -> None:
    with Catalog(out) as catalog, pytest.raises(duckdb.Error):
        catalog.query(sql.format(out.parent))
    assert not (out.parent / "x.csv").exists()


def test_damage_names_the_file_and_the_way_out(out: Path) -> None:
    with Catalog(out) as catalog:
        shard = catalog.shards[0]
        shard.write_bytes(b"PAR1")
        with pytest.raises(StoreError, match=rf"{shard}: required a committed shard.*`render repair {out}`"):
            list(catalog.pictures([(0, 0)]))
    score(out, "sharp", {"key": ["a"], "sharpness": [1.0]})
    file = ScoreFiles(out, "sharp").files()[0]
    file.write_bytes(b"nothing")
    with pytest.raises(StoreError, match=rf"{file}: required a table of scores or marks, got a damaged file"):
        ScoreFiles(out, "sharp").keys()


def test_a_folder_that_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="required the output folder of a run"):
        Catalog(tmp_path)


def test_an_output_in_a_bucket(made_up_once: Path, server: Server, bucket: ObjectPath) -> None:
    for path in made_up_once.rglob("*"):
        if path.is_file():
            bucket.joinpath(*path.relative_to(made_up_once).parts).upload(path)
    key = keys(made_up_once)[0]
    score(bucket, "sharp", {"key": [key], "sharpness": [1.5]})
    write_marks(bucket, pa.table([[key], ["keep"], [5], [None], [datetime.now(UTC)]], schema=MARKS))
    with Catalog(bucket) as catalog:
        assert len(catalog) == FRAMES
        row = catalog.query("SELECT shard, row, sharpness, mark FROM frames WHERE key = ?", [key]).to_pylist()[0]
        assert (row["sharpness"], row["mark"]) == (1.5, "keep")
        picture = next(catalog.pictures([(row["shard"], row["row"])]))
        shard = made_up_once / "data" / catalog.shards[row["shard"]].name
        assert picture.data == pq.read_table(shard)["image"][row["row"]].as_py()["bytes"]


def test_labels_may_be_called_as_what_is_counted_here(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a", "b"], "shard": ["x", "y"], "row": [7, 8], "place": ["here", "there"]})
    pq.write_table(table, tmp_path / "m.parquet")
    write_stills(tmp_path / "m.parquet", tmp_path / "out")
    with Catalog(tmp_path / "out") as catalog:
        found = catalog.query("SELECT label_shard, label_row, place, row FROM frames ORDER BY prompt").to_pylist()
    assert [tuple(row.values()) for row in found] == [("x", 7, "here", 0), ("y", 8, "there", 1)]


def test_a_scorer_without_files_has_no_columns(out: Path) -> None:
    score(out, "sharpness", {"key": [*keys(out)[:1]], "sharpness": [0.5]})
    with Catalog(out) as catalog:
        (file,) = ScoreFiles(out, "sharpness").files()
        file.unlink()  # as an error about a damaged one advises
        catalog.refresh()
        assert "sharpness" not in [column.name for column in catalog.columns]
        assert len(catalog) == FRAMES
    with Catalog(out) as catalog:
        assert len(catalog) == FRAMES
        score(out, "sharpness", {"key": [*keys(out)[:1]], "sharpness": [0.75]})
        catalog.refresh()
        assert catalog.query("SELECT max(sharpness) AS most FROM frames")["most"].to_pylist() == [0.75]


def test_names_that_differ_by_case_are_two_columns(out: Path) -> None:
    score(out, "mine", {"key": [*keys(out)[:1]], "Prompt": [0.5]})
    with Catalog(out) as catalog:
        assert catalog.query("SELECT max(mine_Prompt) AS most FROM frames")["most"].to_pylist() == [0.5]
        assert "mine_Prompt" in [column.name for column in catalog.columns]


@pytest.mark.parametrize("table", [{"score": [1.0]}, {"key": [1], "score": [1.0]}])
def test_a_table_of_scores_without_keys_is_refused(out: Path, table: dict[str, list[object]]) -> None:
    score(out, "mine", table)
    with pytest.raises(StoreError, match=r"mine/.*: required a table of scores or marks, got a damaged file"):
        Catalog(out)
