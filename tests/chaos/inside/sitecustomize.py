"""Faults inside the product's own processes. Python imports this module by itself where its folder is in PYTHONPATH.

So it reaches the driver and the workers that Ray starts, and the product has no code for it. RENDER_CHAOS names a file
with a plan:

    {"out": OUT, "marks": FOLDER, "clock": seconds, "faults": [{"id": …, "who": …, "point": …, "act": …, …}]}

A fault strikes at a point. A step is any touch of a file below OUT: what Python tells its audit hooks (open, rename, link,
remove, mkdir), fsync, and the writing and reading of a Parquet file. It has a label, such as `link .run/commits`, and the
fault comes before it. A frame is one frame's start in the engine. Every strike leaves a file in FOLDER with the time, the
process and the label, so that it is known to have hit, and hits no more often than it may. RENDER_CHAOS_BEGAN names a file
that says that Python has started.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Chaos", "arm"]

PATHS = {
    "open": (0,),
    "os.rename": (0, 1),
    "os.link": (1,),
    "os.remove": (0,),
    "os.mkdir": (0,),
}  # arguments that count
GATE_S = 20.0  # time that racers wait for each other
KILLING = ("kill", "torn")  # acts that end with SIGKILL
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class InjectedError(Exception):
    """An exception of a frame that nobody foresaw."""


@dataclass
class Fault:
    """One fault of the plan."""

    id: str
    act: str  # kill, exit, raise, torn, flip, wait, gate, or the name of an errno such as ENOSPC
    point: str = "step"  # or frame
    who: str = ""  # driver or worker; empty: any process
    label: str = ""  # regular expression of the steps that count; empty: all
    nth: int = 1  # of those, in one process
    times: int = 1  # over all processes; 0: always
    seconds: float = 0.0  # of a wait
    racers: int = 0  # of a gate
    seen: int = 0
    victim: str = ""  # key of the frame that it is tied to


@dataclass
class Chaos:
    """The faults of one process."""

    out: str
    marks: Path
    faults: list[Fault]
    who: str = ""
    clock: float = 0.0  # seconds by which the wall clock jumps to and fro
    steps: list[str] = field(default_factory=list)  # labels of all steps so far

    def step(self, verb: str, path: str) -> None:
        """Let what is due strike before a step on a path; paths outside OUT are none."""
        if not path.startswith(self.out) or path[len(self.out) :][:1] not in ("", "/"):
            return
        label = f"{verb} {self._place(path)}"
        self.steps.append(label)
        for fault in self._due("step", label):
            if self._claim(fault, label):
                self._strike(fault, path)

    def _place(self, path: str) -> str:
        """Return the folder of a file, or a folder itself with a slash, relative to OUT."""
        if path == self.out:
            return "OUT"
        if os.path.isdir(path):
            return f"{os.path.relpath(path, self.out)}/"
        return os.path.relpath(os.path.dirname(path), self.out)

    def frame(self, key: str) -> None:
        """Let what is due strike at the start of a frame. A fault that strikes again does so on the same frame."""
        for fault in self._due("frame", ""):
            victim = self.marks / f"{fault.id}.victim"
            if not victim.exists():
                victim.write_text(key)
            if victim.read_text() == key and self._claim(fault, "frame"):
                self._strike(fault, "")

    def _due(self, point: str, label: str) -> Iterator[Fault]:
        for fault in self.faults:
            if fault.point == point and fault.who in ("", self.who) and re.match(fault.label, label):
                fault.seen += 1
                if fault.seen >= fault.nth or (self.marks / f"{fault.id}.victim").exists():
                    yield fault

    def _claim(self, fault: Fault, label: str) -> bool:
        """Leave a mark; False when the fault has struck as often as it may."""
        for strike in range(fault.times or 1):
            try:
                mark = os.open(self.marks / f"{fault.id}.{strike}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                continue
            facts = {"at_s": time.monotonic(), "pid": os.getpid(), "label": label, "kills": fault.act in KILLING}
            os.write(mark, json.dumps(facts).encode())
            os.close(mark)
            return True
        return not fault.times

    def _strike(self, fault: Fault, path: str) -> None:
        if fault.act in ("torn", "flip"):
            _spoil(path, fault.act)
        if fault.act in KILLING:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.act == "exit":
            os._exit(1)
        if fault.act == "raise":
            raise InjectedError("injected: a frame's own error")
        if fault.act == "wait":
            time.sleep(fault.seconds)
        if fault.act == "gate":
            self._meet(fault)
        if fault.act.startswith("E"):
            number: int = getattr(errno, fault.act)
            raise OSError(number, os.strerror(number), path)

    def _meet(self, fault: Fault) -> None:
        """Wait until all racers stand before the step."""
        end_s = time.monotonic() + GATE_S
        while len(list(self.marks.glob(f"{fault.id}.*"))) < fault.racers and time.monotonic() < end_s:
            time.sleep(0.001)


def _spoil(path: str, how: str) -> None:
    """Cut a file in half, or flip a byte in its middle: what a crash or a bad disk makes of bytes that were not synced."""
    if not os.path.isfile(path):
        return
    with open(path, "r+b") as file:
        size = os.path.getsize(path)
        if how == "torn":
            file.truncate(size // 2)
        elif size:
            file.seek(size // 2)
            byte = file.read(1)
            file.seek(size // 2)
            file.write(bytes([byte[0] ^ 0xFF]))


def arm(plan: dict[str, Any], who: str) -> Chaos:
    """Have the plan's faults strike in this process from now on."""
    faults = [Fault(**fault) for fault in plan["faults"]]
    chaos = Chaos(plan["out"], Path(plan["marks"]), faults, who, plan.get("clock", 0.0))
    patches: list[Callable[[Chaos], bool]] = [_patch_parquet, _patch_frames]
    busy = False

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal busy
        places = PATHS.get(event)
        if places is None or busy:
            return
        if event == "open" and patches:
            busy = True
            patches[:] = [patch for patch in patches if not patch(chaos)]
            busy = False
        verb = event.removeprefix("os.")
        if event == "open":
            verb = "write" if arguments[2] & WRITING else "read"
        for place in places:
            if isinstance(arguments[place], str | os.PathLike):
                busy = True
                try:
                    chaos.step(verb, os.fspath(arguments[place]))
                finally:
                    busy = False
                break

    sys.addaudithook(hook)
    _patch_fsync(chaos)
    if chaos.clock:
        _patch_clock(chaos)
    return chaos


