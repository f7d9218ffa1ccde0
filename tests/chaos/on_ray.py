"""Scenarios of whole runs on Ray: kills, signals, nodes, frames that raise or end their process, and disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from attempt import Attempt
from bench import Bench, environment
from disks import can_mount, small_disk
from processes import Process, descendants, kill

__all__ = ["SCENARIOS"]

START_S = 12.0  # in which an undisturbed run is up and renders, about
GONE_S = 90.0  # time that the processes of a killed driver may take to end
SIGNAL_END_S = 60.0
PYTHON_S = 0.1  # from the start of Python to that of the product: nothing can be handled before
MOST_COMMITS = 9
DAY_S = 86_400.0


def _commits(bench: Bench) -> int:
    return len(list((bench.out / ".run" / "commits").glob("[!.]*.json")))


def _wait_for_a_moment(bench: Bench, attempt: Attempt) -> bool:
    """Wait for a random moment of a run: by the clock while it starts, or some commits later. False when it has ended."""
    if bench.random.random() < 0.4:
        moment_s = time.monotonic() + bench.random.uniform(0.0, START_S)
        attempt.wait(lambda: time.monotonic() >= moment_s, START_S)
    else:
        wanted = _commits(bench) + bench.random.randint(1, 3)
        attempt.wait(lambda: _commits(bench) >= min(wanted, MOST_COMMITS), 60.0)
        moment_s = time.monotonic() + bench.random.uniform(0.0, 0.7)
        attempt.wait(lambda: time.monotonic() >= moment_s, 5.0)
    return attempt.lives


def _find(attempt: Attempt, role: str) -> list[Process]:
    """Wait for processes of a role; none where the run ends, or does not start any."""
    found: list[Process] = []

    def look() -> bool:
        found[:] = [process for process in attempt.processes() if process.role == role]
        return bool(found)

    attempt.wait(look, 60.0)
    return found


def _kill_one(role: str) -> Callable[[Bench, Attempt], None]:
    def strike(bench: Bench, attempt: Attempt) -> None:
        found = _find(attempt, role)
        if not attempt.lives:
            return
        if not found:
            if role != "starting worker":  # all may be up
                bench.problem(f"a run has no process that is a {role}")
            return
        at_s = time.monotonic()
        if kill([bench.random.choice(found)]):
            attempt.wait(lambda: attempt.noticed_s(at_s) is not None, 60.0)
            bench.hit(f"SIGKILL {role}", attempt.noticed_s(at_s))

    return strike


def _kill_driver(group: bool) -> Callable[[Bench, Attempt], None]:
    """Kill the driver alone, or everything: its process group, and what has left that."""

    def strike(bench: Bench, attempt: Attempt) -> None:
        others = attempt.processes()
        if not attempt.lives:
            return
        at_s = time.monotonic()
        attempt.kill()
        if group:
            with suppress(ProcessLookupError):
                os.killpg(attempt.pid, signal.SIGKILL)
            kill(others)
        attempt.finish(5.0)
        noticed_s = None
        if bench.random.random() < 0.6:  # else the same command comes at once, beside what is left of the old run
            noticed_s = _wait_until_gone(bench, at_s)
        bench.hit("SIGKILL whole group" if group else "SIGKILL driver", noticed_s)

    return strike


def _wait_until_gone(bench: Bench, at_s: float) -> float:
    while bench.others():
        if time.monotonic() - at_s > GONE_S:
            bench.problem(f"processes of a killed driver live on for {GONE_S:.0f} s")
            break
        time.sleep(0.05)
    return time.monotonic() - at_s


def _send(sent: signal.Signals, group: bool = False, early: bool = False) -> Callable[[Bench, Attempt], None]:
    """Send a signal that asks for an end, to the driver or, as a terminal does, to its group."""

    def strike(bench: Bench, attempt: Attempt) -> None:
        if not attempt.lives:
            return
        at_s = time.monotonic()
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(attempt.pid, sent)
        if not attempt.wait(lambda: False, SIGNAL_END_S) and attempt.lives:
            bench.problem(f"{sent.name}: no end within {SIGNAL_END_S:.0f} s")
        name = f"{sent.name}{' to the group' if group else ''}{' in the first 3 s' if early else ''}"
        bench.hit(name, time.monotonic() - at_s)

    return strike


SURVIVED = [_kill_one("worker")] * 5 + [_kill_one("starting worker")]
ENDING = [
    *[_kill_one("gcs_server"), _kill_one("raylet"), _kill_driver(False), _kill_driver(True)] * 2,
    _send(signal.SIGTERM),
    _send(signal.SIGINT, group=True),
    _send(signal.SIGHUP),
]


def kills(bench: Bench) -> None:
    """Kill a worker or two, then something that a run may not survive, then give the same command again, twice over."""
    attempt = None
    for _ in range(2):
        strikes = [*bench.random.choices(SURVIVED, k=bench.random.randint(0, 2)), bench.random.choice(ENDING)]
        for strike in strikes:
            if attempt is None:
                attempt = bench.start(workers=bench.random.randint(1, 2))
            if _wait_for_a_moment(bench, attempt):
                strike(bench, attempt)
            if not attempt.lives:
                if bench.end(attempt) == 0:
                    return
                attempt = None
    bench.end_all(attempt)


def early_signals(bench: Bench) -> None:
    """Send each signal once in the first 3 s of a run."""
    strikes = [
        _send(signal.SIGTERM, early=True),
        _send(signal.SIGINT, group=True, early=True),
        _send(signal.SIGHUP, early=True),
    ]
    bench.random.shuffle(strikes)
    for strike in strikes:
        attempt = bench.start()
        attempt.wait(bench.began.exists, 30.0)
        moment_s = time.monotonic() + bench.random.uniform(PYTHON_S, 3.0)
        attempt.wait(lambda end_s=moment_s: time.monotonic() >= end_s, 5.0)  # type: ignore[misc]
        strike(bench, attempt)
        bench.end(attempt)
    bench.end_all()


def hang_up(bench: Bench) -> None:
    """Close the terminal of a run that was started with nohup: it goes on."""
    attempt = bench.start(wrapper=["nohup"])
    if _wait_for_a_moment(bench, attempt):
        with suppress(ProcessLookupError):
            os.killpg(attempt.pid, signal.SIGHUP)
            bench.hit("SIGHUP under nohup")
    if bench.end(attempt) != 0:
        bench.problem("a run under nohup ends with the terminal")
    bench.end_all()


def frames(bench: Bench) -> None:
    """A frame raises, once or until it is in quarantine; another ends its process, likewise."""
    faults = []
    for name, act in (("frame raises", "raise"), ("frame ends its process", "exit")):
        times = bench.random.choice([1, 4])
        fault = {"act": act, "point": "frame", "times": times, "nth": bench.random.randint(1, 6)}
        faults.append((name, fault))
    bench.end_all(bench.start(bench.plan(*faults)))


def steps(bench: Bench) -> None:
    """Workers are killed and fail before steps on files, and the driver is killed before one of its own."""
    of_worker = r"(write-table|read|fsync|read-table|rename|write|link|remove) (data|\.run/(scratch|commits))"
    faults: list[tuple[str, dict[str, Any]]] = [
        (
            "killed before a step (worker)",
            {"act": "kill", "who": "worker", "label": of_worker, "nth": bench.random.randint(1, 40)},
        ),
        ("killed before a step (driver)", {"act": "kill", "who": "driver", "nth": bench.random.randint(1, 60)}),
    ]
    bench.end(bench.start(bench.plan(*faults)))
    error = bench.random.choice(["ENOSPC", "EIO", "EROFS"])
    fault = {"act": error, "who": "worker", "label": of_worker, "nth": bench.random.randint(1, 30), "times": 0}
    bench.end_all(bench.start(bench.plan((f"{error} before a step (worker)", fault))))


def _next_attempt_with_room(bench: Bench, name: str, resize: Callable[[], None]) -> None:
    code = bench.end(bench.start())
    if code != 0:
        bench.hit(name)
    resize()
    bench.end_all()
    bench.judge()


def disks(bench: Bench) -> None:
    """The output's disk is full, then has room; or the disk of the temporary files is."""
    if not can_mount():
        return
    with ExitStack() as stack:
        if bench.turn % 2:
            disk = stack.enter_context(small_disk(bench.tmp, 300))
            _next_attempt_with_room(bench, "full folder of temporary files", lambda: disk.resize(500_000))
        else:
            disk = stack.enter_context(small_disk(bench.out, bench.random.randint(60, 250)))
            _next_attempt_with_room(bench, "disk full (small tmpfs)", lambda: disk.resize(64_000))


