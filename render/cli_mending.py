"""The commands for an output folder that something happened to: verify, repair, retry, report, compact."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from render.core import JobError, ObjectPath, StoreError, any_path, counted, write_atomically
from render.progress import make_report

__all__ = ["BAD_INPUT", "DONE", "FAILED", "MENDING", "QUARANTINED", "AddCommand", "add_mending", "output", "short"]

DONE, FAILED, BAD_INPUT, QUARANTINED = 0, 1, 2, 3  # exit codes
MENDING = {  # command: examples
    "verify": "render verify out/first\n  render verify out/first --deep",
    "compact": "render compact out/first",
    "retry": "render retry out/first\n  render retry out/first --seed-shift 1 --batch-rows 2",
    "report": "render report out/first\n  render report out/first --html report.html",
    "repair": "render repair out/first\n  render repair out/first --deep",
}
VERIFY = "check that every planned frame is committed once, in the bytes that were committed"
REPAIR = "render again what is damaged or missing in a store, and nothing else"
REPORT = "say what the runs of a store did, what failed and why, and what to do next"
RETRY = "render the frames in quarantine again, as they were or with other seeds or smaller batches"
COMPACT = "merge the shards of a store into files of up to 500 MB"

AddCommand = Callable[[str, Callable[[Any], int], str], argparse.ArgumentParser]  # name, what it does, its help


def add_mending(add: AddCommand) -> None:
    """Add the commands to the parser of `render`."""
    verify, repair = add("verify", _verify, VERIFY), add("repair", _repair, REPAIR)
    report = add("report", _report, REPORT)
    report.add_argument("--html", metavar="FILE", type=Path, help="write one HTML page that opens from disk")
    compact = add("compact", _compact, COMPACT)
    retry = add("retry", _retry, RETRY)
    retry.add_argument("--seed-shift", metavar="N", type=int, default=0, help="add N to the frames' seeds (default: 0)")
    retry.add_argument("--batch-rows", metavar="N", type=int, help="the batch size (default: the recorded one)")
    for command in (verify, repair, report, retry, compact):
        command.add_argument(
            "out", metavar="OUT", type=output, help="the output folder of a run, or s3://BUCKET/PREFIX"
        )
    for command in (repair, retry):
        command.add_argument(
            "overrides", metavar="key=value", nargs="*", help="where things are by now, e.g. media=FOLDER"
        )
    for command in (verify, repair):
        command.add_argument("--deep", action="store_true", help="decode every image and compare its pixels' hash")


def output(text: str) -> Path:
    """Return the path of an argument OUT, a folder or s3://BUCKET/PREFIX."""
    try:
        return any_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def short(path: Path) -> str:
    """Return a path as it is from here, if it is below the current folder."""
    if isinstance(path, ObjectPath):
        return str(path)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _verify(options: Any) -> int:
    from render.mending import verify_store

    out = short(options.out)
    verdict = verify_store(options.out, options.deep, lambda finding: print(finding.line(out), flush=True))
    if verdict.going_on:
        print(f"a run goes on there, {verdict.going_on}: what it has not committed yet is missing")
    right = f"{counted(verdict.frames, 'frame is', 'frames are')} committed and right"
    print(f"{right}, {counted(len(verdict.findings), 'problem')}")
    return FAILED if verdict.findings else DONE


def _repair(options: Any) -> int:
    from render.mending import repair_store

    report = make_report()
    try:
        done = repair_store(
            options.out, options.deep, report, lambda finding: print(finding, flush=True), options.overrides
        )
    finally:
        report.close()
    taken = f"{counted(done.taken_back, 'frame')} taken back, " if done.taken_back else ""
    aside = f"; {counted(len(done.aside), 'file')} moved to .run/damaged/" if done.aside else ""
    rendered = f"{counted(done.rendered, 'frame')} rendered again, {done.failed:,} more in quarantine"
    print(f"{counted(len(done.findings), 'problem')}; {taken}{rendered}{aside}")
    return QUARANTINED if done.failed else DONE


def _report(options: Any) -> int:
    from render.mending import page_of, quality_of, report_store, text_of

    if options.html is not None and (options.html.is_dir() or not options.html.parent.is_dir()):
        got = "a folder" if options.html.is_dir() else f"no folder {options.html.parent}"
        raise JobError(f"--html {options.html}: required a file to write, got {got}")
    report = report_store(options.out)
    print(text_of(report))
    if options.html is not None:
        quality = None
        try:
            quality = quality_of(options.out)
        except StoreError as error:  # the report of a damaged store is wanted most
            print(f"warning: the page does not say what the pictures are like: {error}", file=sys.stderr)
        page = page_of(report, quality)
        write_atomically(options.html, page.encode("utf-8", "replace"))
        print(f"{'page':<12}{short(options.html)}")
    return DONE


def _retry(options: Any) -> int:
    from render.mending import retry_store

    report = make_report()
    try:
        done = retry_store(options.out, options.seed_shift, options.batch_rows, report, options.overrides)
    finally:
        report.close()
    print(f"{counted(done.tried, 'frame')} tried again, {done.failed:,} in quarantine still")
    return QUARANTINED if done.failed else DONE


def _compact(options: Any) -> int:
    from render.mending import compact_store

    done = compact_store(options.out)
    print(f"{counted(done.merged, 'shard')} merged; the dataset has {counted(done.files, 'file')} now")
    return DONE