def _patch_fsync(chaos: Chaos) -> None:
    fsync = os.fsync

    def chaotic(descriptor: int) -> None:
        chaos.step("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    os.fsync = chaotic  # type: ignore[assignment]


def _patch_parquet(chaos: Chaos) -> bool:
    """Make steps of writing and reading Parquet files, which Arrow does without Python's knowledge."""
    module: Any = sys.modules.get("pyarrow.parquet")
    if not hasattr(module, "write_table") or not hasattr(module, "read_table"):
        return False
    write, read = module.write_table, module.read_table

    def write_table(table: Any, where: Any, *arguments: Any, **options: Any) -> Any:
        chaos.step("write-table", str(where))
        return write(table, where, *arguments, **options)

    def read_table(source: Any, *arguments: Any, **options: Any) -> Any:
        chaos.step("read-table", str(source))
        return read(source, *arguments, **options)

    module.write_table, module.read_table = write_table, read_table
    return True


def _patch_frames(chaos: Chaos) -> bool:
    module = sys.modules.get("render.engine.renderer")
    renderer: Any = getattr(module, "Renderer", None)
    if renderer is None:
        return False
    start = renderer.start

    def started(self: Any, recipe: Any) -> Any:
        chaos.frame(recipe.key)
        return (yield from start(self, recipe))

    renderer.start = started
    return True


def _patch_clock(chaos: Chaos) -> None:
    """Have the wall clock jump to and fro, every half second by monotonic time."""
    seconds, nanoseconds, jumps = time.time, time.time_ns, Counter[int]()

    def shift() -> float:
        half = int(time.monotonic() * 2)
        if not jumps[half] and len(jumps) > 2:
            for fault in chaos.faults:
                if fault.point == "clock":
                    chaos._claim(fault, "clock")
        jumps[half] = 1
        return (chaos.clock, -chaos.clock, 0.0)[half % 3]

    time.time = lambda: seconds() + shift()
    time.time_ns = lambda: nanoseconds() + int(shift() * 1e9)


def _role() -> str:
    """Return driver for the command, worker for a process of Ray's that runs one, and nothing for all others."""
    line = " ".join(sys.orig_argv)
    return "worker" if "default_worker.py" in line else "driver" if "-m render run" in line else ""


if "RENDER_CHAOS_BEGAN" in os.environ and _role() == "driver":
    Path(os.environ["RENDER_CHAOS_BEGAN"]).touch()
if "RENDER_CHAOS" in os.environ and _role():
    arm(json.loads(Path(os.environ["RENDER_CHAOS"]).read_text(encoding="utf-8")), _role())