def slow(bench: Bench) -> None:
    """A slow disk, and a wall clock that jumps by a day to and fro; beside it a worker is killed."""
    wait = {"act": "wait", "seconds": 0.1, "label": "fsync", "times": 0, "who": "worker"}
    jump: dict[str, Any] = {"point": "clock", "act": "none"}
    attempt = bench.start(bench.plan(("slow disk", wait), ("the clock jumps by a day", jump), clock=DAY_S))
    if _wait_for_a_moment(bench, attempt):
        _kill_one("worker")(bench, attempt)
    bench.end_all(attempt)


def two_runs(bench: Bench) -> None:
    """A second run begins with the first, or later: one is refused in seconds, the other goes on."""
    runs = [bench.start()]
    if bench.random.random() < 0.5:
        _wait_for_a_moment(bench, runs[0])
    runs.append(bench.start())
    at_s = time.monotonic()
    while all(run.lives for run in runs) and time.monotonic() - at_s < SIGNAL_END_S:
        time.sleep(0.01)
    refused = [run for run in runs if not run.lives]
    if len(refused) == 1 and refused[0].code == 2:
        bench.hit("two runs on one output", time.monotonic() - at_s)
    codes = [bench.end(run) for run in runs]
    if sorted(codes, key=str) not in ([0, 2], [0, 0]):
        bench.problem(f"two runs on one output: exit codes {codes}")
    bench.end_all()


