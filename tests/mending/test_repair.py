"""Repair renders again what is damaged, and leaves every other file as it is, wherever it is stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from interrupted import every_stop
from stores import FRAMES, Finished, pixels, rendering_here
from test_verify import (
    another_manifest,
    break_a_picture,
    cut_short,
    flip_a_byte,
    lose_a_commit,
    lose_a_row,
    lose_a_shard,
    not_parquet,
    record_of,
    rehash_pixels,
    shards,
    swap_shards,
    swap_shards_and_hashes,
)

from render import StoreError, open_store, repair_store, verify_store
from render.cli import main
from render.core import Unit
from render.plan import plan_units
from render.prepare.resume import load_plan, stored_manifest
from render.run import animate_store, sheet_store
from render.store import Ledger

pytest_plugins = ["stores"]


def empty_record(out: Path) -> str:
    record_of(shards(out)[1]).write_text("")
    return ".run/commits/00001.json: required a commit record, got an empty file"


def cut_record(out: Path) -> str:
    record = record_of(shards(out)[1])
    record.write_text(record.read_text()[:40])
    return ".run/commits/00001.json: required a commit record, got a damaged file"


def list_as_record(out: Path) -> str:
    record_of(shards(out)[1]).write_text("[1, 2]")
    return ".run/commits/00001.json: required a commit record, got a JSON list"


def nested_record(out: Path) -> str:
    record_of(shards(out)[1]).write_text("[" * 100_000)
    return ".run/commits/00001.json: required a commit record, got a damaged file"


def number_as_file(out: Path) -> str:
    record = record_of(shards(out)[1])
    record.write_text(record.read_text().replace(f'"{shards(out)[1].name}"', "7"))
    return ".run/commits/00001.json: required a commit record, got one with a wrong file"


def path_as_file(out: Path) -> str:
    record = record_of(shards(out)[1])
    record.write_text(record.read_text().replace(shards(out)[1].name, "../README.md"))
    return ".run/commits/00001.json: required a commit record, got one with a wrong file"


def folder_as_record(out: Path) -> str:
    record_of(shards(out)[1]).unlink()
    (out / ".run" / "commits" / "00001.json").mkdir()
    return ".run/commits/00001.json: required a commit record, got Is a directory"


def record_of_another_unit(out: Path) -> str:
    shutil.copyfile(record_of(shards(out)[0]), record_of(shards(out)[1]))
    return ".run/commits/00001.json: required the record of unit 00001, got one of unit 00000"


def second_record(out: Path) -> str:
    """Of a unit that the plan does not have, for a shard that has a record."""
    text = record_of(shards(out)[0]).read_text().replace('"unit":"00000"', '"unit":"00009"')
    (out / ".run" / "commits" / "00009.json").write_text(text)
    return ".run/commits/00009.json: names the shard of unit 00000, whose frames would be there twice"


def second_shard(out: Path) -> str:
    """Of a unit that the plan does not have, with a shard of its own."""
    name = shards(out)[0].name
    other = name.replace("train-00000", "train-00009")
    shutil.copyfile(out / "data" / name, out / "data" / other)
    text = record_of(shards(out)[0]).read_text().replace('"unit":"00000"', '"unit":"00009"').replace(name, other)
    (out / ".run" / "commits" / "00009.json").write_text(text)
    return ".run/commits/00009.json: no unit of the plan has this record"


def wrong_count(out: Path) -> str:
    record = record_of(shards(out)[1])
    record.write_text(record.read_text().replace('"quarantined":[]', '"quarantined":[9]'))
    return ".run/commits/00001.json: required a record of 4 frames, got one of 4 and 1 failed"


def folder_as_shard(out: Path) -> str:
    shard = shards(out)[1]
    shard.unlink()
    shard.mkdir()
    return f"data/{shard.name}: can't be read"


RECORDS = [empty_record, cut_record, list_as_record, nested_record, number_as_file, path_as_file, folder_as_record]
RECORDS += [record_of_another_unit, second_record]
COUNTED = [second_shard, wrong_count]
SHARDS = [flip_a_byte, cut_short, lose_a_shard, lose_a_commit, lose_a_row, swap_shards, swap_shards_and_hashes]
SHARDS += [not_parquet, folder_as_shard]
PICTURES = [rehash_pixels, break_a_picture]
Damage = Callable[[Path], str]


def files(out: Path) -> dict[str, bytes]:
    """Shards and commit records with their content."""
    return {path.name: path.read_bytes() for room in ("data", ".run/commits") for path in (out / room).glob("*.*")}


@pytest.mark.parametrize("damage", [*RECORDS, *COUNTED])
def test_damaged_records_are_named_by_verify(copied: Finished, damage: Damage) -> None:
    named = damage(copied.out)
    findings = verify_store(copied.out).findings
    (found,) = [one for one in findings if str(one).startswith(named)]
    assert found.line("OUT").endswith("`render repair OUT` mends it")


@pytest.mark.parametrize("damage", RECORDS)
@pytest.mark.parametrize("command", ["run", "animate", "sheets", "open"])
def test_damaged_records_stop_whoever_reads_them(
    copied: Finished, damage: Damage, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    named, before = damage(copied.out), snapshot_of(copied.out)
    if command == "open":
        with pytest.raises(StoreError, match="render repair"):
            open_store(copied.out)
    else:
        target = [copied.manifest, *copied.overrides, f"output={copied.out}"] if command == "run" else [copied.out]
        assert main([command, *map(str, target)]) == 2
        said = capsys.readouterr().err
        assert named in said
        assert f"`render repair {copied.out}` mends" in said
    assert snapshot_of(copied.out) == before


def snapshot_of(out: Path) -> list[str]:
    return sorted(str(path) for path in out.rglob("*"))


@pytest.mark.parametrize("damage", [second_shard, wrong_count, lose_a_shard, cut_short])
def test_a_run_builds_on_no_damage(copied: Finished, damage: Damage, capsys: pytest.CaptureFixture[str]) -> None:
    damage(copied.out)
    before = files(copied.out)
    assert main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 2
    assert f"`render repair {copied.out}` mends it" in capsys.readouterr().err
    assert files(copied.out) == before


@pytest.mark.parametrize("write", [animate_store, sheet_store])
def test_animations_and_sheets_of_a_store_without_a_shard(copied: Finished, write: Callable[[Path], object]) -> None:
    named = lose_a_shard(copied.out)
    with pytest.raises(StoreError, match="mends it") as caught:
        write(copied.out)
    assert named in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [*RECORDS, *COUNTED, *SHARDS, *PICTURES])
def test_repair_mends_it_and_touches_nothing_else(finished: Finished, copied: Finished, damage: Damage) -> None:
    whole = files(finished.out)
    damage(copied.out)
    damaged = {one.slot for one in verify_store(copied.out, deep=True).findings if one.slot}
    with rendering_here():
        done = repair_store(copied.out, deep=damage in PICTURES)
    now = files(copied.out)
    assert verify_store(copied.out, deep=True).problems == ()
    assert pixels(copied.out) == pixels(finished.out)
    right = {name: data for name, data in whole.items() if name.removeprefix("train-")[:5] not in damaged}
    assert {name: now.get(name) for name in right} == right
    frames = sum({"00000": 4, "00001": 4, "00002": 4, "00003": 2}.get(slot, 0) for slot in damaged)
    is_whole = damage in RECORDS or damage in (wrong_count, lose_a_commit)  # the shard is taken back
    assert (done.rendered, done.taken_back) == ((0, frames) if is_whole else (frames, 0))
    assert len(open_store(copied.out)) == FRAMES


def test_a_damaged_manifest_is_named_and_written_anew(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = copied.out / ".run" / "manifest.parquet"
    whole = manifest.read_bytes()
    manifest.write_bytes(whole[:-200])
    for command in ("verify", "animate", "sheets"):
        assert main([command, str(copied.out)]) in (1, 2)
        said = capsys.readouterr()
        assert ".run/manifest.parquet" in said.out + said.err
    assert main(["repair", str(copied.out)]) == 0
    assert capsys.readouterr().out.startswith(
        ".run/manifest.parquet: required the manifest that was planned, got Parquet"
    )
    assert verify_store(copied.out).problems == ()
    another_manifest(copied.out)
    assert main(["repair", str(copied.out)]) == 0
    assert verify_store(copied.out).problems == ()


def test_a_run_writes_a_manifest_anew_that_was_cut(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = copied.out / ".run" / "manifest.parquet"
    manifest.write_bytes(manifest.read_bytes()[:100])
    with rendering_here():
        assert main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"]) == 0
    assert "manifest.parquet: was damaged; written anew from small.csv" in capsys.readouterr().err
    assert verify_store(copied.out).problems == ()


def test_foreign_files_are_named_and_stay(copied: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    strange = ["notes.txt", "train-00000-of-00004-copy.parquet", "folder/file", ".hidden", ".run/scratch/folder/x"]
    for name in strange:
        path = copied.out / (name if name.startswith(".run") else f"data/{name}")
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    (copied.out / "data" / "train-00001-of-00004-0123abcd.parquet").mkdir()
    for arguments in (["run", copied.manifest, *copied.overrides, f"output={copied.out}"], ["repair", copied.out]):
        assert main([*map(str, arguments)]) == 0
    assert all((copied.out / (n if n.startswith(".run") else f"data/{n}")).read_text() == "mine" for n in strange)
    capsys.readouterr()
    assert main(["verify", str(copied.out)]) == 1
    *lines, _ = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == sorted(
        f"data/{name}"
        for name in [".hidden", "folder", "notes.txt", strange[1], "train-00001-of-00004-0123abcd.parquet"]
    )
    assert all(line.endswith("no commit names it; it is not ours: move it away") for line in lines)


def split_first(out: Path) -> Ledger:
    """Commit the first unit in halves, as a run does whose workers died with it. Returns the ledger."""
    ledger = Ledger(out)
    unit: Unit = next(iter(plan_units(stored_manifest(out).walks, load_plan(out))))
    record_of(shards(out)[0]).unlink()
    shards(out)[0].unlink()
    assert ledger.split(unit)
    return ledger


@pytest.mark.slow
def test_halves_stay_when_the_note_of_the_split_is_lost(finished: Finished, copied: Finished) -> None:
    split_first(copied.out)
    with rendering_here():
        main(["run", str(copied.manifest), *copied.overrides, f"output={copied.out}"])
    whole = files(copied.out)
    note = copied.out / ".run" / "commits" / "00000.json"
    for text in (None, "", '{"spl'):
        note.unlink()
        if text is not None:
            note.write_text(text)
        assert verify_store(copied.out).problems
        assert repair_store(copied.out).rendered == 0
        assert files(copied.out) == whole
    assert pixels(copied.out) == pixels(finished.out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [flip_a_byte, *(pytest.param(one, marks=pytest.mark.long) for one in (record_of_another_unit, second_shard))],
)
def test_a_repair_may_be_stopped_anywhere(
    finished: Finished, copied: Finished, damage: Damage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its n-th change of the folder, for all n; then the next command goes on: a repair, or a run."""
    damage(copied.out)
    with rendering_here():
        for number, out in every_stop(copied.out, repair_store, monkeypatch, least=3):
            if number % 2 == 0 or verify_store(out).problems:
                repair_store(out)
            assert verify_store(out, deep=True).problems == ()
            assert pixels(out) == pixels(finished.out)
