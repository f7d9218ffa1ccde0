"""The command `status`: what is done, how fast, by whom and until when, while a run goes on and afterwards."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.cli_cluster import add_address
from render.cli_mending import DONE, FAILED, QUARANTINED, AddCommand, output
from render.core import JobError, ObjectPath, StoreError, any_path, is_url

if TYPE_CHECKING:
    from render.mending import Status, Watch
    from render.submit import JobFacts

__all__ = ["STATUS", "add_status"]

STATUS = {
    "status": "render status out/first\n  render status s3://bucket/first --watch\n  render status out/first --json\n"
    "  render status walks-3f9a2c --address http://HEAD:8265"
}
HELP = "say what is done of an output, how fast, by whom and until when, from any machine that reads it"
REDRAW_S = 2.0  # between two looks on a terminal
LINE_S = 10.0  # between two lines elsewhere
BUCKET_S = 30.0  # between two looks at a bucket, whose log comes once a minute


def add_status(add: AddCommand) -> None:
    """Add the command to the parser of `render`."""
    status = add("status", _status, HELP)
    help_text = "the output folder of a run, s3://BUCKET/PREFIX, or the id of a submitted job"
    status.add_argument("out", metavar="OUT", type=_target, help=help_text)
    status.add_argument(
        "--watch", action="store_true", help="look again and again, until the run ends; wait for it to begin"
    )
    status.add_argument("--json", action="store_true", help="print one JSON object, with --watch one a line")
    add_address(status)


def _target(text: str) -> tuple[str, Path]:
    return text, output(text)


def _status(options: Any) -> int:
    from render.mending import Watch

    name, out = options.out
    if is_url(name) or "/" in name or out.exists():
        return _show(Watch(out), options)
    job = _find(name, options.address)
    watch = _watch_of(job)
    while watch is None and options.watch and job.goes_on:
        _show_job(job, options)
        time.sleep(LINE_S)
        job = _find(job.id, options.address)
        watch = _watch_of(job)
    if watch is not None:
        return _show(watch, options, job)
    _show_job(job, options)
    return DONE if job.goes_on or job.status == "SUCCEEDED" else FAILED


def _find(name: str, address: str | None) -> JobFacts:
    """Return a submitted job. Raises JobError for a name that is neither an output's nor a job's."""
    from render.submit import find_job

    try:
        return find_job(name, address)
    except JobError as error:
        raise JobError(
            f"{name}: required an output folder or the id of a submitted job, got neither; {error}"
        ) from None


def _watch_of(job: JobFacts) -> Watch | None:
    """Return the watch of a job's output; None where that is not begun yet, or can't be read from here."""
    from render.mending import Watch

    with suppress(StoreError, OSError, ValueError):
        return Watch(any_path(job.output)) if job.output else None
    return None


def _show_job(job: JobFacts, options: Any) -> None:
    """Print Ray's word of a job."""
    if options.json:
        print(json.dumps({"job": job.as_json()}, indent=None if options.watch else 1), flush=True)
    else:
        print(f"{'job':<12}{job.id}: {job.word}", flush=True)
        print(f"{'output':<12}{job.output or 'unknown'} (not begun yet, or not readable from here)", flush=True)


def _show(watch: Watch, options: Any, job: JobFacts | None = None) -> int:
    """Print the status of an output, after Ray's word of the job that renders into it, if it is one."""
    from render.mending import facts_of, line_of

    def facts(status: Status) -> dict[str, Any]:
        return facts_of(status) | ({"job": job.as_json()} if job is not None else {})

    if job is not None and not options.json:
        print(f"{'job':<12}{job.id}: {job.word}", flush=True)
    if not options.watch:
        status = watch.look()
        print(json.dumps(facts(status), indent=1) if options.json else _text(status))
        return code_of(status)
    if options.json:
        status = _follow(watch, LINE_S, lambda status: print(json.dumps(facts(status)), flush=True))
    elif sys.stdout.isatty():
        return code_of(_redraw(watch))
    else:
        status = _follow(watch, LINE_S, lambda status: print(line_of(status), flush=True))
        print(_text(status))
    return code_of(status)


def code_of(status: Status) -> int:
    """Return the exit code: a run that goes on, or has done everything, is well; one that left frames missing is not."""
    if status.is_going_on:
        return DONE
    if status.missing or status.damaged or status.state != "done":
        return FAILED
    return QUARANTINED if status.quarantined else DONE


def _text(status: Status) -> str:
    from render.mending import lines_of

    return "\n".join(f"{title:<12}{text}" for title, text in lines_of(status))


def _follow(watch: Watch, interval_s: float, show: Callable[[Status], object]) -> Status:
    """Show the status now and at intervals until a run has ended; one that is not begun is waited for. Returns the last."""
    while True:
        status = watch.look()
        show(status)
        if not status.is_going_on and status.state != "new":
            return status
        time.sleep(BUCKET_S if isinstance(status.out, ObjectPath) else interval_s)


def _redraw(watch: Watch) -> Status:
    """Show the status on a terminal, drawn anew in its place, with a bar."""
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        return _follow(watch, REDRAW_S, lambda status: live.update(_table(status), refresh=True))


def _table(status: Status) -> Any:
    """Return the lines as rich draws them; no text of theirs is markup."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from render.mending import lines_of

    table = Table.grid(padding=(0, 2))
    for title, text in lines_of(status):
        table.add_row(Text(title, style="bold"), Text(text, overflow="fold"))
        if title == "frames" and status.planned:
            table.add_row("", ProgressBar(status.planned, status.frames, width=60))
    return table
