"""The lock of an output in a bucket: a record that is created exclusively, renewed, and taken over when it is stale.

A record is stale when its process is dead (as seen on the same machine), or when it was not renewed for STALE_S by the
store's own clock. No request of a living run is tried for as long, so a driver that was cut off has ended by then.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from render.core import ObjectPath, RunError, StoreError

__all__ = ["lease", "lease_holder"]

RENEW_S = 20.0
STALE_S = 300.0


@contextmanager
def lease(path: ObjectPath) -> Iterator[Callable[[], None]]:
    """Hold a lock. Gives a check that raises RunError once another run has it, or when it could not be renewed.

    Raises StoreError when a living run holds it, with host, process and time.
    """
    record = _new_record()
    _take(path, record)
    keeper = _Keeper(path, record)
    try:
        yield keeper.check
    finally:
        keeper.stop()


class _Keeper:
    """Thread that renews the record."""

    def __init__(self, path: ObjectPath, record: dict[str, Any]) -> None:
        self._path, self._record = path, record
        self._renewed_s, self._lost_to = _now_s(), ""
        self._ended = Event()
        self._thread = Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        if self._lost_to:
            raise RunError(f"{self._path}: required the lock of this run, got that of {self._lost_to}")
        since_s = _now_s() - self._renewed_s
        if since_s > STALE_S / 2:
            raise RunError(f"{self._path}: required to renew it every {RENEW_S:g} s, got no answer for {since_s:.0f} s")

    def stop(self) -> None:
        """Stop renewing and give the lock back."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):  # it is stale for everybody soon
            if _read(self._path).get("token") == self._record["token"]:
                self._path.unlink()

    def _keep(self) -> None:
        while not self._ended.wait(RENEW_S):
            with suppress(OSError):  # the next time, or `check` ends the run
                self._renew()

    def _renew(self) -> None:
        try:
            etag, found = self._path.facts().etag, _read(self._path)
        except FileNotFoundError:
            self._lost_to = "nobody: it was deleted"
            return
        if found.get("token") != self._record["token"]:
            self._lost_to = _holder(found)
            return
        self._record["renewals"] += 1  # other bytes, another ETag
        self._path.replace_if(_encoded(self._record), etag)
        self._renewed_s = _now_s()


def lease_holder(path: ObjectPath) -> str:
    """Return who holds a lock; "" for nobody, and for a stale one."""
    try:
        facts, found = path.facts(), _read(path)
    except FileNotFoundError:
        return ""
    return "" if not found or _is_stale(found, facts.age_s) else _holder(found)


def _take(path: ObjectPath, record: dict[str, Any]) -> None:
    """Create the record, or put it in the place of a stale one. Raises StoreError."""
    if path.create(_encoded(record)):
        return
    try:
        facts, found = path.facts(), _read(path)
    except FileNotFoundError:  # it was given back just now
        facts, found = None, {}
    if facts is None:
        taken = path.create(_encoded(record))
    else:
        taken = _is_stale(found, facts.age_s) and path.replace_if(_encoded(record), facts.etag)
    if not taken or _read(path).get("token") != record["token"]:
        age_s = facts.age_s if facts else 0.0
        raise StoreError(
            f"{path.parent.parent}: required that no other run writes there, got one that does: {_holder(found)}, last "
            f"heard of {age_s:.0f} s ago. If it is dead, the same command takes its place {STALE_S:.0f} s after that"
        )


def _is_stale(found: dict[str, Any], age_s: float) -> bool:
    return age_s > STALE_S or (found.get("machine") == _machine() and not _lives(found.get("process")))


def _lives(process: object) -> bool:
    return isinstance(process, int) and Path(f"/proc/{process}").exists()


def _new_record() -> dict[str, Any]:
    return {
        "host": platform.node(),
        "process": os.getpid(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "token": uuid4().hex,
        "renewals": 0,
    }


def _machine() -> str:
    """Name this boot of this machine, and the space in which its process ids count: containers have their own."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _holder(found: dict[str, Any]) -> str:
    return f"process {found.get('process')} on {found.get('host')}, since {found.get('since')}"


def _encoded(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()


def _read(path: ObjectPath) -> dict[str, Any]:
    """Return the record; an empty one where it is damaged."""
    with suppress(ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def _now_s() -> float:
    """Return the seconds of a clock that goes on while the machine is suspended, where the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()
