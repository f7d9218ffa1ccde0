"""The state of a run as others see its driver: on this machine, on another one, while it prepares, after it was killed."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stores import wait_until

from render import plan_job, status_store
from render.mending import Watch, lines_of
from render.prepare import Prepared, Silent, record_or_resume
from render.store import EventLog, Ledger

HOLD = """
import sys, time
from pathlib import Path
from render.prepare import Silent
from render.store import EventLog, Ledger
ledger = Ledger(Path(sys.argv[1]))
with ledger.lock(), EventLog(ledger.folder, Silent()) as log:
    log.worker_up("w0", "here", "H100")
    log.unit_given("00000", "w0")
    print("begun", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def begun(tmp_path: Path) -> Prepared:
    """An output of which nothing is rendered."""
    (tmp_path / "m.csv").write_text("prompt\n3d dog face\n")
    prepared = plan_job(tmp_path / "m.csv", f"output={tmp_path / 'out'}")
    record_or_resume(prepared)
    Ledger(prepared.job.output).create()
    return prepared


def on_another_machine(ledger: Ledger, renewed_s: float, **record: Any) -> None:
    """Have the lock be that of a driver elsewhere, which has renewed it some seconds ago."""
    own = {"host": platform.node(), "process": os.getpid(), "since": "2026-11-26T12:00:00+00:00", "machine": "other"}
    ledger.folder.lock.write_text(json.dumps(own | record))
    os.utime(ledger.folder.lock, (time.time() - renewed_s,) * 2)


@pytest.mark.parametrize(
    ("age_s", "renewed_s", "state"),
    [
        (10, 10, "rendering"),
        (1000, 1000, "died"),
        (1000, 10, "rendering"),  # its clock is behind, or its log is not begun
        (10, 1000, "rendering"),  # of an earlier version, which does not renew its lock
        (-1000, 1000, "died"),  # its clock is ahead
        (-1000, 10, "rendering"),
        (1000, -1000, "died"),
    ],
)
def test_a_driver_on_another_machine_is_judged_by_its_signs_of_life(
    begun: Prepared, age_s: int, renewed_s: int, state: str
) -> None:
    out, ledger = begun.job.output, Ledger(begun.job.output)
    with EventLog(ledger.folder, Silent()) as log:
        log.worker_up("w0", "there", "H100")
        now = datetime.now(UTC) + timedelta(seconds=age_s)
        on_another_machine(ledger, renewed_s)
        status = Watch(out, lambda: now).look()
    assert status.state == state
    assert status.heard_s == pytest.approx(max(0, age_s), abs=5)


def test_a_driver_that_prepares_for_long_lives_by_its_lock(begun: Prepared) -> None:
    ledger = Ledger(begun.job.output)
    on_another_machine(ledger, 20)
    assert status_store(ledger.folder.out).state == "preparing"
    on_another_machine(ledger, 100)
    assert status_store(ledger.folder.out).state == "died"


def test_a_lock_is_renewed_while_it_is_held(begun: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.store.file_lock.RENEW_S", 0.01)
    lock = Ledger(begun.job.output).folder.lock
    with Ledger(begun.job.output).lock():
        os.utime(lock, (0, 0))
        wait_until(lambda: lock.stat().st_mtime > 0, "a renewal")


def test_what_a_dead_run_had_is_not_the_next_ones(begun: Prepared) -> None:
    """While the next driver prepares, the log is that of the one that was killed."""
    out, ledger = begun.job.output, Ledger(begun.job.output)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(out)], stdout=subprocess.PIPE) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == b"begun\n"
        driver.send_signal(signal.SIGKILL)
    with ledger.lock():
        status = status_store(out)
        assert (status.state, status.workers, status.in_hand, status.heard_s) == ("preparing", (), (), None)
        assert "last heard" not in dict(lines_of(status))["state"]
        with EventLog(ledger.folder, Silent()):
            assert status_store(out).state == "starting"
