"""End the processes and delete the folder of a local Ray with its run, even when the run is killed. Standard library only.

Every process of a Ray that a run started has the mark `RENDER_RAY=FOLDER` in its environment, which is inherited. Ray's own
helpers outlive it by up to 20 seconds, and nothing ends them with a driver that was killed. So this file is a program as
well: `guardian.py FOLDER DRIVER` waits, in a session of its own, for the end of the process with the id DRIVER.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["Guardian", "end_processes", "lives", "marked", "processes_of"]

MARK = "RENDER_RAY"
END_S = 5.0  # after which a process that was killed is left to the kernel
HUNG_S = 30.0  # without a sign of life from a driver that has promised them
QUIET, SIGN, ENOUGH = b"q", b".", b"e"  # say nothing in the end; a sign of life, and others follow; no more follow
KILLED = "was killed, by hand or by the system when memory ran out"
HUNG = "hung while Ray started, and was ended"
ENDED = "render: its process {} {}. What is committed stays; the same command resumes."


@contextmanager
def marked(folder: Path) -> Iterator[None]:
    """Mark the processes that this one starts meanwhile."""
    os.environ[MARK] = str(folder)
    try:
        yield
    finally:
        del os.environ[MARK]


def processes_of(folder: Path) -> list[int]:
    """Return the ids of the living processes with the mark of a folder, as far as they are this user's; never this one."""
    mark, found = f"{MARK}={folder}".encode(), []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:  # it has ended, or is not ours
            if mark in file.read().split(b"\0"):  # nothing is left of a zombie's
                found.append(int(name))
    return found


def lives(process: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def end_processes(folder: Path) -> None:
    """Kill the processes with the mark of a folder, and those that they start meanwhile. Takes END_S at most."""
    end_s = time.monotonic() + END_S
    while (found := processes_of(folder)) and time.monotonic() < end_s:
        for process in found:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


class Guardian:
    """The program beside this process."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(folder), str(os.getpid())]
        self._process = subprocess.Popen(
            command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def hush(self) -> None:
        """Let it say nothing in the end: somebody else has."""
        self._tell(QUIET)

    def sign(self) -> None:
        """Give a sign of life. If none follows in HUNG_S, the guardian ends this process."""
        self._tell(SIGN)

    def relax(self) -> None:
        """Let it wait for no more signs."""
        self._tell(ENOUGH)

    def dismiss(self) -> None:
        """Let it end now, and wait for that."""
        self.hush()
        with suppress(OSError):
            self._stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(2 * END_S)

    def _tell(self, what: bytes) -> None:
        with suppress(OSError):
            self._stdin.write(what)

    @property
    def _stdin(self) -> IO[Any]:
        assert self._process.stdin is not None
        return self._process.stdin


def _wait(driver: int) -> str:
    """Wait for the end of the driver, or of the pipe from it, or of its signs of life. Returns what to say, or ""."""
    watched: list[int] = [0]
    with suppress(OSError):  # an old kernel; or it has ended, and so has the pipe
        watched.append(os.pidfd_open(driver))
    ending, limit_s = KILLED, None
    while True:
        ready, _, _ = select.select(watched, (), (), limit_s)
        data = os.read(0, 4096) if 0 in ready else b""
        if limit_s and not ready:
            with suppress(OSError):
                os.kill(driver, signal.SIGKILL)
            return HUNG
        if not data:  # the end of the pipe, or of the driver, where a child of it holds the pipe open
            return ending
        if QUIET in data:
            ending = ""
        limit_s = HUNG_S if data[-1:] == SIGN else None


def main() -> None:
    """Guard the Ray of one run."""
    folder, driver = Path(sys.argv[1]), int(sys.argv[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ending = _wait(driver)
    end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)
    if ending:
        with suppress(OSError):  # nobody reads any more
            print(ENDED.format(driver, ending), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
