"""The morning after of an output in a bucket: what mends a folder mends it, and an outage is not taken for damage."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch
from urllib.parse import unquote

import pytest
from buckets import Request, Server, few_tries, left_in_scratch
from painters import painting
from test_extended import FIRST, JOB, MORE, Failing

from render import (
    RunError,
    StoreError,
    compact_store,
    open_store,
    repair_store,
    report_store,
    retry_store,
    run_job,
    verify_store,
)
from render.cli import main
from render.core import ObjectPath, write_atomically
from render.prepare import stored_manifest
from render.run import animate_store
from render.store import Ledger

pytest_plugins = ["buckets"]
pytestmark = pytest.mark.slow

FRAMES = 9
Damage = Callable[[ObjectPath], None]


@pytest.fixture
def night(bucket: ObjectPath, tmp_path: Path) -> ObjectPath:
    """An output of two parts in a bucket."""
    table = tmp_path / "first.csv"
    with painting():
        for text, extend in ((FIRST, False), (FIRST + MORE, True)):
            table.write_text(text)
            run_job(table, *JOB, f"output={bucket}", extend=extend)
    return bucket


def shards(out: ObjectPath) -> list[ObjectPath]:
    return sorted((out / "data").iterdir())


def etags(out: ObjectPath) -> dict[str, str]:
    """Content of the shards and records, by their names."""
    return {path.name: path.facts().etag for room in ("data", ".run/commits") for path in (out / room).iterdir()}


def flip_a_byte(out: ObjectPath) -> None:
    data = bytearray(shards(out)[0].read_bytes())
    data[len(data) // 2] ^= 1
    write_atomically(shards(out)[0], bytes(data))


def lose_a_shard(out: ObjectPath) -> None:
    shards(out)[0].unlink()


def empty_record(out: ObjectPath) -> None:
    write_atomically(out / ".run" / "commits" / "00000.json", b"")


def list_as_record(out: ObjectPath) -> None:
    write_atomically(out / ".run" / "commits" / "00000.json", b"[1]")


def lose_a_record(out: ObjectPath) -> None:
    (out / ".run" / "commits" / "00000.json").unlink()


RENDERED = "2 frames rendered again, 0 more in quarantine"
TAKEN = "2 frames taken back, 0 frames rendered again"


@pytest.mark.parametrize(
    ("damage", "done"),
    [
        (flip_a_byte, RENDERED),
        pytest.param(lose_a_shard, RENDERED, marks=pytest.mark.long),
        pytest.param(empty_record, TAKEN, marks=pytest.mark.long),
        pytest.param(list_as_record, TAKEN, marks=pytest.mark.long),
        (lose_a_record, TAKEN),
    ],
)
def test_repair_renders_what_is_lost_and_takes_back_what_is_whole(
    night: ObjectPath, damage: Damage, done: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = etags(night)
    damage(night)
    assert main(["verify", str(night)]) == 1
    assert f"`render repair {night}`" in capsys.readouterr().out
    with painting():
        assert main(["repair", str(night)]) == 0
    assert done in capsys.readouterr().out.splitlines()[-1]
    verdict = verify_store(night, deep=True)
    assert (verdict.frames, verdict.problems) == (FRAMES, ())
    right = {name: etag for name, etag in before.items() if "00000" not in name.removeprefix("train-")[:5]}
    assert len(right) == 8
    assert right.items() <= etags(night).items()
    assert left_in_scratch() == []


@pytest.mark.parametrize(
    "damage",
    [lose_a_shard, *(pytest.param(damage, marks=pytest.mark.long) for damage in (empty_record, list_as_record))],
)
def test_whoever_needs_it_is_told(
    night: ObjectPath,
    tmp_path: Path,
    damage: Damage,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(night)
    for command in (["run", tmp_path / "first.csv", *JOB, f"output={night}"], ["animate", night], ["sheets", night]):
        assert main([*map(str, command)]) == 2
        assert f"`render repair {night}`" in capsys.readouterr().err


def test_a_cut_manifest_is_written_anew(night: ObjectPath) -> None:
    manifest = night / ".run" / "manifest.parquet"
    whole, rows = manifest.read_bytes(), stored_manifest(night).rows().to_pylist()
    for data in (whole[:-100], b""):
        write_atomically(manifest, data)
        assert [one.where for one in verify_store(night).findings] == [".run/manifest.parquet"]
        assert repair_store(night).rendered == 0
        assert stored_manifest(night).rows().to_pylist() == rows
    manifest.unlink()
    assert verify_store(night).problems
    assert repair_store(night).rendered == 0
    assert stored_manifest(night).rows().to_pylist() == rows


def test_a_foreign_object_is_named_and_stays(night: ObjectPath, tmp_path: Path) -> None:
    write_atomically(night / "data" / "notes.txt", b"mine")
    with painting():
        run_job(tmp_path / "first.csv", *JOB, f"output={night}")
        repair_store(night)
    (found,) = verify_store(night).findings
    assert (found.kind, found.where) == ("foreign", "data/notes.txt")
    assert (night / "data" / "notes.txt").read_bytes() == b"mine"


def test_compaction_and_what_comes_after(night: ObjectPath, tmp_path: Path) -> None:
    rows = open_store(night).dataset().to_table().to_pylist()
    done = compact_store(night)
    assert (done.merged, done.files) == (5, 1)
    assert [path.name[:20] for path in shards(night)] == ["train-00000-to-00004"]
    assert open_store(night).dataset().to_table().to_pylist() == rows
    assert verify_store(night, deep=True).frames == FRAMES
    assert compact_store(night).merged == 0
    with painting():
        run_job(tmp_path / "first.csv", *JOB, f"output={night}")
    flip_a_byte(night)
    with painting():
        assert repair_store(night).rendered == FRAMES
    assert verify_store(night, deep=True).frames == FRAMES
    assert left_in_scratch() == []


@pytest.mark.long
@pytest.mark.parametrize("number", range(1, 60, 7))
def test_a_compaction_may_be_stopped_anywhere(night: ObjectPath, server: Server, number: int) -> None:
    rows = open_store(night).dataset().to_table().to_pylist()
    writes: list[str] = []

    def stop(request: Request) -> str:
        if request.method in ("PUT", "POST", "DELETE"):
            writes.append(str(request))
        return "cut" if len(writes) >= number else ""

    server.begin(stop)
    with few_tries(1), suppress(RunError, StoreError):
        compact_store(night)
    server.begin()
    assert open_store(night).dataset().to_table().to_pylist() == rows
    with patch("render.store.lease.lives", return_value=False):
        compact_store(night)
    assert len(shards(night)) == 1
    assert verify_store(night, deep=True).frames == FRAMES


def test_the_night_is_told(night: ObjectPath, tmp_path: Path) -> None:
    report = report_store(night)
    assert (report.frames, report.missing, report.damage) == (FRAMES, 0, ())
    assert [event["event"] for event in report.events] == ["begin", "end"] * 2
    assert sum(one.frames for one in report.pace) == pytest.approx(FRAMES)
    assert report.next_steps == (f"nothing is left to do; `render verify {night}` reads every byte",)
    assert main(["report", str(night), "--html", str(tmp_path / "night.html")]) == 0
    assert "<h1>out</h1>" in (tmp_path / "night.html").read_text()


def test_frames_in_quarantine_are_told_and_tried_again(
    bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "first.csv").write_text(FIRST)
    monkeypatch.setattr("render.cluster.Cluster", Failing)
    assert run_job(tmp_path / "first.csv", *JOB, f"output={bucket}").quarantined == 5
    report = report_store(bucket)
    assert [(one.walk, one.frame, one.error) for one in report.failed][:2] == [
        ("a", 0, "ValueError"),
        ("a", 1, "ValueError"),
    ]
    assert report.next_steps == (f"5 frames are in quarantine: `render retry {bucket}`",)
    done = retry_store(bucket, seed_shift=1)
    assert (done.tried, done.failed) == (5, 0)
    assert verify_store(bucket, deep=True).frames == 5
    assert report_store(bucket).failed == ()


@pytest.mark.parametrize(
    ("fault", "place"),
    [
        ("throttle", ".run/commits/"),
        ("deny", "data/"),
        *(
            pytest.param(fault, place, marks=pytest.mark.long)
            for fault in ("throttle", "cut", "deny")
            for place in (".run/commits/", "data/", ".run/manifest", ".run/compactions")
        ),
    ],
)
def test_an_outage_is_not_taken_for_damage(night: ObjectPath, server: Server, fault: str, place: str) -> None:
    """Nothing is withdrawn, deleted or rendered; each command ends with the store's fault, whatever it reads."""
    compact_store(night, 10**6 if place == ".run/compactions" else 1)
    before = etags(night)

    def out(request: Request) -> str:
        return fault if f"out/{place}" in request.path + unquote(request.query) else ""

    for command in (verify_store, repair_store, compact_store, report_store, animate_store):
        server.begin(out)
        with few_tries(1), pytest.raises((OSError, RunError)) as caught:
            command(night)
        assert "required" in str(caught.value)
        assert "mends" not in str(caught.value)
    server.begin()
    assert etags(night) == before
    assert not (night / ".run" / "damaged").is_dir()
    assert not Ledger(night).folder.lock.exists()
    assert verify_store(night, deep=True).frames == FRAMES
