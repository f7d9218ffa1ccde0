"""The morning after a night in which rows were added: every table and unit of it is known, checked and mended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from painters import Painter, painting
from test_repair import files
from test_verify import flip_a_byte

from render import (
    Compacted,
    ManifestError,
    compact_store,
    open_store,
    repair_store,
    report_store,
    retry_store,
    run_job,
    verify_store,
)
from render.cli import main
from render.core import Receipt, Unit
from render.prepare import load_plan, stored_manifest
from render.store import Failure, Ledger, write_shard

pytest_plugins = ["stores"]

JOB = ("sampling.steps=2", "store.unit_frames=2", "workers.count=1", "workers.batch_rows=4", "animation.formats=[]")
FIRST = "walk,prompt,seed,frames\na,3d dog,1,3\na,3d cat,2,\n,3d apple,3,\n"  # 5 frames in 3 units
MORE = ",3d pear,4,\nb,3d tree,5,2\nb,3d lake,6,\n"  # 4 frames in 2 units
FURTHER = "prompt,seed\n3d hill,7\n3d sea,8\n3d sky,9\n"  # 3 frames in 2 units
FRAMES = 12


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """An output that was begun with a table, extended by more rows of it, and by a further table."""
    out = tmp_path / "out"
    table, further = tmp_path / "first.csv", tmp_path / "further.csv"
    further.write_text(FURTHER)
    with painting():
        table.write_text(FIRST)
        run_job(table, *JOB, f"output={out}")
        table.write_text(FIRST + MORE)
        run_job(table, *JOB, f"output={out}", extend=True)
        run_job(further, *JOB, f"output={out}", extend=True)
    assert [part.units for part in load_plan(out).extensions] == [2, 2]
    assert len(open_store(out)) == FRAMES
    return out


def shards(out: Path) -> list[Path]:
    return sorted((out / "data").iterdir())


def test_every_part_is_checked(extended: Path) -> None:
    assert verify_store(extended, deep=True).frames == FRAMES
    report = report_store(extended)
    assert (report.frames, report.missing, report.damage, len(report.failed)) == (FRAMES, 0, (), 0)
    assert [event["event"] for event in report.events] == ["begin", "end"] * 3
    assert sum(one.frames for one in report.pace) == pytest.approx(FRAMES)


@pytest.mark.parametrize("number", [0, 3, 6])
def test_a_unit_of_any_part_is_rendered_again(extended: Path, number: int) -> None:
    before, rows = files(extended), {row["key"] for row in open_store(extended).dataset().to_table().to_pylist()}
    shards(extended)[number].write_bytes(b"PAR1")
    (found,) = verify_store(extended).findings
    assert found.slot == f"{number:05d}"
    assert report_store(extended).damage[0].slot == found.slot
    with painting():
        done = repair_store(extended)
    assert done.rendered == len(open_store(extended)) - (FRAMES - done.rendered) > 0
    assert verify_store(extended, deep=True).problems == ()
    assert {row["key"] for row in open_store(extended).dataset().to_table().to_pylist()} == rows
    right = {name: data for name, data in before.items() if not name.removeprefix("train-").startswith(found.slot)}
    assert {name: files(extended).get(name) for name in right} == right


def test_units_that_are_missing_are_those_of_their_part(extended: Path) -> None:
    for slot in ("00001", "00004", "00005"):
        (extended / ".run" / "commits" / f"{slot}.json").unlink()
        next((extended / "data").glob(f"train-{slot}-*")).unlink()
    before = report_store(extended)
    assert (before.frames, before.missing) == (FRAMES - 6, 6)
    with painting():
        assert repair_store(extended).rendered == 6
    assert verify_store(extended, deep=True).frames == FRAMES


def test_a_lost_manifest_is_read_anew_from_every_table(extended: Path, tmp_path: Path) -> None:
    manifest = extended / ".run" / "manifest.parquet"
    rows = stored_manifest(extended).rows().to_pylist()
    (tmp_path / "first.csv").write_text(FIRST + MORE + ",3d rain,10,\n")  # rows that nobody has added yet
    for damage in (manifest.read_bytes()[:-100], b""):
        manifest.write_bytes(damage)
        (found,) = verify_store(extended).findings
        assert (found.where, found.kind) == (".run/manifest.parquet", "corrupt")
        assert found.line("OUT").endswith("`render repair OUT` mends it")
        assert repair_store(extended).rendered == 0
        assert stored_manifest(extended).rows().to_pylist() == rows
        assert verify_store(extended, deep=True).problems == ()
    manifest.unlink()
    repair_store(extended)
    assert verify_store(extended).frames == FRAMES


def test_a_lost_manifest_whose_tables_have_changed_is_no_guess(
    extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, before = extended / ".run" / "manifest.parquet", files(extended)
    manifest.write_bytes(b"")
    flip_a_byte(extended)
    further = tmp_path / "further.csv"
    further.write_text(FURTHER.replace("sea", "bay"))
    with pytest.raises(ManifestError, match=r"first\.csv, .*further\.csv with other rows or settings than then"):
        repair_store(extended)
    further.unlink()
    assert main(["repair", str(extended)]) == 2
    said = capsys.readouterr().err
    assert "manifest.parquet: required the manifest that was planned, got a damaged one, and no table" in said
    assert "further.csv" in said
    assert set(files(extended)) == set(before)


def test_a_run_says_what_mends_the_manifest(extended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (extended / ".run" / "manifest.parquet").write_bytes(b"PAR1")
    assert main(["run", str(tmp_path / "first.csv"), *JOB, f"output={extended}"]) == 2
    assert f"`render repair {extended}` writes it anew" in capsys.readouterr().err


def test_rows_that_a_crash_left_behind_the_plan_are_no_damage(extended: Path, tmp_path: Path) -> None:
    """The manifest with more rows was written, the plan was not: its rows count only."""
    plan, table = (extended / ".run" / "plan.json").read_text(), tmp_path / "first.csv"
    further = tmp_path / "third.csv"
    further.write_text("prompt,seed\n3d moon,1\n")
    with painting():
        run_job(further, *JOB, f"output={extended}", extend=True)
    (extended / ".run" / "plan.json").write_text(plan)
    for path in (*(extended / "data").glob("train-00007*"), extended / ".run" / "commits" / "00007.json"):
        path.unlink()
    before = (extended / ".run" / "manifest.parquet").read_bytes()
    assert verify_store(extended).problems == ()
    assert repair_store(extended).findings == ()
    with painting():
        assert run_job(table, *JOB, f"output={extended}").frames == FRAMES
    assert (extended / ".run" / "manifest.parquet").read_bytes() == before


def test_parts_are_merged_as_they_come(extended: Path, tmp_path: Path) -> None:
    rows = open_store(extended).dataset().to_table().to_pylist()
    assert compact_store(extended).files == 1
    further = tmp_path / "third.csv"
    further.write_text("prompt,seed\n3d moon,1\n3d star,2\n3d sun,3\n")
    with painting():
        assert run_job(further, *JOB, f"output={extended}", extend=True).frames == FRAMES + 3
    assert [path.name[:18] for path in open_store(extended).files] == [
        "train-00000-to-000",
        "train-00007-of-000",
        "train-00008-of-000",
    ]
    assert compact_store(extended) == Compacted(2, 2)
    assert open_store(extended).dataset().to_table().to_pylist()[:FRAMES] == rows
    assert verify_store(extended, deep=True).frames == FRAMES + 3
    (first, _), before = shards(extended), files(extended)
    first.write_bytes(first.read_bytes()[:-1])  # it holds seven units of three parts
    with painting():
        assert repair_store(extended).rendered == FRAMES
    assert verify_store(extended, deep=True).frames == FRAMES + 3
    assert len(before.items() - files(extended).items()) == 8  # the file, and the records of its units


class Failing(Painter):
    """A cluster whose frames fail until they are tried again."""

    def render(self, units: Iterator[Unit], listener: Any) -> Iterator[Receipt]:
        for unit in units:
            yield from super().render(iter([unit]), listener) if unit.id.endswith("-r") else [self._fail(unit)]

    def _fail(self, unit: Unit) -> Receipt:
        results = [Failure("ValueError: no") for _ in unit.frames]
        receipt = write_shard(self._ledger, unit, results, self._origin, self._schema, 1.0)
        assert self._ledger.commit(receipt)
        return receipt


def test_frames_of_added_rows_are_tried_again(extended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    further = tmp_path / "third.csv"
    further.write_text("prompt,seed\n3d moon,1\n3d star,2\n")
    monkeypatch.setattr("render.cluster.Cluster", Failing)
    assert run_job(further, *JOB, f"output={extended}", extend=True).quarantined == 2
    report = report_store(extended)
    assert [(one.walk, one.prompt, one.line) for one in report.failed] == [
        ("still-000010", "3d moon", "ValueError: no"),
        ("still-000011", "3d star", "ValueError: no"),
    ]
    assert report.missing == 0
    before = files(extended)
    assert retry_store(extended, seed_shift=5).tried == 2
    assert before.items() <= files(extended).items()
    assert verify_store(extended, deep=True).frames == FRAMES + 2
    assert open_store(extended).frame("still-000010").row["seed"] == 6
    assert [receipt.seed_shifts for receipt in Ledger(extended).receipts() if receipt.seed_shifts] == [(5, 5)]
    assert report_store(extended).failed == ()
