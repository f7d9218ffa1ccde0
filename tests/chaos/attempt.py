"""One run of a command: its lines with their times, its processes, and what it must have told the user in the end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import IO

from processes import Process, descendants

__all__ = ["SILENCE_S", "Attempt", "Line", "wording_problems"]

SILENCE_S = 60.0  # longest time without a word
RESUMES = "the same command resumes"
LAST_WORDS = re.compile(r"the same command|required|render (repair|retry|verify|run)|tries them again", re.IGNORECASE)
NOISE = re.compile(  # what Ray, gRPC, glog and Python's fault handler write
    r"^\*\*\*|\(raylet\)|\(pid=|^\[?[EWIF]\d{4} |^\[\d{4}-\d\d-\d\d |\[(state-dump|mutex)\]|core_worker|^Fatal Python"
    r"|^Exception ignored|StackTrace|^Aborted|ray\.exceptions|grpc\."
)


@dataclass(frozen=True)
class Line:
    """A line that the user reads."""

    at_s: float  # by time.monotonic()
    text: str
    is_error: bool  # on stderr


class Attempt:
    """A command that runs as the leader of a process group of its own, as from a shell."""

    def __init__(self, command: Sequence[str], environment: dict[str, str], cwd: Path) -> None:
        self.lines: list[Line] = []
        self.began_s, self.ended_s = time.monotonic(), 0.0
        self.is_killed = False  # by the harness: it can say nothing
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.pid = self._process.pid
        streams: tuple[tuple[IO[bytes] | None, bool], ...] = (
            (self._process.stdout, False),
            (self._process.stderr, True),
        )
        self._readers = [Thread(target=self._read, args=stream, daemon=True) for stream in streams]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[bytes], is_error: bool) -> None:
        for line in stream:
            self.lines.append(Line(time.monotonic(), line.decode(errors="replace").rstrip("\n"), is_error))

    @property
    def lives(self) -> bool:
        if self._process.poll() is None:
            return True
        self.ended_s = self.ended_s or time.monotonic()
        return False

    @property
    def code(self) -> int | None:
        """Exit code; negative: the signal that ended it."""
        return self._process.returncode

    @property
    def seconds(self) -> float:
        return (self.ended_s or time.monotonic()) - self.began_s

    def wait(self, until: Callable[[], object], limit_s: float) -> bool:
        """Wait while the run lives, until a condition holds. Returns whether it does."""
        end_s = time.monotonic() + limit_s
        while self.lives and time.monotonic() < end_s:
            if until():
                return True
            time.sleep(0.01)
        return bool(self.lives and until())

    def kill(self) -> None:
        """Kill the driver alone."""
        self.is_killed = True
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def finish(self, limit_s: float) -> bool:
        """Wait for the end. Returns False for a run that does not end in time: it is killed."""
        self.wait(lambda: False, limit_s)
        ended = not self.lives
        if not ended:
            self.is_killed = True
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
        _ = self.lives  # notes when it ended
        for reader in self._readers:  # an orphan may hold the pipe open
            reader.join(timeout=2.0)
        return ended

    def processes(self) -> list[Process]:
        return descendants(self.pid)

    def noticed_s(self, at_s: float) -> float | None:
        """Return the seconds from a moment to the next word on stderr that is no progress, or to the end."""
        progress = re.compile(r"[\d,]+/[\d,]+ frames|[\d,]+ frames|frames are done")
        later = (line for line in list(self.lines) if line.is_error and line.at_s > at_s)
        word = next((line.at_s for line in later if not progress.match(line.text)), self.ended_s)
        return word - at_s if word else None


def wording_problems(lines: Sequence[Line], began_s: float, ended_s: float, code: int | None) -> Iterator[str]:
    """Yield what the user should not have seen: a traceback, another program's noise, silence, no last word.

    `code` is the exit code; None for a run that was killed by the harness, which nobody can speak for when all of it was.
    """
    if any("Traceback (most recent call last)" in line.text for line in lines):
        yield "a traceback"
    if noise := [line.text for line in lines if NOISE.search(line.text)]:
        yield f"{len(noise)} lines of another program: {noise[0][:150]}"
    times = [began_s, *(line.at_s for line in lines), ended_s]
    silence_s = max(after - before for before, after in pairwise(times))
    if silence_s > SILENCE_S:
        yield f"silence for {silence_s:.0f} s"
    if code in (1, 2, -signal.SIGKILL):  # the last when its guardian ended it
        said = [line.text for line in lines if line.is_error and line.text.strip()]
        if sum(RESUMES in text for text in said) > 1:
            yield f"more than one last word: {[text[:100] for text in said if RESUMES in text]}"
        if not said or not LAST_WORDS.search(said[-1]):
            yield f"a last line that does not say what to do: {said[-1][:200] if said else 'none'}"
    elif code not in (0, 3, None):
        yield f"an end without a word: exit code {code}"


def product(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "render", *map(str, arguments)]
