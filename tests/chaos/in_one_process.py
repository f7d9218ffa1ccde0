"""Scenarios without Ray: a fault before any step on a file, full and slow disks, clocks that jump, and races."""

from __future__ import annotations

import re
from contextlib import ExitStack
from random import Random
from typing import Any

from bench import KILLED, Bench
from disks import can_mount, small_disk

__all__ = ["SCENARIOS"]

REFUSED = (1, 2)
CHECKED = r"(fsync|read) \.run/scratch$"  # steps between the writing of a shard and its check
DAY_S = 86_400.0


def _points(bench: Bench, count: int) -> list[dict[str, Any]]:
    """Choose steps, in the order of an undisturbed run. From turn to turn they are of other kinds, until all had theirs."""
    steps = list(bench.job.file_steps)
    kinds = sorted(set(steps))
    Random(0).shuffle(kinds)
    chosen = {kinds[(bench.turn * count + place) % len(kinds)] for place in range(count)}
    return [
        {"label": f"{re.escape(kind)}$", "nth": bench.random.randint(1, 1 + steps.count(kind) // (2 * count))}
        for kind in sorted(chosen, key=steps.index)
    ]


def killed(bench: Bench) -> None:
    """Killed before a step, and each time that the same command is given before a later one."""
    for point in _points(bench, 3):
        bench.fork(bench.plan(("killed before a step", {"act": "kill", **point})), expected=[KILLED])
    bench.fork_all()


def failed(bench: Bench) -> None:
    """A step fails once, for one of several reasons, then another for good."""
    for times, point in zip((1, 0), _points(bench, 2), strict=True):
        error = bench.random.choice(["ENOSPC", "EIO", "EROFS", "EDQUOT"])
        name = f"{error} before a step, {'once' if times else 'and ever after'}"
        bench.fork(bench.plan((name, {"act": error, "times": times, **point})), expected=REFUSED)
    bench.fork_all()


def torn(bench: Bench) -> None:
    """A shard is cut in half before it is synced, with a crash; another is read back with a flipped byte."""
    fault = {"act": "torn", "label": CHECKED, "nth": bench.random.randint(1, 8)}
    bench.fork(bench.plan(("half a file, then killed", fault)), expected=[KILLED])
    fault = {"act": "flip", "label": r"read-table \.run/scratch$", "nth": bench.random.randint(1, 3)}
    bench.fork(bench.plan(("a byte flips before the check", fault)), expected=REFUSED)
    bench.fork_all()


def full(bench: Bench) -> None:
    """The disk of the output is full from some byte on; then it has room again."""
    if not can_mount():
        limited(bench)
        return
    with small_disk(bench.out, bench.random.randint(40, 250)) as disk:
        if bench.fork(bench.plan(), expected=REFUSED) != [0]:
            bench.hit("disk full (small tmpfs)")
        disk.resize(64_000)
        bench.fork_all()
        bench.judge()


def limited(bench: Bench) -> None:
    """No file may be longer than some bytes."""
    for least, most in ((200, 2_000), (2_000, 12_000)):
        if bench.fork(bench.plan(), file_bytes=bench.random.randint(least, most), expected=REFUSED) != [0]:
            bench.hit("RLIMIT_FSIZE")
    bench.fork_all()


def read_only(bench: Bench) -> None:
    """A begun output can't be written to; then it can. Without the right to mount every writing step fails."""
    kill = {"act": "kill", "nth": bench.random.randint(30, len(bench.job.file_steps) - 20)}
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(bench.out, 64_000)) if can_mount() else None
        bench.fork(bench.plan(("killed before a step", kill)), expected=[KILLED])
        if disk is None:
            writing = {"act": "EROFS", "label": "(write|rename|link|remove|mkdir)", "times": 0}
            bench.fork(bench.plan(("read-only output", writing)), expected=REFUSED)
        else:
            disk.set_read_only(True)
            if bench.fork(bench.plan(), expected=REFUSED) != [0]:
                bench.hit("read-only output (remounted)")
            disk.set_read_only(False)
        scratch = {"act": "EROFS", "label": r"(write|write-table|rename|remove) \.run/scratch", "times": 0}
        bench.fork(bench.plan(("read-only scratch", scratch)), expected=REFUSED)
        bench.fork_all()
        bench.judge()


def slow(bench: Bench) -> None:
    """Every sync takes long, and the wall clock jumps by a day to and fro, both in one run."""
    wait = {"act": "wait", "seconds": 0.1, "label": "fsync", "times": 0}
    jump: dict[str, Any] = {"point": "clock", "act": "none"}
    bench.fork(bench.plan(("slow disk", wait), ("the clock jumps by a day", jump), clock=DAY_S))


def race(bench: Bench) -> None:
    """Eight runs without a lock render the same units, and stand together before the link that commits the first.

    What they leave is judged as it is: no further run tidies up.
    """
    racers = 8
    plan = bench.plan(("", {"act": "gate", "label": "link .run/commits", "times": racers, "racers": racers}))
    bench.fork(*[plan | {"unlocked": True}] * racers)
    if len(list(bench.marks.glob(f"{plan['faults'][0]['id']}.*"))) == racers:
        bench.hit("eight workers race for a unit")


def two_runs(bench: Bench) -> None:
    """Two runs begin at once, in a new output and in a begun one: one goes on, the other is refused."""
    for _ in range(2):
        kill = {"act": "kill", "nth": bench.random.randint(60, 120)}
        codes = bench.fork(bench.plan(("killed before a step", kill)), bench.plan(), expected=[KILLED, 2])
        if 2 in codes:
            bench.hit("two runs on one output")
    bench.fork_all()


SCENARIOS = {
    "killed": killed,
    "failed": failed,
    "torn": torn,
    "full": full,
    "limited": limited,
    "read-only": read_only,
    "slow": slow,
    "race": race,
    "two-runs": two_runs,
}
