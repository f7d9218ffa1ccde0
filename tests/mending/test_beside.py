"""What a user reads: who has the output, which commands go on, how much there is; on one page that is well-formed."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest
from nights import JOB, SHEETS, at_night, begin, flip_a_byte, record_of, shard_of

from render import (
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
from render.mending import page_of, text_of
from render.store import Ledger

EVIL = "<script>alert('&')</script>\x1b[2J\x00"
COMMANDS = re.compile("`(render [^`]*)`")


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with at_night("3d pear"):
        return begin(tmp_path_factory.mktemp("night"))


@pytest.fixture
def out(night: Path, tmp_path: Path) -> Path:
    """A copy of a night with a frame in quarantine, in a folder whose name a shell would take apart."""
    folder = tmp_path / "my <b>out's & more"
    folder.mkdir()
    shutil.copyfile(night.parent / "m.csv", folder / "m.csv")
    return shutil.copytree(night, folder / "out")


def run_again(out: Path) -> object:
    return run_job(out.parent / "m.csv", *JOB, SHEETS, f"output={out}")


@pytest.mark.parametrize("command", [repair_store, retry_store, compact_store, run_again])
def test_who_changes_an_output_is_told_of_a_run_there(out: Path, command: Callable[[Path], object]) -> None:
    told = rf"got one that does: process {os.getpid()} on {re.escape(platform.node())}, since 20\d\d-"
    with Ledger(out).lock(), pytest.raises(StoreError, match=told):
        command(out)


def test_who_looks_at_an_output_is_told_as_well(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = f"process {os.getpid()} on {platform.node()}, since 20"
    with Ledger(out).lock():
        assert verify_store(out).going_on.startswith(holder)
        assert main(["verify", str(out)]) == 1
        assert f"a run goes on there, {holder}" in capsys.readouterr().out
        assert report_store(out).next_steps[0].startswith(f"a run goes on there, {holder}")
    with pytest.raises(ValueError, match="in a notebook"), Ledger(out).lock():
        raise ValueError("in a notebook")
    assert verify_store(out).going_on == report_store(out).going_on == ""


@pytest.mark.parametrize(
    "left", ['{"host":"HERE","process":999999999,"since":"2020"}', "", "[1]", "[" * 9999, '{"host":"HERE"}']
)
def test_what_the_dead_left_in_the_lock_is_no_run(out: Path, left: str) -> None:
    (out / ".run" / "lock").write_text(left.replace("HERE", platform.node()))
    assert verify_store(out).going_on == ""
    assert repair_store(out).rendered == 0


def hurt_all(out: Path) -> None:
    record_of(out, "00002").unlink()
    record_of(out, "00000").write_text("[1")
    flip_a_byte(shard_of(out, "00001"))


def test_commands_in_messages_are_those_of_a_shell(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hurt_all(out)
    assert main(["verify", str(out)]) == 1
    assert main(["report", str(out)]) == 0
    for command in ("animate", "sheets", "compact", "retry"):
        assert main([command, str(out)]) == 2
    assert main(["run", str(out.parent / "m.csv"), *JOB, SHEETS, f"output={out}"]) == 2
    (out / ".run" / "manifest.parquet").write_bytes(b"PAR1")
    assert main(["compact", str(out)]) == 2
    with pytest.raises(StoreError) as caught:
        open_store(out)
    shown = capsys.readouterr()
    told = COMMANDS.findall(f"{shown.out}\n{shown.err}\n{caught.value}")
    assert len(told) >= 10
    for command in told:
        program, name, *arguments = shlex.split(command)
        assert (program, arguments) == ("render", [str(out)])
        assert name in ("repair", "retry", "verify")


def test_a_shard_that_is_gone_names_its_command(out: Path) -> None:
    store = open_store(out)
    for shard in (out / "data").iterdir():
        shard.unlink()
    with pytest.raises(StoreError) as caught:
        len(store)
    (command,) = COMMANDS.findall(str(caught.value))
    assert shlex.split(command) == ["render", "repair", str(out)]


def test_one_is_no_plural(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", str(out)])
    main(["report", str(out)])
    main(["compact", str(out)])
    with at_night():
        main(["retry", str(out)])
        record_of(out, "00001-r").unlink()
        main(["repair", str(out)])
        main(["run", str(out.parent / "m.csv"), *JOB, SHEETS, f"output={out}"])
    shown = capsys.readouterr()
    assert not re.findall(r"(?<![\d,.])1 (?:frames|files|images|shards|problems|tries|are)\b", shown.out + shown.err)
    assert "1 frame taken back" in shown.out


def test_the_page_is_well_formed_whatever_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "a <i>name & more"
    folder.mkdir()
    with at_night("3d pear"):
        out = begin(folder)
    (quarantined,) = (out / ".run" / "quarantine").iterdir()
    table = pq.read_table(quarantined)
    for name, text in (("prompt", EVIL), ("error", f"ValueError: {EVIL}"), ("host", EVIL)):
        table = table.set_column(table.column_names.index(name), name, [[text]])
    pq.write_table(table, quarantined)
    with (out / ".run" / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"time": "2026-01-01T00:00:00+00:00", "event": EVIL, "reason": EVIL}) + "\n")
    hurt_all(out)
    page = page_of(report_store(out))
    root = ElementTree.fromstring(page)
    tags = {one.tag for one in root.iter()}
    assert tags <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "ul",
        "li",
        "table",
        "tr",
        "th",
        "td",
        "div",
        "p",
    }
    texts = "".join(root.itertext())
    assert texts.count("<script>alert('&')</script>\\x1b[2J\\x00") == 5
    assert "required a commit record, got a damaged file" in texts
    assert all(sign.isprintable() or sign == "\n" for sign in page + text_of(report_store(out)))
