"""Who holds an output's lock, as seen by somebody who takes none: a living driver, a dead one, one of another machine."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from buckets import Server

from render.core import ObjectPath
from render.store import Holder, Ledger, find_holder
from render.store.processes import lives, machine, start_ticks

pytest_plugins = ["buckets"]

HOLD = """
import sys, time
from pathlib import Path
from render.store import Ledger
with Ledger(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    ledger = Ledger(tmp_path)
    ledger.create()
    return ledger


def found(ledger: Ledger) -> Holder:
    holder = find_holder(ledger.folder.lock)
    assert holder is not None
    return holder


def test_nobody_holds_it_before_and_after_a_run(ledger: Ledger) -> None:
    assert find_holder(ledger.folder.lock) is None
    with ledger.lock():
        holder = found(ledger)
    assert (holder.host, holder.process, holder.lives) == (platform.node(), os.getpid(), True)
    assert holder.since is not None
    assert find_holder(ledger.folder.lock) is None


def test_looking_does_not_hinder_a_run(ledger: Ledger) -> None:
    with patch("fcntl.flock", side_effect=AssertionError("a lock was taken")):
        find_holder(ledger.folder.lock)


def test_a_driver_that_was_killed(ledger: Ledger) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, ledger.folder.out], stdout=subprocess.PIPE) as driver:
        assert driver.stdout
        assert driver.stdout.readline() == b"held\n"
        assert found(ledger) == Holder(platform.node(), driver.pid, found(ledger).since, lives=True)
        driver.send_signal(signal.SIGKILL)
    assert found(ledger).lives is False
    with ledger.lock():  # it holds nobody up
        assert found(ledger).process == os.getpid()


@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({"started": 1}, False),  # another process has its id by now
        ({"machine": "another boot"}, None),
        ({"process": 2**22 + 1}, False),
        ({"process": "7"}, False),
        ({"machine": None, "host": "elsewhere"}, None),
    ],
)
def test_what_can_be_seen_from_here(ledger: Ledger, change: dict[str, Any], alive: bool | None) -> None:
    record = {"host": platform.node(), "process": os.getpid(), "since": "2026-11-26T22:00:00+00:00"}
    record |= {"machine": machine(), "started": start_ticks(os.getpid())} | change
    ledger.folder.lock.write_text(json.dumps(record))
    assert found(ledger).lives is alive


@pytest.mark.parametrize("text", ["", "{", "[1]", "7", "\0" * 100, "[" * 100_000])
def test_a_lock_that_nobody_here_wrote(ledger: Ledger, text: str) -> None:
    ledger.folder.lock.write_text(text)
    assert find_holder(ledger.folder.lock) is None


def test_values_that_nobody_here_wrote(ledger: Ledger) -> None:
    ledger.folder.lock.write_text(json.dumps({"host": 7, "process": [], "since": "yesterday"}))
    assert found(ledger) == Holder("7", 0, None, lives=None)
    ledger.folder.lock.write_text(json.dumps({"since": "2026-11-26T22:00:00"}))
    assert found(ledger).since is None


def test_a_pipe_is_no_lock(ledger: Ledger) -> None:
    os.mkfifo(ledger.folder.lock)
    assert find_holder(ledger.folder.lock) is None


def test_a_buckets_lock_is_stale_when_it_is_not_renewed(bucket: ObjectPath, server: Server) -> None:
    ledger = Ledger(bucket)
    assert find_holder(ledger.folder.lock) is None
    with ledger.lock():
        holder = found(ledger)
        assert (holder.lives, holder.process) == (True, os.getpid())
        assert holder.renewed_s is not None
        assert holder.renewed_s < 60
        with patch("render.store.lease.STALE_S", -1.0):
            assert found(ledger).lives is False
        with patch("render.store.lease.lives", return_value=False):
            assert found(ledger).lives is False
    assert find_holder(ledger.folder.lock) is None


def test_processes() -> None:
    assert lives(os.getpid(), start_ticks(os.getpid()))
    assert lives(os.getpid())
    assert not lives(os.getpid(), 1)
    assert not lives(None)
    assert start_ticks(2**22 + 1) is None
