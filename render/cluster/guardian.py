"""End the processes and delete the folder of a local Ray with its run, even when the run is killed. Standard library only.

Every process of a Ray that a run starts gets the mark `RENDER_RAY=FOLDER` in its environment, which is inherited. Ray's own
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

__all__ = ["MARK", "Guardian", "end_processes", "lives", "marked", "processes_of"]

MARK = "RENDER_RAY"
DEAD = (b"Z", b"X")  # states
NEW_S = 10.0
UNSURE_S = 0.5  # for a new process to show its environment
END_S = 5.0  # after which a process that was killed is left to the kernel
HUNG_S = 30.0  # without a sign of life from a driver that has promised them
QUIET, SIGN, ENOUGH = b"q", b".", b"e"  # say nothing in the end; a sign of life, and others follow; no more follow
KILLED = "was killed, by hand or by the system when memory ran out"
HUNG = "hung while Ray started, and was ended"
STARTING = "ended while Ray started: it was killed, or one of Ray's servers was"
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
    """Return the ids of the living processes of the Ray in a folder, as far as they are this user's; never this one."""
    return _look(folder)[0]


def _look(folder: Path) -> tuple[list[int], bool]:
    """Return `processes_of`, and whether there may be others: some are just beginning a program, and show no environment.

    Ray's helpers write their titles over a part of their environment, and with it perhaps over the mark. Those that have
    files of the folder open belong to it as well, and so do children of what belongs to it.
    """
    mark, found, is_sure = f"{MARK}={folder}".encode(), set[int](), True
    parents: dict[int, int] = {}
    for process in [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]:
        with suppress(OSError):  # it has ended, or is not ours
            variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            facts = _facts(process)
            if facts[0] in DEAD:
                continue
            parents[process] = int(facts[1])
            if mark in variables or _has_title_and_files(process, folder):
                found.add(process)
            elif variables == [b""] and _is_new(facts):
                is_sure = False
    while more := {process for process, parent in parents.items() if parent in found and process not in found}:
        found |= more
    return sorted(found), is_sure


def _has_title_and_files(process: int, folder: Path) -> bool:
    """Return whether a process has a title such as Ray gives, and files of a folder open."""
    if not Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::"):
        return False
    return any(os.readlink(file).startswith(f"{folder}/") for file in Path(f"/proc/{process}/fd").iterdir())


def _facts(process: int) -> list[bytes]:
    """Return what /proc/PID/stat says behind the name: state, parent, …"""
    return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()


def _is_new(facts: list[bytes]) -> bool:
    """Return whether a process was started in the last NEW_S seconds."""
    uptime_s = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
    return uptime_s - int(facts[19]) / os.sysconf("SC_CLK_TCK") < NEW_S


def lives(process: int) -> bool:
    """Return whether a process is there, and no zombie."""
    try:
        return _facts(process)[0] not in DEAD
    except OSError:
        return False


def end_processes(folder: Path) -> None:
    """Kill the processes with the mark of a folder, and those that they start meanwhile. Takes END_S at most."""
    began_s = last_s = time.monotonic()
    while (now := time.monotonic()) < began_s + END_S:
        found, is_sure = _look(folder)
        if not found and (is_sure or now > last_s + UNSURE_S):
            return
        last_s = now if found else last_s
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
            return STARTING if ending and limit_s else ending
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