class _Machines:
    """A Ray cluster of its own: see machines.py."""

    def __init__(self, bench: Bench) -> None:
        variables = environment(bench.folder / "ray")
        (bench.folder / "ray").mkdir()
        log = (bench.folder / "machines.log").open("ab")
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("machines.py"))],
            env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        log.close()
        self.address = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("machines: "):
                return line.removeprefix("machines: ").strip()
        raise RuntimeError("the cluster of the scenario has ended")

    def ask(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        self._answer()

    def close(self) -> None:
        own = descendants(self._process.pid)
        self._process.kill()
        self._process.wait()
        kill(own)

    def workers(self) -> list[Process]:
        return [process for process in descendants(self._process.pid) if "worker" in process.role]


@contextmanager
def _machines(bench: Bench) -> Iterator[_Machines]:
    machines = _Machines(bench)
    try:
        yield machines
    finally:
        machines.close()


def nodes(bench: Bench) -> None:
    """A run on a cluster of two nodes: one leaves, one joins, one leaves; the driver is killed or not."""
    with _machines(bench) as machines:
        bench.connect(machines.address)
        attempt = bench.start()
        for word in ("leave", "join", "leave", "join"):
            if not _wait_for_a_moment(bench, attempt):
                break
            at_s = time.monotonic()
            machines.ask(word)
            if word == "leave":
                attempt.wait(lambda at_s=at_s: attempt.noticed_s(at_s) is not None, 60.0)  # type: ignore[misc]
            bench.hit(f"node {word}s", attempt.noticed_s(at_s) if word == "leave" else None)
        bench.end_all(attempt)
        end_s = time.monotonic() + 20.0
        while machines.workers() and time.monotonic() < end_s:
            time.sleep(0.1)
        for worker in machines.workers():
            bench.problem(f"a worker is left on the cluster: {worker.line[:60]}")


SCENARIOS = {
    "kills": kills,
    "early-signals": early_signals,
    "hang-up": hang_up,
    "frames": frames,
    "steps": steps,
    "disks": disks,
    "ray-slow": slow,
    "ray-two-runs": two_runs,
    "nodes": nodes,
}
