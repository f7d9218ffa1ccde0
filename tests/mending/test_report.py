"""The morning after: frames in quarantine are read, tried again with other settings, and the night is told from its log."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from stores import JOB, rendering_here, run_here

from render import JobError, Recipe, open_store, repair_store, report_store, reproduce_frame, retry_store, verify_store
from render.cli import main
from render.core import Prompt
from render.engine import Renderer
from render.mending.pace import pace_of
from render.mending.report import error_of
from render.mending.report_page import page_of, text_of
from render.prepare.rendering import Silent
from render.store import EventLog, OutputFolder, read_events

pytest_plugins = ["stores"]

EVIL = "<script>alert(1)</script>"
MANIFEST = f"""\
walk,prompt,seed,frames,anchor
w,3d dog face,7,3,0.5
w,3d cat face,8,,
,{EVIL},1,,
,3d rocket,2,,
"""
BAD = (EVIL, "3d cat face")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Prompts whose frames raise; of a walk the last frame alone."""
    bad = set(BAD)
    start = Renderer.start

    def start_or_raise(self: Renderer, recipe: Recipe) -> object:
        if recipe.prompt in {Prompt(text) for text in bad}:
            raise ValueError("no\x1b[2J such <b>frame</b>\nsecond line")
        return start(self, recipe)

    monkeypatch.setattr(Renderer, "start", start_or_raise)
    return bad


@pytest.fixture
def night(tmp_path: Path, broken: set[str]) -> Path:
    """A store of six frames, of which two are in quarantine."""
    (tmp_path / "m.csv").write_text(MANIFEST)
    job = (*JOB, "sampling.steps=2", "animation.formats=[]", "sheets.kinds=[]", "store.unit_frames=3")
    summary = run_here(tmp_path / "m.csv", *job, f"output={tmp_path / 'out'}")
    assert (summary.frames, summary.quarantined) == (4, 2)
    assert broken
    return summary.out


pytestmark = pytest.mark.slow


def test_frames_in_quarantine_are_read(night: Path) -> None:
    report = report_store(night)
    assert (report.frames, report.missing, report.blank) == (4, 0, 0)
    told = [(one.walk, one.frame, one.row, one.prompt, one.error, one.tries) for one in report.failed]
    assert told == [("still-000003", 0, 3, EVIL, "ValueError", 2), ("w", 3, 2, "3d cat face", "ValueError", 2)]
    assert all(one.line.startswith("ValueError: no") and one.host and one.memory_bytes > 10**8 for one in report.failed)
    assert report.next_steps == (f"2 frames are in quarantine: `render retry {night}`",)
    assert 0 < report.fill <= 1
    assert sum(frames for _, frames in report.hosts) == 4
    assert len(report.slowest) == 2
    assert sum(one.frames for one in report.pace) == pytest.approx(4)
    assert [event["event"] for event in report.events] == ["begin", "end"]


