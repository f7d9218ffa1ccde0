"""The commands for an output folder that something happened to: verify, repair."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from render.progress import make_report

__all__ = ["BAD_INPUT", "DONE", "FAILED", "MENDING", "QUARANTINED", "add_mending", "short"]

DONE, FAILED, BAD_INPUT, QUARANTINED = 0, 1, 2, 3  # exit codes
MENDING = {  # command: examples
    "verify": "render verify out/first\n  render verify out/first --deep",
    "repair": "render repair out/first\n  render repair out/first --deep",
}
VERIFY = "check that every planned frame is committed once, in the bytes that were committed"
REPAIR = "render again what is damaged or missing in a store, and nothing else"

AddCommand = Callable[[str, Callable[[Any], int], str], argparse.ArgumentParser]  # name, what it does, its help


def add_mending(add: AddCommand) -> None:
    """Add the commands to the parser of `render`."""
    verify, repair = add("verify", _verify, VERIFY), add("repair", _repair, REPAIR)
    for command in (verify, repair):
        command.add_argument("out", metavar="OUT", type=Path, help="the output folder of a run")
        command.add_argument("--deep", action="store_true", help="decode every image and compare its pixels' hash")


def short(path: Path) -> str:
    """Return a path as it is from here, if it is below the current folder."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _verify(options: Any) -> int:
    from render.verify import verify_store

    out = short(options.out)
    verdict = verify_store(options.out, options.deep, lambda finding: print(finding.line(out), flush=True))
    print(f"{verdict.frames:,} frames are committed and right, {len(verdict.findings)} problems")
    return FAILED if verdict.findings else DONE


def _repair(options: Any) -> int:
    from render.repair import repair_store

    report = make_report()
    try:
        done = repair_store(options.out, options.deep, report, lambda finding: print(finding, flush=True))
    finally:
        report.close()
    print(f"{len(done.findings)} problems; {done.rendered:,} frames rendered again, {done.failed} more in quarantine")
    return QUARANTINED if done.failed else DONE
