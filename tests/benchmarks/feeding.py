"""How full batches are and how well workers share a job, on stand-in networks; and what a million frames cost the driver.

    python tests/benchmarks/feeding.py
    python tests/benchmarks/feeding.py --driver 1000000

The first: a thousand mixed frames (8 to 50 steps, guidance on and off, five schedulers) by 1, 4, 16 and 64 workers
whose network takes a fixed time for a batch of 8 rows, on a clock of its own; then by 4 workers of which one is slow.
Dispatcher, queues and batches are the product's; see tests/cluster/stand_in.py. The second: the driver's own work
(units of the plan, who gets which, reports) for so many frames and 64 workers that render at once, in CPU time and
memory; Ray's part is not in it.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "cluster"))

import pandas as pd
from stand_in import mixed_walks, run_stand_ins

import render
from render.cluster.dispatch import Dispatcher
from render.cluster.hand import Hand
from render.cluster.progress import Progress
from render.core import Keyframe
from render.plan import plan_units
from render.store import Ledger

FRAMES, ROWS, WORKERS = 1_000, 8, (1, 4, 16, 64)


def keyframe(row: int, steps: int, guidance: float, scheduler: str) -> Keyframe:
    return Keyframe(row, "a", "", row, 1, "linear", "slerp", steps, guidance, scheduler)


def share(folder: Path) -> None:
    """Print fill and scaling; 1 is a worker whose batches are always full."""
    print("workers  fill   scaling  files")
    for workers in WORKERS:
        ledger = Ledger(folder / str(workers))
        ledger.create()
        outcome = run_stand_ins(mixed_walks(FRAMES, keyframe), workers, ROWS, ledger)
        scaling = outcome.full_s / (workers * outcome.seconds)
        print(f"{workers:7}  {outcome.fill:.3f}  {scaling:.3f}    {outcome.units}", flush=True)


def wait_for_a_slow_one(folder: Path) -> None:
    """Print what one slow worker of four costs."""
    print("slowness  copies  seconds")
    for slowness in (1.0, 5.0, 20.0):
        ledger = Ledger(folder / f"slow-{slowness:g}")
        ledger.create()
        outcome = run_stand_ins(mixed_walks(FRAMES, keyframe), 4, ROWS, ledger, slowness={3: slowness})
        print(f"{slowness:8g}  {outcome.copies:6}  {outcome.seconds:7.1f}", flush=True)


def drive(folder: Path, frames: int, workers: int = 64) -> None:
    """Print CPU time and memory of handing out a job."""
    rows = range(frames)
    table = {"prompt": [f"prompt {row % 1000}" for row in rows], "seed": list(rows)}
    pd.DataFrame(table).to_parquet(folder / "million.parquet")
    prepared = render.plan_job(folder / "million.parquet", f"output={folder / 'out'}", f"workers.count={workers}")
    before_mb, began_s = _peak_mb(), time.process_time()
    ledger = Ledger(folder / "out")
    ledger.create()
    units = ledger.outstanding(plan_units(prepared.manifest.walks, prepared.plan))
    dispatcher, hands, given = Dispatcher(units, ledger, workers), [Hand("main") for _ in range(workers)], 0
    while not (dispatcher.is_empty and not any(hand.units for hand in hands)):
        while found := dispatcher.next(hands, starting=False):
            hand, load = found
            assert hand is not None
            hand.give(load)
            given += len(load.unit.frames)
        for hand in hands:  # each has rendered what it had
            hand.units.clear()
            hand.take_report(Progress(units=hand.given, capacity=16))
    cpu_s = time.process_time() - began_s
    print(f"{given:,} frames: {cpu_s:.1f} s CPU, {_peak_mb():.0f} MB at most ({before_mb:.0f} MB with the plan made)")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", type=int, default=0, metavar="FRAMES", help="frames to hand out instead")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.driver:
            drive(Path(folder), arguments.driver)
        else:
            share(Path(folder))
            wait_for_a_slow_one(Path(folder))


if __name__ == "__main__":
    main()
