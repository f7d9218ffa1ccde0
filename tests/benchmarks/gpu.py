"""Full-size models on one GPU: diffusers' own pipeline against the whole of `render run`, and what it is made of.

    python tests/benchmarks/gpu.py --work build/gpu --budget 540
    python tests/benchmarks/gpu.py --work build/gpu --table

Run it with nothing beside it on the card. SD 1.5 at 512², SDXL, SD 3 medium and FLUX.1-dev at 1024², random weights in
bfloat16, made on the card and written to --work (50 GB in all). Every measurement is a process of its own, so that all find
an empty card. They take turns: each is taken once for every model before any is taken again (--rounds). Each result is
written to WORK/results.json as it comes. A call ends when its budget of seconds is spent, and the next one goes on; what
fails is noted, and tried again with --again. One round is estimated at 40 minutes of an H200.

--tiny takes small models on the CPU, and leaves out what compiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]  # the project, and helpers of its tests
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from gpu_models import CASES
from gpu_steps import GPU, STEPS, Setting
from gpu_table import table

Results = dict[str, Any]  # {"machine": {…}, "models": {name: {step: [numbers or {"error": …}, …]}}}


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    path = options.work / "results.json"
    if options.step:
        model, step = options.step
        print(json.dumps(_measure(_setting(options, model), step)))
        return
    results: Results = json.loads(path.read_text()) if path.exists() else {"machine": _machine(), "models": {}}
    if not options.table:
        _take_turns(options, results, path)
    print(table(results, CASES))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/gpu"), help="folder of models, outputs and results")
    parser.add_argument("--models", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS), metavar="STEP")
    parser.add_argument(
        "--budget", type=float, default=3600, help="seconds after which nothing more is started or goes on"
    )
    parser.add_argument("--rounds", type=int, default=1, help="times that each measurement is taken")
    parser.add_argument("--again", action="store_true", help="try again what failed")
    parser.add_argument("--table", action="store_true", help="measure nothing, show what was measured")
    parser.add_argument("--tiny", action="store_true", help="small models on the CPU")
    parser.add_argument("--here", action="store_true", help="measure in this process")
    parser.add_argument("--step", nargs=2, metavar=("MODEL", "STEP"), help="take one measurement and print it as JSON")
    return parser


def _setting(options: Any, model: str) -> Setting:
    case = CASES[model]
    return Setting(case.shrunk() if options.tiny else case, options.work, options.tiny)


def _measure(setting: Setting, step: str) -> dict[str, Any]:
    try:
        return STEPS[step](setting)
    except Exception:
        return {"error": traceback.format_exc(limit=-3)}


def _take_turns(options: Any, results: Results, path: Path) -> None:
    """Take all measurements that are missing, and write the results after each."""
    end_s = time.monotonic() + options.budget
    for model, step, taken in _missing(options, results):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            print(f"the budget of {options.budget:g} s is spent; the same command goes on", file=sys.stderr)
            return
        began = time.monotonic()
        if options.here:
            found = _measure(_setting(options, model), step)
        elif (measured := _measure_apart(options, model, step, left_s)) is None:
            continue
        else:
            found = measured
        taken[:] = [one for one in taken if "error" not in one] + [found | {"took_s": time.monotonic() - began}]
        path.write_text(json.dumps(results, indent=1))
        print(f"{model}: {step}: {json.dumps(found)[:300]}", file=sys.stderr, flush=True)


def _missing(options: Any, results: Results) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """Yield (model, step, its results so far) for all that is to be measured, round by round and step by step."""
    for number in range(options.rounds):
        for step in options.steps:
            if "compiled" in step and options.tiny:
                continue
            for model in options.models:
                taken = results["models"].setdefault(model, {}).setdefault(step, [])
                failed = any("error" in one for one in taken)
                if (options.again and number == 0) if failed else len(taken) <= number:
                    yield model, step, taken


def _measure_apart(options: Any, model: str, step: str, left_s: float) -> dict[str, Any] | None:
    """Take one measurement in a process of its own; None when the time was not enough."""
    command = [sys.executable, __file__, "--work", str(options.work), "--step", model, step]
    command += ["--tiny"] if options.tiny else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=left_s, check=False)
    except subprocess.TimeoutExpired:
        return None
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    error = {"error": f"exit code {done.returncode}: {done.stderr[-2000:]}"}
    found: dict[str, Any] = json.loads(lines[-1]) if lines else error
    return found


def _machine() -> dict[str, Any]:
    import torch

    from render.engine.device import library_versions

    device = torch.cuda.get_device_name() if GPU else "CPU"
    return {"device": device, "date": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), **library_versions()}


if __name__ == "__main__":
    main()
