"""Chaos: faults in real runs, then the same command until the job is done, then a look at what came out.

    python tests/chaos/run.py --faults 200 --seed 1 --json build/chaos.json

It goes on where it was stopped: what is done lies in the JSON file. 200 faults take about an hour on two cores; more than
half of them are in runs on Ray. It prints a table: each fault, how often it struck, frames lost, frames twice, frames with
other pixels, the longest time until it was noticed, and the time that it cost. A fault counts when it has struck a run that
was not done. Exit code 0: nothing lost, twice or differing, and no other problem. The folder of a scenario with a problem is
kept.

`--only kills,nodes` takes some kinds of scenarios only; `--list` names them. Needs Linux; disks that are full need root,
and are left out or replaced by injected errors where it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import in_one_process
import on_ray
from bench import Bench, Hit, Job, OneProcess, Outcome, environment, measure_job
from processes import adopt_orphans, kill
from table import table

KINDS = on_ray.SCENARIOS | in_one_process.SCENARIOS
ROUND = {  # how often each kind has its turn in a round; some 110 faults
    "kills": 6, "early-signals": 2, "hang-up": 1, "frames": 2, "steps": 2, "disks": 1, "ray-slow": 1, "ray-two-runs": 1,
    "nodes": 1, "killed": 8, "failed": 5, "torn": 2, "full": 1, "limited": 1, "read-only": 1, "slow": 1, "race": 2,
    "two-runs": 1,
}  # fmt: skip
RAY_STEPS, HERE_STEPS = 160, 2  # sampler steps of a frame: a run on Ray renders for some seconds


def scenarios(seed: int, only: set[str]) -> Iterator[tuple[int, str, int]]:
    """Yield number, kind and turn of all scenarios, without end: rounds in which each kind has its share."""
    deck = [kind for kind, share in ROUND.items() for _ in range(share) if not only or kind in only]
    turns = dict.fromkeys(KINDS, 0)
    numbers = count()
    for turn in count():
        Random(f"{seed} {turn}").shuffle(deck)
        for kind in list(deck):
            yield next(numbers), kind, turns[kind]
            turns[kind] += 1


class Night:
    """A long run, which goes on where it was stopped."""

    def __init__(self, record: Path | None, seed: int, only: set[str]) -> None:
        self._record, self.seed, self._only = record, seed, only
        self.outcomes: list[Outcome] = []
        if record and record.exists():
            found = json.loads(record.read_text(encoding="utf-8"))
            if (found["seed"], found["only"]) != (seed, sorted(only)):
                raise SystemExit(f"{record}: required seed and kinds of this run, got {found['seed']}, {found['only']}")
            self.outcomes = [
                Outcome(**one | {"hits": [Hit(**hit) for hit in one["hits"]]}) for one in found["outcomes"]
            ]
        self.folder = Path(tempfile.mkdtemp(prefix="ch", dir="/tmp"))  # short: sockets lie in it
        self._forks: OneProcess | None = None
        self._jobs: dict[bool, Job] = {}  # by whether it runs on Ray

    @property
    def struck(self) -> int:
        return sum(len(outcome.hits) for outcome in self.outcomes)

    @property
    def is_well(self) -> bool:
        return not any(o.lost or o.twice or o.differing or o.problems for o in self.outcomes)

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self._record:
            self._record.parent.mkdir(parents=True, exist_ok=True)
            facts = {"seed": self.seed, "only": sorted(self._only), "outcomes": [asdict(one) for one in self.outcomes]}
            part = self._record.with_suffix(".part")
            part.write_text(json.dumps(facts, indent=1), encoding="utf-8")
            part.replace(self._record)

    def play(self, number: int, kind: str, turn: int) -> Outcome:
        """Play one scenario."""
        is_on_ray = kind in on_ray.SCENARIOS
        outcome, began_s = Outcome(number, kind), time.monotonic()
        bench = self._bench(str(number), self._job(is_on_ray), outcome, is_on_ray)
        bench.turn = turn
        try:
            KINDS[kind](bench)
            bench.judge()
        finally:
            kill(bench.others())
        outcome.seconds = time.monotonic() - began_s
        if not (outcome.problems or outcome.lost or outcome.twice or outcome.differing):
            shutil.rmtree(bench.folder)
        return outcome

    def _bench(self, name: str, job: Job, outcome: Outcome, is_on_ray: bool) -> Bench:
        forks = self._forks
        if not is_on_ray and forks is None:
            (self.folder / "forks").mkdir()
            forks = self._forks = OneProcess(environment(self.folder / "forks"), self.folder / "forks.log")
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return Bench(self.folder / name, job, forks, outcome, Random(f"{self.seed} {name}"))

    def _job(self, is_on_ray: bool) -> Job:
        """Return a job with what an undisturbed run of it gives."""
        if is_on_ray not in self._jobs:
            job = Job(RAY_STEPS if is_on_ray else HERE_STEPS, {}, 0.0)
            bench = self._bench("ray" if is_on_ray else "here", job, Outcome(-1, "undisturbed"), is_on_ray)
            self._jobs[is_on_ray] = measure_job(bench, is_on_ray)
            shutil.rmtree(bench.folder)
        return self._jobs[is_on_ray]

    def close(self) -> None:
        if self._forks:
            self._forks.close()
        shutil.rmtree(self.folder / "forks", ignore_errors=True)
        (self.folder / "forks.log").unlink(missing_ok=True)
        if not list(self.folder.iterdir()):
            self.folder.rmdir()


def main() -> int:
    options = _options()
    if options.list:
        print("\n".join(f"{kind:14} {(act.__doc__ or '').splitlines()[0]}" for kind, act in KINDS.items()))
        return 0
    only = set(filter(None, options.only.split(",")))
    if unknown := only - KINDS.keys():
        raise SystemExit(f"--only: required some of {', '.join(KINDS)}; got {', '.join(sorted(unknown))}")
    # A shell starts what runs in the background with SIGINT ignored, nohup with SIGHUP, and runs would inherit that.
    for sent in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(sent, _stop)
    adopt_orphans()
    night, end_s = Night(options.json, options.seed, only), time.monotonic() + 60 * options.minutes
    done = len(night.outcomes)
    try:
        for number, kind, turn in scenarios(options.seed, only):
            if night.struck >= options.faults or time.monotonic() > end_s:
                break
            if number >= done:
                outcome = night.play(number, kind, turn)
                night.add(outcome)
                _tell(night, outcome)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
    finally:
        night.close()
    print(table(night.outcomes))
    return 0 if night.is_well and night.struck else 1


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def _tell(night: Night, outcome: Outcome) -> None:
    """Print a scenario's line, and its problems."""
    faults = ", ".join(hit.fault for hit in outcome.hits)
    print(f"{night.struck:4} {outcome.seconds:5.0f} s  {outcome.number} {outcome.kind}: {faults}", flush=True)
    bad = {name: getattr(outcome, name) for name in ("lost", "twice", "differing") if getattr(outcome, name)}
    for problem in [*(f"{number} frames {name}" for name, number in bad.items()), *outcome.problems]:
        print(f"     PROBLEM {problem}  ({night.folder / str(outcome.number)})", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=200, help="end after so many")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=600.0, help="end after so many")
    parser.add_argument("--json", type=Path, help="record of what is done; where it is there, go on from it")
    parser.add_argument("--only", default="", help="kinds of scenarios, separated by commas")
    parser.add_argument("--list", action="store_true", help="name the kinds of scenarios")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.pop("RENDER_CHAOS", None)
    sys.exit(main())
