"""The lock of an output in a bucket: one holder, found again after its death, and given up when it is lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from buckets import Server, few_tries

from render.core import PROBE, ObjectPath, RunError, StoreError, write_atomically
from render.store import lease as leases
from render.store import sweep
from render.store.ledger import Ledger
from render.store.processes import machine

pytest_plugins = ["buckets"]


@pytest.fixture
def ledger(bucket: ObjectPath) -> Ledger:
    return Ledger(bucket)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_the_lock_has_one_holder_and_goes(ledger: Ledger, bucket: ObjectPath) -> None:
    with ledger.lock() as check:
        check()
        record = json.loads(ledger.folder.lock.read_text())
        required = f"got one that does: process {record['process']} on {record['host']}, since {record['since']}"
        with pytest.raises(StoreError, match=re.escape(required)), Ledger(bucket).lock():
            pass
    assert not ledger.folder.lock.exists()
    with ledger.lock():
        pass


def dead(**fields: object) -> bytes:
    """The record of a run that was killed."""
    known = {"host": "h", "process": 2**22 + 1, "since": "t", "machine": machine(), "token": "x", "renewals": 3}
    return json.dumps(known | fields).encode()


def test_the_lock_of_a_dead_process_on_this_machine_is_taken_over(ledger: Ledger) -> None:
    write_atomically(ledger.folder.lock, dead())
    with ledger.lock() as check:
        check()


@pytest.mark.parametrize("record", [dead(machine="another"), b"", b"[1]", b"{"])
def test_another_machines_lock_is_taken_over_once_it_is_not_renewed(ledger: Ledger, record: bytes) -> None:
    write_atomically(ledger.folder.lock, record)
    with pytest.raises(StoreError, match=r"last heard of \d+ s ago. If it is dead, .* 300 s after"), ledger.lock():
        pass
    with patch.object(leases, "STALE_S", -1.0), ledger.lock():
        assert json.loads(ledger.folder.lock.read_text())["token"] != "x"


def test_of_several_that_take_a_stale_lock_over_one_has_it(ledger: Ledger, bucket: ObjectPath) -> None:
    write_atomically(ledger.folder.lock, dead())
    lock = ledger.folder.lock
    assert isinstance(lock, ObjectPath)
    etag = lock.facts().etag
    assert [lock.replace_if(dead(token=name), etag) for name in "abc"] == [True, False, False]


def test_a_lost_answer_to_the_lock_is_no_other_holder(ledger: Ledger, server: Server) -> None:
    server.begin(lambda request: "lose" if request.number == 0 else "")
    with ledger.lock() as check:
        check()
    assert server.requests[0].method == "PUT"


def test_a_lock_is_renewed_and_its_loss_is_noticed(ledger: Ledger, stack: ExitStack) -> None:
    lock = ledger.folder.lock
    check = stack.enter_context(ledger.lock())
    keeper = check.__self__  # type: ignore[attr-defined]
    keeper._renew()
    assert json.loads(lock.read_text())["renewals"] == 1
    check()
    write_atomically(lock, dead(host="elsewhere"))
    keeper._renew()
    with pytest.raises(RunError, match=r"required the lock of this run, got that of process .* on elsewhere"):
        check()
    stack.close()
    assert json.loads(lock.read_text())["host"] == "elsewhere", "another's lock is left alone"


def test_a_run_that_cannot_renew_its_lock_ends(ledger: Ledger, server: Server) -> None:
    with few_tries(1), ledger.lock() as check, patch.object(leases, "STALE_S", 0.0):
        server.begin(lambda _: "cut")
        with pytest.raises(RunError, match="required to renew it every 20 s, got no answer for"):
            check()
        server.begin()


def test_the_ledger_in_a_bucket_commits_once(ledger: Ledger, bucket: ObjectPath, tmp_path: Path) -> None:
    from render.core import Receipt

    def receipt(file: str) -> Receipt:
        return Receipt("00000", file, 4, 100, "ab", 1.5, 4)

    mine, other = (f"train-00000-of-00001-0000000{end}.parquet" for end in "ab")
    assert ledger.commit(receipt(mine))
    assert ledger.commit(receipt(mine)), "a commit whose answer was lost is ours"
    assert not ledger.commit(receipt(other))
    assert [found.file for found in Ledger(bucket).receipts()] == [mine]
    for name in (mine, other):
        write_atomically(ledger.folder.data / name, b"1")
    assert ledger.delete_orphans() == 1
    assert [path.name for path in ledger.folder.data.iterdir()] == [mine]


def test_a_probe_of_a_living_run_stays(ledger: Ledger, bucket: ObjectPath) -> None:
    """It tries the bucket out before it asks for the lock."""
    probe = bucket / ".run" / f"{PROBE}0123"
    write_atomically(probe, b"1")
    assert ledger.delete_orphans() == 0
    assert probe.is_file()
    with patch.object(sweep, "PROBE_S", -1.0):
        assert ledger.delete_orphans() == 1
    assert not probe.exists()
