"""The log of a run: what a driver tells is read again, from the whole log or its end, and it stays small."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
from buckets import Server
from stores import wait_until

from render.core import ObjectPath, Receipt, RunError
from render.prepare import Silent
from render.store import EventLog, LogTail, OutputFolder, RunState, event_log, read_events
from render.store.event_reader import TAIL_BYTES
from render.store.run_state import HANDLERS

pytest_plugins = ["buckets"]

RECEIPT = Receipt(
    "00000",
    "train-00000-of-20000-01234567.parquet",
    50,
    10**7,
    "",
    12.3,
    16,
    rows=2000,
    padding=48,
    host="a",
    process=7,
)


@pytest.fixture
def folder(tmp_path: Path) -> OutputFolder:
    own = OutputFolder(tmp_path)
    own.run.mkdir()
    return own


def state_of(path: Path) -> RunState:
    """The state by the end of a log."""
    state = RunState()
    for event in LogTail(path).read():
        state = state.take(event)
    return state


def drive(log: EventLog, units: int, workers: int = 2) -> None:
    """Do what the driver does: every worker holds two units."""
    for number in range(workers):
        log.worker_up(f"w{number}", f"host-{number // 8}", "NVIDIA H100 80GB HBM3")
    for number in range(units):
        log.unit_given(f"{number:05d}", f"w{number % workers}")
        log.frames(50)
        log.batches(2000, 48)
        if number >= 2 * workers:
            log.committed(replace(RECEIPT, unit=f"{number - 2 * workers:05d}"))


def test_what_a_driver_tells_is_read_again(folder: OutputFolder) -> None:
    with EventLog(folder, Silent(), {"planned": 500, "command": "render run a.yaml"}) as log:
        drive(log, 10)
        log.stage("compiling")
        log.lost("w1 was killed")
        log.worker_gone("w1", "killed")
        log.warn("different cards")
        state = state_of(folder.log)
        assert (state.planned, state.command, state.process) == (500, "render run a.yaml", os.getpid())
        assert (state.frames, state.faults, state.fault) == (500, 1, "w1 was killed")
        assert list(state.workers) == ["w0"]
        assert list(state.hand) == ["00006", "00008"]  # those of the worker that is left
        assert state.is_open
    events = list(read_events(folder.log))
    (first, *_) = [event for event in events if event["event"] == "commit"]
    told = {name: first[name] for name in ("unit", "frames", "rows", "padding", "bytes", "host", "process")}
    assert told == {
        "unit": "00000", "frames": 50, "rows": 2000, "padding": 48, "bytes": 10**7, "host": "a", "process": 7
    }  # fmt: skip
    assert [event["text"] for event in events if event["event"] == "warning"] == ["different cards"]
    assert [event["reason"] for event in events if event["event"] == "gone"] == ["killed"]
    assert events[-1]["event"] == "end"
    assert not state_of(folder.log).is_open


def test_the_page_names_every_event() -> None:
    page = (Path(__file__).parents[2] / "docs" / "store.md").read_text(encoding="utf-8")
    chapter = page.partition("\n## The log\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in chapter.splitlines() if "| `" in line)))
    written = set(re.findall(r'_add\(\s*"(\w+)"', Path(event_log.__file__).read_text(encoding="utf-8")))
    assert named == written | {"state"}
    assert set(HANDLERS) | {"begin", "warning"} == written


def test_a_sign_of_life_comes_without_news(folder: OutputFolder) -> None:
    with patch.object(event_log, "BEAT_S", 0.01), EventLog(folder, Silent()) as log:
        log.stage("compiling")
        wait_until(lambda: sum(event["event"] == "beat" for event in read_events(folder.log)) >= 3, "three beats")
        assert state_of(folder.log).stage == "compiling"
    beat = next(event for event in read_events(folder.log) if event["event"] == "beat")
    assert (beat["frames"], beat["rows"], beat["padding"]) == (0, 0, 0)


def test_the_log_of_a_million_frames_is_small_and_its_end_is_enough(folder: OutputFolder) -> None:
    """20,000 units by 64 workers: under 10 MB, and the end says who is up, since when, and what is in hand."""
    with EventLog(folder, Silent(), {"planned": 10**6}) as log:
        drive(log, 20_000, workers=64)
        whole = RunState()
        for event in read_events(folder.log):
            whole = whole.take(event)
        assert folder.log.stat().st_size < 10 * 10**6
        assert folder.log.stat().st_size > 3 * TAIL_BYTES
        late = state_of(folder.log)
    assert (len(late.workers), len(late.hand), late.frames, late.planned) == (64, 128, 10**6, 10**6)
    assert late.snapshot() == whole.snapshot()
    assert late.workers["w0"].card == "NVIDIA H100 80GB HBM3"


def test_a_long_log_is_read_from_its_end(folder: OutputFolder) -> None:
    line = json.dumps({"time": "2026-01-01T00:00:00+00:00", "event": "song", "text": "x" * 1000}) + "\n"
    with folder.log.open("w") as file:
        file.writelines([line] * 100_000)
    with EventLog(folder, Silent(), {"planned": 7}) as log:
        drive(log, 10)
        began_s = time.process_time()
        state = state_of(folder.log)
        assert time.process_time() - began_s < 2  # all of it takes about 2 s, 100 MB of commits much more
        assert state.planned == 7


def test_a_tail_reads_on_where_it_was(folder: OutputFolder) -> None:
    tail = LogTail(folder.log)
    assert list(tail.read()) == []
    lines = [json.dumps({"time": f"2026-01-01T00:00:0{number}+00:00", "event": str(number)}) for number in range(6)]
    with folder.log.open("w", buffering=1) as file:
        file.write(f"{lines[0]}\n{lines[1][:20]}")
        file.flush()
        assert [event["event"] for event in tail.read()] == ["0"]
        file.write(f"{lines[1][20:]}\n{lines[2]}\n[1]\n{{]\n\n")
        assert [event["event"] for event in tail.read()] == ["1", "2"]
        assert list(tail.read()) == []
        file.write("y" * 3 * TAIL_BYTES + f"\n{lines[3]}\n")  # nobody has looked for a day
        assert [event["event"] for event in tail.read()] == ["3"]
    folder.log.write_text(f"{lines[4]}\n")  # another log in its place
    assert [event["event"] for event in tail.read()] == ["4"]
    folder.log.unlink()
    assert list(tail.read()) == []


def test_a_tail_opens_no_pipe(folder: OutputFolder) -> None:
    os.mkfifo(folder.log)
    assert list(LogTail(folder.log).read()) == []


def test_the_reason_of_a_stop_has_no_secret_and_one_line(folder: OutputFolder) -> None:
    with pytest.raises(RunError), EventLog(folder, Silent()):
        raise RunError("s3://KEY:SECRET@bucket/out: full\nsecond line")
    assert state_of(folder.log).reason == "RunError: s3://…@bucket/out: full"


def test_a_buckets_log_is_put_once_a_minute(bucket: ObjectPath, server: Server) -> None:
    """However many units are committed; and by a thread that holds nobody up."""
    folder = OutputFolder(bucket)
    server.begin()
    with EventLog(folder, Silent(), {"planned": 7}) as log:
        drive(log, 1000)
        puts = [request for request in server.requests if request.method == "PUT"]
        assert len(puts) == 1
        assert [event["event"] for event in read_events(folder.log)] == ["begin"]
    assert state_of(folder.log).frames == 50_000
    with patch.multiple(event_log, BEAT_S=0.01, PUT_S=0.02), EventLog(folder, Silent()) as log:
        log.worker_up("w0", "a", "H100")
        wait_until(lambda: list(state_of(folder.log).workers) == ["w0"], "the log in the bucket")
        assert len(list(LogTail(folder.log).read())) > 1000
