"""The place of one scenario: an output, a folder of temporary files, the runs in it, and what is judged in the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from attempt import Attempt, Line, product, wording_problems
from checks import Pixels, compare, left_in_output, pixels_of
from processes import Process, descendants, kill, reap

__all__ = ["KILLED", "Bench", "Hit", "Job", "OneProcess", "Outcome"]

INSIDE = Path(__file__).parent / "inside"
ROOT = Path(__file__).parents[2]
LIMIT_S = 300.0  # of one run; an undisturbed one takes a tenth of that
ATTEMPTS_MAX = 6  # times that the same command is given without any further fault
KILLED = -9  # exit code of a run that a planned fault has killed
GONE_S = 5.0  # time that processes may take to end after the last run
SILENT = {"frame raises", "slow disk", "the clock jumps by a day"}  # faults that a run need not speak of
MANIFEST = """\
walk,prompt,seed,frames,scheduler,guidance
ball,3d dog face,7,7,,
ball,3d cat face,8,,,
tree,flat green tree,9,4,euler_a,1.0
tree,flat red apple,10,,euler_a,1.0
,3d rocket,2,,,
,3d octopus,3,,dpm++2m,2.0
,flat castle,4,,,
,3d crab,5,,euler_a,
"""
SETTINGS = (
    "sampling.width=64",
    "sampling.height=64",
    "workers.cpus=1",
    "workers.batch_rows=4",
    "store.unit_frames=2",
    "animation.formats=[gif]",
)


@dataclass(frozen=True)
class Job:
    """A small job, and what an undisturbed run of it gives."""

    steps: int  # sampler steps of a frame
    expected: Pixels
    seconds: float  # that an undisturbed run takes
    file_steps: tuple[str, ...] = ()  # labels of its steps on files, in order, where it runs in one process


@dataclass(frozen=True)
class Hit:
    """A fault that has struck a run that was not done."""

    fault: str
    noticed_s: float | None = (
        None  # until the run said so or ended; None where there is nobody to notice, or no need to
    )
    step: str = ""  # label of the step on a file that it came before


@dataclass
class Outcome:
    """What one scenario came to."""

    number: int
    kind: str
    hits: list[Hit] = field(default_factory=list)
    lost: int = 0
    twice: int = 0
    differing: int = 0
    problems: list[str] = field(default_factory=list)
    lost_s: float = 0.0  # beyond what an undisturbed run takes
    seconds: float = 0.0


class OneProcess:
    """The process that forks runs without Ray: see here.py."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("here.py"))],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        self.pid = self._process.pid
        self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError("the process that forks runs has ended")
        return line

    def run(self, commands: list[dict[str, Any]]) -> list[int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"commands": commands}) + "\n")
        self._process.stdin.flush()
        codes: list[int] = json.loads(self._read())["codes"]
        return codes

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def environment(tmp: Path) -> dict[str, str]:
    """Return the variables of every process that a scenario starts."""
    path = os.pathsep.join([str(INSIDE), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {"TMPDIR": str(tmp), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    own["RAY_worker_niceness"] = "0"  # Ray's 15 makes minutes of a run's seconds on a machine that has other work
    return {**os.environ, **own}


class Bench:
    """One scenario's place. Its runs get the same command until the job is done."""

    def __init__(self, folder: Path, job: Job, forks: OneProcess | None, outcome: Outcome, random: Random) -> None:
        self.folder, self.job, self.outcome, self.random = folder, job, outcome, random
        self.out, self.tmp, self.marks = folder / "out", folder / "tmp", folder / "marks"
        for made in (self.tmp, self.marks):
            made.mkdir(parents=True, exist_ok=True)
        (folder / "chaos.csv").write_text(MANIFEST, encoding="utf-8")
        self.forks, self.began = forks, folder / "began"  # the latter: the last run's Python has started
        self._names: dict[str, str] = {}  # fault of a plan → its name in the table
        self._counted: set[str] = set()  # marks
        self._plans = 0
        self._address = ""
        self._judged = False
        self.run_s = 0.0  # of all runs together
        self.turn = 0  # number of scenarios of this kind that came before

    # Faults inside the product's processes.

    def plan(self, *faults: tuple[str, dict[str, Any]], clock: float = 0.0) -> dict[str, Any]:
        """Return a plan of named faults: see inside/sitecustomize.py."""
        self._plans += 1
        given = []
        for number, (name, fault) in enumerate(faults):
            own = f"p{self._plans}-{number}"
            self._names[own] = name
            given.append({"id": own, **fault})
        return {"out": str(self.out), "marks": str(self.marks), "clock": clock, "faults": given}

    def count_marks(self, attempt: Attempt | None = None) -> None:
        """Count the planned faults that have struck since the last look."""
        marks = [path for path in self.marks.glob("p*-*.[0-9]*") if path.name not in self._counted]
        for path in sorted(marks):
            self._counted.add(path.name)
            struck = json.loads(path.read_bytes())
            if attempt and struck["pid"] == attempt.pid and struck["kills"]:
                attempt.is_killed = True
            name = self._names[path.name.rpartition(".")[0]]
            if not name:
                continue  # the scenario counts it
            noticed_s = attempt.noticed_s(struck["at_s"]) if attempt and name not in SILENT else None
            self.outcome.hits.append(Hit(name, noticed_s, struck["label"]))

    # Runs on Ray.

    def connect(self, address: str) -> None:
        """Have later runs use a Ray that is there already."""
        self._address = address

    def arguments(self, *overrides: str) -> list[str]:
        command = ["run", str(self.folder / "chaos.csv"), *SETTINGS, f"sampling.steps={self.job.steps}"]
        command += [f"workers.address={self._address}"] if self._address else []
        return [*command, *overrides, f"output={self.out}"]

    def start(self, plan: dict[str, Any] | None = None, workers: int = 2, wrapper: Sequence[str] = ()) -> Attempt:
        """Start the command on Ray."""
        variables = environment(self.tmp) | {"RENDER_CHAOS_BEGAN": str(self.began)}
        self.began.unlink(missing_ok=True)
        if plan:
            path = self.folder / f"plan-{self._plans}.json"
            path.write_text(json.dumps(plan), encoding="utf-8")
            variables["RENDER_CHAOS"] = str(path)
        return Attempt([*wrapper, *product(*self.arguments(f"workers.count={workers}"))], variables, self.folder)

    def end(self, attempt: Attempt, limit_s: float = LIMIT_S) -> int | None:
        """Wait for a run's end, and judge what it has said. Returns its exit code."""
        if not attempt.finish(limit_s):
            self.problem(f"no end within {limit_s:.0f} s")
        self.run_s += attempt.seconds
        self.count_marks(attempt)
        code = None if attempt.is_killed else attempt.code
        for problem in wording_problems(attempt.lines, attempt.began_s, attempt.ended_s, code):
            self.problem(problem)
        said = "\n".join(f"{line.at_s - attempt.began_s:8.2f} {line.text}" for line in attempt.lines)
        with (self.folder / "log").open("a", encoding="utf-8") as log:
            log.write(f"--- exit code {attempt.code}, {attempt.seconds:.1f} s\n{said}\n")
        return attempt.code

    def end_all(self, attempt: Attempt | None = None) -> None:
        """Give the same command until the job is done."""
        codes = [] if attempt is None else [self.end(attempt)]
        while (not codes or codes[-1] != 0) and len(codes) < ATTEMPTS_MAX:
            codes.append(self.end(self.start()))
        if codes[-1] != 0:
            self.problem(f"not done after {len(codes)} runs; exit codes {codes}")

    # Runs in one process.

    def fork(self, *plans: dict[str, Any], file_bytes: int | None = None, expected: Iterable[int] = ()) -> list[int]:
        """Run the command in one process, once for each plan, all at the same time. Returns the exit codes."""
        assert self.forks is not None
        logs = [self.folder / f"log-{self._plans}-{number}" for number, _ in enumerate(plans)]
        began_s = time.monotonic()
        codes = self.forks.run(
            [
                {
                    "arguments": self.arguments("workers.count=1"),
                    "cwd": str(self.folder),
                    "tmp": str(self.tmp),
                    "plan": plan,
                    "log": str(log),
                    "file_bytes": file_bytes,
                }
                for plan, log in zip(plans, logs, strict=True)
            ]
        )
        self.run_s += time.monotonic() - began_s
        self.count_marks()
        for code, log in zip(codes, logs, strict=True):
            self._judge_log(code, log.read_text(encoding="utf-8", errors="replace").splitlines())
            if code not in {0, *expected}:
                self.problem(f"exit code {code}, expected one of {sorted({0, *expected})}")
        return codes

    def _judge_log(self, code: int, lines: list[str]) -> None:
        said = [Line(0.0, line, True) for line in lines]
        for problem in wording_problems(said, 0.0, 0.0, None if code == KILLED else code):
            self.problem(f"{problem} (in one process)")

    def fork_all(self) -> None:
        """Run the command in one process until the job is done."""
        for _ in range(ATTEMPTS_MAX):
            if self.fork(self.plan(), expected=(1, 3)) == [0]:
                return
        self.problem(f"not done after {ATTEMPTS_MAX} further runs")

    # The end.

    def problem(self, text: str) -> None:
        if text not in self.outcome.problems:
            self.outcome.problems.append(text)

    def hit(self, fault: str, noticed_s: float | None = None) -> None:
        self.outcome.hits.append(Hit(fault, noticed_s))

    def others(self) -> list[Process]:
        """Return the living processes that the scenario has started."""
        reap([])
        own = {self.forks.pid} if self.forks else set()
        return [process for process in descendants(os.getpid()) if process.pid not in own]

    def judge(self) -> None:
        """Compare the store with an undisturbed run's; look for what is left. Once: later calls do nothing."""
        if self._judged:
            return
        self._judged = True
        end_s = time.monotonic() + GONE_S
        while (left := self.others()) and time.monotonic() < end_s:
            time.sleep(0.05)
        for process in left:
            self.problem(f"a process is left: {process.role}, {process.age_s:.0f} s old: {process.line[:80]}")
        kill(left)
        for path in sorted(self.tmp.iterdir()):
            if path.name.startswith("torchinductor_"):
                continue  # torch's cache: one a user, for all programs
            self.problem(f"a temporary folder is left: {path.name.rpartition('-')[0] or path.name}-…")
        found = compare(self.out, self.job.expected)
        self.outcome.lost, self.outcome.twice, self.outcome.differing = found.lost, found.twice, found.differing
        if orphans := list(left_in_output(self.out)):
            self.problem(f"{len(orphans)} of: {orphans[0]}")
        verified = subprocess.run(
            product("verify", self.out), env=environment(self.tmp), capture_output=True, text=True, check=False
        )
        if verified.returncode or "0 problems" not in verified.stdout:
            self.problem(f"verify: {(verified.stdout + verified.stderr).strip().rpartition(chr(10))[2][:200]}")
        undisturbed_s = self.job.seconds
        self.outcome.lost_s = max(0.0, self.run_s - undisturbed_s)


def measure_job(bench: Bench, on_ray: bool) -> Job:
    """Return the job with what an undisturbed run in a new place gives."""
    if on_ray:
        bench.end_all()
    else:
        bench.fork_all()
    steps = bench.marks / "steps.json"
    labels = tuple(json.loads(steps.read_bytes())) if steps.exists() else ()
    if bench.outcome.problems:
        raise RuntimeError(f"an undisturbed run has problems: {bench.outcome.problems}")
    return Job(bench.job.steps, pixels_of(bench.out), bench.run_s, labels)


def as_json(outcome: Outcome) -> dict[str, Any]:
    return asdict(outcome)


Scenario = Callable[[Bench], None]
