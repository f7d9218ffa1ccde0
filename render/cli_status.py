"""The command `status`: what is done, how fast, by whom and until when, while a run goes on and afterwards."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.cli_cluster import add_address
from render.cli_mending import DONE, FAILED, QUARANTINED, AddCommand, output
from render.core import JobError, ObjectPath, RunError, StoreError, any_path, is_url, printable

if TYPE_CHECKING:
    from render.mending import Status, Watch
    from render.submit import JobFacts, JobWatch

__all__ = ["STATUS", "add_status"]

STATUS = {
    "status": "render status out/first\n  render status s3://bucket/first --watch\n  render status out/first --json\n"
    "  render status walks-3f9a2c --address http://HEAD:8265"
}
HELP = "say what is done of an output, how fast, by whom and until when, from any machine that reads it"
REDRAW_S = 2.0  # between two looks on a terminal
LINE_S = 10.0  # between two lines elsewhere
UNREADABLE = "not begun yet, or not readable from here"
UNRELATED = "on this machine that is another job's"
WAITING = "a job that was submitted may wait for its cluster: `render jobs` lists it as pending"
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
        watch = Watch(out)
        return _show(lambda: Seen(None, watch.look()), options)
    return _show(JobLook(name, options.address).look, options)


@dataclass(frozen=True, slots=True)
class Seen:
    """The result of one look: the status of an output, and of a submitted job what Ray says of it."""

    job: JobFacts | None
    status: Status | None  # None for a job whose output is not begun yet, or can't be read from here
    why: str = ""  # no status, of a job

    @property
    def is_going_on(self) -> bool:
        """True while the job or the run goes on. A job is pending or prepares while its output has an old run's state."""
        is_run = self.status is not None and self.status.is_going_on
        return is_run or (self.job is not None and self.job.goes_on)

    @property
    def is_awaited(self) -> bool:
        """True for an output that nobody has rendered into yet, and of which no job is known."""
        return self.job is None and self.status is not None and self.status.state == "new"

    @property
    def code(self) -> int:
        """Exit code: well while something goes on, otherwise as the output has it, or as the job has where that is all."""
        if self.is_going_on:
            return DONE
        if self.status is not None:
            return code_of(self.status)
        assert self.job is not None
        ended = {"SUCCEEDED": DONE, "FAILED": QUARANTINED if self.job.exit_code == QUARANTINED else FAILED}
        return ended.get(self.job.status, FAILED)

    def facts(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
        from render.mending import facts_of

        facts = {} if self.status is None else facts_of(self.status)
        if self.is_going_on and facts:
            facts["next_steps"] = []
        return facts | ({} if self.job is None else {"job": self.job.as_json()})

    def lines(self) -> list[tuple[str, str]]:
        """Return (title, text) for each line."""
        from render.mending import lines_of

        job, found = self.job, [] if self.status is None else lines_of(self.status)
        if job is None:
            return [*found, ("next", WAITING)] if self.is_awaited else found
        told = [("job", printable(f"{job.id}: {job.word}"))]
        if self.status is None:
            return [*told, ("output", printable(f"{job.output or 'unknown'} ({self.why})"))]
        return told + [line for line in found if line[0] != "next" or not self.is_going_on]

    def line(self) -> str:
        """Return the values on one line, for a log."""
        from render.mending import line_of

        job = [] if self.job is None else [printable(f"{self.job.id} {self.job.word}")]
        none = [] if self.status is not None else [f"its output: {self.why}"]
        return ", ".join([*([] if self.status is None else [line_of(self.status)]), *job, *none])


class JobLook:
    """A submitted job and its output, looked at again and again."""

    _job: JobFacts
    _asks: JobWatch

    def __init__(self, name: str, address: str | None) -> None:
        """Raises JobError for a name that is neither an output's nor a job's."""
        from render.submit import watch_job

        try:
            self._job, self._asks = watch_job(name, address)
        except JobError as error:
            required = "required an output folder or the id of a submitted job"
            raise JobError(f"{name}: {required}, got neither; {error}") from None
        self._watch: Watch | None = None

    def look(self) -> Seen:
        """Return what is seen now. A head that is gone, or has forgotten the job, is an error only where no run is seen.

        Raises RunError then.
        """
        status, why = self._status()
        try:
            self._job = self._asks.ask() or self._job
        except RunError:
            if status is None or status.state == "new":
                raise
            return Seen(None, status)
        return Seen(self._job, status, why)

    def _status(self) -> tuple[Status | None, str]:
        """Return the status of the job's output; or None, and why there is none."""
        from render.mending import Watch
        from render.prepare import load_plan

        with suppress(StoreError, OSError, ValueError):
            out = any_path(self._job.output) if self._job.output else None
            if out is not None and self._watch is None:
                own = load_plan(out).fingerprint["manifest"]
                if self._job.manifest and own != self._job.manifest:
                    return None, UNRELATED
                self._watch = Watch(out)
            if self._watch is not None:
                return self._watch.look(), ""
        return None, UNREADABLE


def _show(look: Callable[[], Seen], options: Any) -> int:
    """Print what is seen, once or until the run ends; returns the exit code."""
    if not options.watch:
        seen = look()
        print(json.dumps(seen.facts(), indent=1) if options.json else _text(seen))
    elif options.json:
        seen = _follow(look, LINE_S, lambda seen: print(json.dumps(seen.facts()), flush=True))
    elif sys.stdout.isatty():
        seen = _redraw(look)
    else:
        seen = _follow(look, LINE_S, lambda seen: print(seen.line(), flush=True))
        print(_text(seen))
    return seen.code


def code_of(status: Status) -> int:
    """Return the exit code: a run that goes on, or has done everything, is well; one that left frames missing is not."""
    if status.is_going_on:
        return DONE
    if status.missing or status.damaged or status.state != "done":
        return FAILED
    return QUARANTINED if status.quarantined else DONE


def _text(seen: Seen) -> str:
    return "\n".join(f"{title:<12}{text}" for title, text in seen.lines())


def _follow(look: Callable[[], Seen], interval_s: float, show: Callable[[Seen], object]) -> Seen:
    """Show what is seen now and at intervals until the job and the run have ended. Returns the last.

    An output that nobody has rendered into is waited for, if no job is known that could have ended.
    """
    while True:
        seen = look()
        show(seen)
        if not seen.is_going_on and not seen.is_awaited:
            return seen
        is_in_bucket = seen.status is not None and isinstance(seen.status.out, ObjectPath)
        is_asked = seen.job is not None  # over the network, as a bucket
        time.sleep(BUCKET_S if is_in_bucket else LINE_S if is_asked else interval_s)


def _redraw(look: Callable[[], Seen]) -> Seen:
    """Show what is seen on a terminal, drawn anew in its place, with a bar."""
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        return _follow(look, REDRAW_S, lambda seen: live.update(_table(seen), refresh=True))


def _table(seen: Seen) -> Any:
    """Return the lines as rich draws them; no text of theirs is markup."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    table, status = Table.grid(padding=(0, 2)), seen.status
    for title, text in seen.lines():
        table.add_row(Text(title, style="bold"), Text(text, overflow="fold"))
        if title == "frames" and status is not None and status.planned:
            table.add_row("", ProgressBar(status.planned, status.frames, width=60))
    return table
