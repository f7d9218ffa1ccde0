"""The status of an output: what its records and its log say while a run goes on, and after any end of it."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from buckets import Server
from stores import wait_until

from render import StoreError, plan_job, status_store
from render.cli import main
from render.core import ObjectPath, Receipt
from render.mending import Status, Watch, lines_of
from render.mending.status_page import duration, facts_of, line_of
from render.prepare import Prepared, Silent, record_or_resume
from render.store import EventLog, Ledger, event_log

pytest_plugins = ["buckets"]

MANIFEST = "prompt,seed\n" + "".join(f"3d dog face,{seed}\n" for seed in range(40))
DRIVE = """
import sys, time
from pathlib import Path
from render.prepare import Silent
from render.store import EventLog, Ledger
ledger = Ledger(Path(sys.argv[1]))
with ledger.lock(), EventLog(ledger.folder, Silent(), {"planned": 40, "command": "cd /a && render run 'b c.csv'"}) as log:
    log.worker_up("w0", "here", "H100")
    log.unit_given("00000", "w0")
    log.frames(3)
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def begun(tmp_path: Path) -> Prepared:
    """An output of 40 frames in units of 4, of which none is rendered."""
    (tmp_path / "m.csv").write_text(MANIFEST)
    prepared = plan_job(
        tmp_path / "m.csv", "store.unit_frames=4", "sampling.steps=2", f"output={tmp_path / 'an output'}"
    )
    record_or_resume(prepared)
    Ledger(prepared.job.output).create()
    return prepared


def commit(ledger: Ledger, number: int, **values: Any) -> Receipt:
    """Commit a unit of four frames, without its shard."""
    receipt = Receipt(f"{number:05d}", f"train-{number}.parquet", 4, 1000, "", 1.0, 4, rows=30, padding=10)
    receipt = replace(receipt, **values)
    assert ledger.commit(receipt)
    return receipt


def code(*arguments: object) -> int:
    return main(["status", *map(str, arguments)])


def text(status: Status) -> dict[str, str]:
    return dict(lines_of(status))


