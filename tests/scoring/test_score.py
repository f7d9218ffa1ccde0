"""Scores of a whole store: what is written, what goes on, what is refused, what a damaged picture does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from buckets import Server
from made_up import MADE_UP
from scorer_folders import make_clip
from stores import snapshot

from render import open_store
from render.catalog.catalog import Catalog
from render.catalog.sidecars import ScoreFiles
from render.cli import main
from render.core.errors import JobError
from render.core.objects import ObjectPath
from render.scoring.score import score_store

pytest_plugins = ["buckets", "made_up"]
FRAMES = MADE_UP
KEYS = "SELECT count(DISTINCT key) AS n FROM frames"


class TasksHere:
    """Stands in for Ray: calls the function here."""

    def __init__(self, *_: object) -> None: ...
    def __enter__(self) -> TasksHere:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Any, str]]:
        for item in items:
            try:
                yield item, function(item), ""
            except Exception as error:
                yield item, None, repr(error)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.cluster.Tasks", TasksHere)


@pytest.mark.usefixtures("here")
def test_every_frame_is_scored_once_and_no_shard_changes(out: Path) -> None:
    before = snapshot(out)
    done = score_store(out, ["sharpness", "phash", "edges:sharpness"])
    assert (done.scores, done.before, done.failed) == (("sharpness", "phash", "edges"), 0, ())
    assert {name: facts for name, facts in snapshot(out).items() if name in before} == before
    with Catalog(out) as catalog:
        keys = catalog.query(KEYS)["n"][0].as_py()
        assert done.frames == keys
        assert len(catalog) == FRAMES
        counted = "SELECT count(sharpness), count(edges), count(phash), count(near_count), count(*) FROM frames"
        assert list(catalog.query(counted).to_pylist()[0].values()) == [FRAMES] * 5
        assert catalog.query("SELECT count(*) AS n FROM frames WHERE sharpness <> edges")["n"][0].as_py() == 0
    files = str(out / "scores" / "sharpness" / "*.parquet")  # as anybody reads them
    assert duckdb.sql(f"SELECT count(*), count(DISTINCT key), min(sharpness) > 0 FROM '{files}'").fetchall() == [
        (keys, keys, True)
    ]


@pytest.mark.usefixtures("here")
def test_the_same_command_goes_on(out: Path) -> None:
    score_store(out, ["sharpness"])
    lost = ScoreFiles(out, "sharpness").files()[0]
    missing = pq.read_metadata(lost).num_rows
    lost.unlink()
    told: list[tuple[int, int]] = []
    done = score_store(out, ["sharpness", "entropy"], told=lambda *numbers: told.append(numbers))
    with Catalog(out) as catalog:
        keys = catalog.query(KEYS)["n"][0].as_py()
        assert catalog.query("SELECT count(sharpness + entropy) AS n FROM frames")["n"][0].as_py() == FRAMES
    assert (done.frames, done.before) == (keys, 0)  # each lacks one score at least
    assert told[-1] == (keys, keys)
    assert sum(pq.read_metadata(path).num_rows for path in ScoreFiles(out, "sharpness").files()) == keys
    again = score_store(out, ["sharpness"])
    assert (again.frames, again.before) == (0, keys)
    assert 0 < missing < keys


@pytest.mark.usefixtures("here")
def test_another_model_under_the_same_name_is_refused(out: Path, tmp_path: Path) -> None:
    model = make_clip(tmp_path / "clip")
    assert score_store(out, [f"clip={model}"]).frames > 0
    schema = ScoreFiles(out, "clip").schema()
    assert schema is not None
    assert schema.field("clip_embedding").type == pa.list_(pa.float16())
    with Catalog(out) as catalog:
        assert {column.name for column in catalog.columns if column.source == "clip"} == {"clip_score"}
    with pytest.raises(JobError, match=r"--with clip: required the kind and model that .*scores/clip was made with"):
        score_store(out, ["clip:sharpness"])
    with pytest.raises(JobError, match="required another name than that of the groups"):
        score_store(out, ["near:sharpness"])


@pytest.mark.usefixtures("here")
def test_a_picture_that_is_damaged_is_named_and_the_others_are_scored(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = open_store(out).files[0]
    table = pq.read_table(shard)
    images = table["image"].to_pylist()
    images[3] = {"bytes": b"no picture", "path": "a.webp"}
    field = table.schema.field("image")
    pq.write_table(table.set_column(0, field, pa.array(images, field.type)), shard)
    gone = open_store(out).files[-1]
    gone_rows = pq.read_metadata(gone).num_rows
    with Catalog(out) as catalog:
        asked = score_store(out, ["sharpness"])
        assert asked.failed[0].startswith(f"{shard.name}, row 3: ")
        keys = catalog.query(KEYS)["n"][0].as_py()
    assert asked.frames == keys - 1
    assert gone_rows > 0
    assert main(["score", str(out), "--with", "sharpness"]) == 1
    assert f"not scored: {shard.name}, row 3: cannot identify image file" in capsys.readouterr().err


@pytest.mark.usefixtures("here")
def test_an_output_in_a_bucket(made_up_once: Path, server: Server, bucket: ObjectPath) -> None:
    for path in made_up_once.rglob("*"):
        if path.is_file():
            bucket.joinpath(*path.relative_to(made_up_once).parts).upload(path)
    done = score_store(bucket, ["sharpness", "phash"])
    with Catalog(bucket) as catalog:
        assert done.frames == catalog.query(KEYS)["n"][0].as_py()
        assert catalog.query("SELECT count(near_count) AS n FROM frames")["n"][0].as_py() == FRAMES


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--with", "blur"], "--with blur: required one of clip"),
        (["--with", "sharpness", "sampling.steps=3"], "sampling.steps"),
        (["--with", "sharpness", "workers.count=0"], "workers.count"),
    ],
)
def test_bad_input_ends_with_2(
    out: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["score", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (out / "scores").exists()


@pytest.mark.slow
def test_on_ray(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", str(out), "--with", "sharpness,phash", "workers.count=2", "workers.cpus=1"]) == 0
    assert "frames got sharpness, phash" in capsys.readouterr().out
    with Catalog(out) as catalog:
        assert catalog.query("SELECT count(sharpness) AS n FROM frames")["n"][0].as_py() == FRAMES