class Texts(HTMLParser):
    """Tags and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not {"src", "href"} & {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_escapes_what_comes_from_tables(night: Path, tmp_path: Path) -> None:
    assert main(["report", str(night), "--html", str(tmp_path / "report.html")]) == 0
    page = Texts()
    page.feed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "b"} & page.tags
    assert EVIL in page.text
    assert "such <b>frame</b>" in page.text


def test_the_text_has_no_control_characters(night: Path) -> None:
    text = text_of(report_store(night))
    assert all(sign.isprintable() or sign == "\n" for sign in text)
    assert "still-000003 0 (row 3): ValueError: no\\x1b[2J such <b>frame</b>; 2 tries" in text
    assert page_of(report_store(night)).startswith("<!DOCTYPE html>")


def test_a_retry_renders_them_as_they_were_planned(night: Path, broken: set[str], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (night / "data").iterdir()}
    with rendering_here():
        failed = retry_store(night)
        assert (failed.tried, failed.failed) == (2, 2)
        assert [one.tries for one in report_store(night).failed] == [4, 4]
        broken.clear()
        done = retry_store(night)
    assert (done.tried, done.failed) == (2, 0)
    assert verify_store(night, deep=True).problems == ()
    assert {name: (night / "data" / name).read_bytes() for name in before} == before
    whole = run_here(tmp_path / "m.csv", *JOB, "sampling.steps=2", "sheets.kinds=[]", f"output={tmp_path / 'whole'}")
    assert hashes(night) == hashes(whole.out)
    assert report_store(night).next_steps[0].startswith("nothing is left to do")


def hashes(out: Path) -> dict[tuple[str, int], tuple[str, str]]:
    """Place → key and hash of the pixels."""
    rows = open_store(out).dataset().to_table(columns=["walk", "frame", "key", "sha256"]).to_pylist()
    return {(row["walk"], row["frame"]): (row["key"], row["sha256"]) for row in rows}


def test_a_retry_with_other_settings_is_recorded(night: Path, broken: set[str], tmp_path: Path) -> None:
    broken.clear()
    with rendering_here():
        assert main(["retry", str(night), "--seed-shift", "5", "--batch-rows", "2"]) == 0
    assert verify_store(night, deep=True).problems == ()
    columns = ["walk", "frame", "seed", "seed_shift", "batch_rows", "recipe"]
    rows = open_store(night).dataset().to_table(columns=columns, filter=pc.field("seed_shift") != 0).to_pylist()
    told = {(row["walk"], row["frame"]): (row["seed"], row["seed_shift"], row["batch_rows"]) for row in rows}
    assert told == {("w", 3): (13, 5, 2), ("still-000003", 0): (6, 5, 2)}
    (walk,) = [json.loads(row["recipe"]) for row in rows if row["walk"] == "w"]
    assert walk["noise"] == ["seed", 13]
    records = [json.loads(path.read_text()) for path in (night / ".run" / "commits").glob("*-r.json")]
    assert sorted(record["seed_shifts"] for record in records) == [[5, 5]]
    with rendering_here():  # the same command finds nothing to do, and takes nothing for damage
        again = run_here(
            tmp_path / "m.csv",
            *JOB,
            "sampling.steps=2",
            "animation.formats=[]",
            "sheets.kinds=[]",
            "store.unit_frames=3",
            f"output={night}",
        )
    assert (again.frames, again.quarantined) == (6, 0)
    before = hashes(night)
    next((night / "data").glob("train-*-r-of-*")).unlink()
    with rendering_here():  # a repair takes the seeds and the batch size that the retry took
        assert repair_store(night).rendered == 2
    assert hashes(night) == before
    assert verify_store(night, deep=True).problems == ()
    reproduced = reproduce_frame(night, before["w", 3][0])
    assert (reproduced.same, reproduced.sha256) == (True, before["w", 3][1])


@pytest.mark.parametrize("wrong", [{"seed_shift": -1}, {"batch_rows": 0}, {"batch_rows": 3}, {"batch_rows": 10**6}])
def test_settings_that_can_not_be_are_refused(night: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(JobError, match="required a"):
        retry_store(night, **wrong)


def test_a_log_that_was_torn_is_read_and_continued(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    folder.run.mkdir()
    path = folder.log
    with EventLog(folder, Silent()) as log:
        log.lost("killed")
    path.write_bytes(path.read_bytes() + b'{"time": "2026-11-26T17:00:00+00:00", "ev')
    with pytest.raises(RuntimeError), EventLog(folder, Silent()):
        raise RuntimeError("disk full\nsecond line")
    path.write_bytes(path.read_bytes() + b'[1]\n{"time": 7}\n{"time": "2026-11-26T17:00:00", "event": "lost"}\n')
    events = [(event["event"], event.get("reason")) for event in read_events(path)]
    assert events == [
        ("begin", None), ("lost", "killed"), ("end", None), ("begin", None), ("stopped", "RuntimeError: disk full"),
    ]  # fmt: skip


def test_a_log_that_can_not_be_written_stops_nothing(tmp_path: Path) -> None:
    with EventLog(OutputFolder(tmp_path / "none"), Silent()) as log:
        log.lost("killed")
    assert list(read_events(OutputFolder(tmp_path / "none").log)) == []


@pytest.mark.parametrize(
    ("traceback", "found"),
    [
        (
            "Traceback (most recent call last):\n  x\ntorch.OutOfMemoryError: CUDA",
            ("OutOfMemoryError", "torch.OutOfMemoryError: CUDA"),
        ),
        ("2 workers died while rendering it: killed", ("", "2 workers died while rendering it: killed")),
        ("", ("", "")),
    ],
)
def test_the_line_that_names_an_error(traceback: str, found: tuple[str, str]) -> None:
    assert error_of(traceback) == found


@pytest.mark.parametrize("seconds", [12.0, 0, None, -1, 1e300])
def test_frames_count_over_the_time_that_their_unit_took(tmp_path: Path, seconds: object) -> None:
    """And once each, whatever the log says of that time."""
    at = datetime(2026, 1, 1, tzinfo=UTC)
    events: list[dict[str, Any]] = [{"event": "begin", "at": at}]
    commit = {"event": "commit", "frames": 12, "seconds": seconds}
    events += [commit | {"at": at}, commit | {"at": at + timedelta(seconds=24)}]
    pace = list(pace_of(lambda: events))
    assert sum(one.frames for one in pace) == pytest.approx(24)
    if seconds == 12.0:
        assert [round(one.frames_per_s, 6) for one in pace] == [12] + [0] * 11 + [1] * 12