def test_an_output_that_is_begun_and_no_more(begun: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    out = begun.job.output
    status = status_store(out)
    assert (status.state, status.planned, status.frames, status.missing) == ("new", 40, 0, 40)
    assert not status.is_going_on
    assert status.next_steps == (f"40 frames are missing: the command of the run, or `render repair '{out}'`",)
    assert code(out) == 1
    assert "next        a job that was submitted may wait for its cluster: `render jobs`" in capsys.readouterr().out


def test_a_run_that_goes_on(begun: Prepared, capsys: pytest.CaptureFixture[str]) -> None:
    """By a driver that tells what it does, as `render.cluster` does."""
    out, ledger = begun.job.output, Ledger(begun.job.output)
    with ledger.lock():
        assert status_store(out).state == "preparing"
        with EventLog(ledger.folder, Silent(), {"planned": 40}) as log:
            log.unit_given("00000", "w0")
            starting = status_store(out)
            assert (starting.state, starting.workers) == ("starting", ())
            assert text(starting)["workers"] == "1 starting"
            for number in range(3):
                log.worker_up(f"w{number}", f"host{number // 2}", "NVIDIA H100")
                log.unit_given(f"{number:05d}", f"w{number}")
            log.batches(30, 10)
            log.stage("compiling")
            log.frames(4)
            log.lost("w2 was killed\x1b[2J")
            log.worker_gone("w2", "killed")
            log.committed(commit(ledger, 0, blank=(1,)))
            log.committed(commit(ledger, 1, frames=3, quarantined=(2,)))
            status = status_store(out)
            assert (status.state, status.frames, status.quarantined, status.blank) == ("rendering", 7, 1, 1)
            assert (status.planned, status.missing, status.size_bytes) == (40, 32, 2000)
            assert status.hosts == (("host0", "NVIDIA H100", 2),)
            assert status.in_hand == ()
            assert (status.faults, status.stage) == (1, "compiling")
            assert status.fill == pytest.approx(0.75)
            assert status.holder is not None
            assert (status.holder.process, status.holder.lives) == (os.getpid(), True)
            assert status.next_steps == ()
            log.unit_given("00004", "w1")
            shown = text(status_store(out))
            assert shown["in hand"].startswith("1 unit of 1 worker; the oldest: 00004, with w1 for 0 s")
            assert shown["faults"] == "1 in this run; the last: w2 was killed\\x1b[2J"
            assert shown["state"].startswith(
                f"rendering (compiling): process {os.getpid()} on {platform.node()}, since "
            )
            assert code(out) == 0
            assert "7 of 40 frames (17 %), 1 in quarantine, 1 blank" in capsys.readouterr().out
        assert status_store(out).state == "preparing"  # it has ended, with frames missing, and still has the lock
    status = status_store(out)
    assert (status.state, status.workers, status.in_hand) == ("incomplete", (), ())
    assert code(out) == 1


def test_a_run_that_was_killed(begun: Prepared) -> None:
    """Nothing of it is alive, and the command that goes on with it is as the run began."""
    out = begun.job.output
    with subprocess.Popen([sys.executable, "-c", DRIVE, str(out)], stdout=subprocess.PIPE) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == b"begun\n"
        status = status_store(out)
        assert (status.state, [worker.name for worker in status.workers]) == ("rendering", ["w0"])
        driver.send_signal(signal.SIGKILL)
    status = status_store(out)
    assert (status.state, status.workers, status.in_hand, status.speed_now) == ("died", (), (), None)
    assert "process" in text(status)["state"]
    assert "(dead)" in text(status)["state"]
    (step,) = status.next_steps
    assert step == f"40 frames are missing: `cd /a && render run 'b c.csv'`, or `render repair '{out}'`"
    assert shlex.split(step.split("`")[3]) == ["render", "repair", str(out)]
    assert code(out) == 1


def test_a_run_that_was_stopped_says_why(begun: Prepared) -> None:
    ledger = Ledger(begun.job.output)
    with pytest.raises(KeyboardInterrupt), ledger.lock(), EventLog(ledger.folder, Silent()):
        raise KeyboardInterrupt
    status = status_store(ledger.folder.out)
    assert (status.state, text(status)["state"]) == ("stopped", "stopped: KeyboardInterrupt")


@pytest.fixture
def done(begun: Prepared) -> Path:
    """The output after a run that has committed all of its units."""
    for _ in _driver(Ledger(begun.job.output)):
        pass
    return begun.job.output


def test_a_run_that_has_done_everything(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = status_store(done)
    assert (status.state, status.planned, status.frames, status.missing) == ("done", 40, 40, 0)
    assert status.speed is not None
    assert status.next_steps == (f"nothing is left to do; `render verify '{done}'` reads every byte",)
    assert code(done, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["frames"], told["is_going_on"]) == ("done", 40, False)
    assert set(told) > set(Status.__dataclass_fields__)


def test_a_run_that_was_killed_or_stopped_after_its_last_frame(begun: Prepared) -> None:
    """Its animations and its card may be missing, which no record tells: the same command writes them."""
    ledger = Ledger(begun.job.output)
    for number in range(10):
        commit(ledger, number)
    with (
        pytest.raises(KeyboardInterrupt),
        ledger.lock(),
        EventLog(ledger.folder, Silent(), {"command": "render run a"}),
    ):
        raise KeyboardInterrupt
    (step,) = status_store(ledger.folder.out).next_steps
    assert step.endswith("`render run a` writes animations, sheets and card")
    begin = ledger.folder.log.read_text().splitlines()[0]
    ledger.folder.log.write_text(begin + "\n")
    status = status_store(ledger.folder.out)
    assert (status.state, status.missing, status.next_steps) == ("died", 0, (step,))


def test_frames_in_quarantine_and_their_retry(begun: Prepared) -> None:
    ledger = Ledger(begun.job.output)
    for number in range(9):
        commit(ledger, number)
    commit(ledger, 9, frames=1, quarantined=(0, 1, 3))
    status = status_store(ledger.folder.out)
    assert (status.state, status.frames, status.quarantined, status.missing) == ("done", 37, 3, 0)
    assert code(ledger.folder.out) == 3
    ledger.commit(Receipt("00009-r", "train-9r.parquet", 2, 10, "", 1.0, 4, quarantined=(1,)))
    status = status_store(ledger.folder.out)
    assert (status.frames, status.quarantined, status.missing) == (39, 1, 0)
    assert status.next_steps == (f"1 frame is in quarantine: `render retry '{ledger.folder.out}'`",)


def test_damage_is_told(begun: Prepared) -> None:
    ledger = Ledger(begun.job.output)
    commit(ledger, 0)
    (ledger.folder.commits / "00001.json").write_text("{")
    status = status_store(ledger.folder.out)
    assert (status.frames, status.damaged) == (4, 1)
    assert status.next_steps[0] == f"the store is damaged: `render repair '{ledger.folder.out}'`"


def test_a_plan_that_does_not_count_its_frames(begun: Prepared) -> None:
    """As those of earlier versions; the manifest is counted, once."""
    path = Ledger(begun.job.output).folder.plan
    plan = json.loads(path.read_text())
    assert plan.pop("frames") == 40
    path.write_text(json.dumps(plan))
    watch = Watch(begun.job.output)
    assert watch.look().planned == 40
    shutil.rmtree(Ledger(begun.job.output).folder.manifest, ignore_errors=True)
    Ledger(begun.job.output).folder.manifest.unlink()
    assert watch.look().planned == 40
    assert status_store(begun.job.output).planned is None


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="required the output folder of a run, got no such folder"):
        status_store(tmp_path / "none")
    assert code(tmp_path) == 2


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watching_ends_with_the_run(
    begun: Prepared, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    """From before it begins: a look, a commit, and so on; elsewhere than on a terminal each is a line."""
    ledger, steps = Ledger(begun.job.output), list(range(10))
    driver = _driver(ledger)
    monkeypatch.setattr(time, "sleep", lambda _: next(driver, None))
    assert code(ledger.folder.out, "--watch", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    if options:
        told = [json.loads(line) for line in lines]
        assert [one["frames"] for one in told] == [0, *(4 * step for step in steps), 40]
        assert [one["state"] for one in told] == ["new"] + ["rendering"] * 10 + ["done"]
    else:
        assert "new, 0 of 40 frames (0 %)" in lines[0]
        assert "rendering, 0 of 40 frames (0 %)" in lines[1]
        assert "rendering, 36 of 40 frames (90 %)" in lines[10]
        assert "done, 40 of 40 frames (100 %)" in lines[11]
        assert lines[12].startswith("output  ")


def _driver(ledger: Ledger) -> Iterator[None]:
    """A run in steps: one is up to its first commit, each further one up to the next, the last to its end."""
    with ledger.lock(), EventLog(ledger.folder, Silent()) as log:
        log.worker_up("w0", "here", "cpu")
        for number in range(10):
            yield
            log.frames(4)
            log.committed(commit(ledger, number))
    yield


def test_a_terminal_is_drawn_anew(begun: Prepared) -> None:
    """`--watch` on a real terminal: the lines take each other's place, and the last ones stay."""
    ledger = Ledger(begun.job.output)
    main_end, command_end = os.openpty()
    command = [sys.executable, "-m", "render", "status", str(ledger.folder.out), "--watch"]
    environment, shown = {**os.environ, "TERM": "xterm"}, ""
    with subprocess.Popen(command, stdout=command_end, stderr=command_end, env=environment) as watch:
        os.close(command_end)
        while "0 of 40 frames (0 %)" not in shown:
            shown += os.read(main_end, 100_000).decode()
        for _ in _driver(ledger):
            pass
        with suppress(OSError):  # the other end is closed
            while part := os.read(main_end, 100_000):
                shown += part.decode()
        assert watch.wait(100) == 0, shown
    os.close(main_end)
    before, _, after = shown.partition("40 of 40 frames (100 %)")
    assert "0 of 40 frames (0 %)" in before
    assert "\x1b[1A" in before  # a line up, to where the first look was drawn
    assert "━" in after  # the bar


@pytest.fixture
def large(begun: Prepared) -> Ledger:
    """An output of 10,000 commits, with a log of 100 MB and a run that goes on behind it."""
    ledger = Ledger(begun.job.output)
    record = Receipt("", "", 50, 10**7, "0" * 64, 12.3, 16, rows=2000, padding=48, host="host", process=7)
    for number in range(10_000):
        own = replace(record, unit=f"{number:05d}", file=f"train-{number:05d}-of-10000-01234567.parquet")
        (ledger.folder.commits / f"{number:05d}.json").write_text(own.to_json())
    line = {"time": "2026-11-26T12:00:00+00:00", "event": "commit", "unit": "00000", "frames": 50, "seconds": 12.3}
    with ledger.folder.log.open("w") as file:
        file.writelines([json.dumps({**line, "text": "x" * 300}) + "\n"] * 250_000)
    assert ledger.folder.log.stat().st_size > 100 * 10**6
    return ledger


@pytest.mark.long
def test_ten_thousand_commits_and_a_log_of_100_mb(large: Ledger) -> None:
    """The first look reads the records once and the end of the log; the next ones what is new."""
    with large.lock(), EventLog(large.folder, Silent()) as log:
        log.worker_up("w0", "here", "cpu")
        tracemalloc.start()
        times = []
        watch = Watch(large.folder.out)
        for number in range(10_000, 10_003):
            began_s = time.process_time()
            status = watch.look()
            times.append(time.process_time() - began_s)
            assert (status.state, status.frames) == ("rendering", 50 * number)
            log.committed(commit(large, number, frames=50))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 60 * 10**6  # less than the log has
    assert times[0] < 20  # a second or two on an idle machine, more while memory is traced
    assert max(times[1:]) < times[0] / 2


def test_an_output_in_a_bucket(bucket: ObjectPath, tmp_path: Path, server: Server) -> None:
    """The log that is put once a minute is read in parts, and the records once."""
    (tmp_path / "m.csv").write_text(MANIFEST)
    prepared = plan_job(tmp_path / "m.csv", "store.unit_frames=4", "sampling.steps=2", f"output={bucket}")
    record_or_resume(prepared)
    ledger = Ledger(bucket)
    with ledger.lock(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_log, "BEAT_S", 0.02)
        patch.setattr(event_log, "PUT_S", 0.02)
        with EventLog(ledger.folder, Silent()) as log:
            watch = Watch(str(bucket))
            log.worker_up("w0", "there", "H100")
            log.committed(commit(ledger, 0))
            wait_until(lambda: watch.look().workers, "the worker")
            status = watch.look()
            assert (status.state, status.frames, status.hosts) == ("rendering", 4, (("there", "H100", 1),))
            server.begin()
            watch.look()
            asked = [request.path.rpartition("/")[2] for request in server.requests if request.method == "GET"]
            assert "00000.json" not in asked
    status = watch.look()
    assert (status.state, status.holder) == ("incomplete", None)
    assert f"`render repair {bucket}`" in status.next_steps[0]
    assert code(bucket) == 1


def test_one_line_and_times(done: Path) -> None:
    status = replace(status_store(done), state="rendering", speed_now=2.0, left_s=7200.0, faults=2, reason="x\ny")
    assert "rendering, 40 of 40 frames (100 %), 2.00 img/s now" in line_of(status)
    assert "about 2.0 h left, 2 faults" in line_of(status)
    assert "\n" not in line_of(status)
    facts: Callable[[Status], dict[str, Any]] = facts_of
    assert json.loads(json.dumps(facts(status)))["left_s"] == 7200.0
    assert [duration(seconds) for seconds in (-1, 0, 130, 10**6)] == ["0 s", "0 s", "2 min", "11.6 days"]
