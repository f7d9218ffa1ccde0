"""The commands for a Ray cluster: submit, jobs, logs, stop."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.cli_mending import BAD_INPUT, DONE, FAILED, QUARANTINED, AddCommand, short
from render.core import counted, printable, without_secrets

if TYPE_CHECKING:
    from render.submit import Dashboard, JobFacts, Submitted

__all__ = ["CLUSTER", "add_address", "add_cluster"]

CLUSTER = {  # command: examples
    "submit": "render submit jobs/walks.yaml output=s3://bucket/walks --address http://HEAD:8265\n"
    "  render submit manifests/first.csv output=/shared/first --address http://HEAD:8265 --wait",
    "jobs": "render jobs --address http://HEAD:8265\n  render jobs --json",
    "logs": "render logs walks-3f9a2c\n  render logs walks-3f9a2c --follow",
    "stop": "render stop walks-3f9a2c --address http://HEAD:8265",
}
SUBMIT = "give a job, or what is left of it, to a Ray cluster"
JOBS = "list the jobs that were submitted to a cluster"
LOGS = "print what a submitted job writes"
STOP = "stop a submitted job; what is committed stays"
ADDRESS = "dashboard of the cluster, http://HEAD:8265 (default: RAY_API_SERVER_ADDRESS, or RAY_ADDRESS if that is http)"
CODES = (DONE, FAILED, BAD_INPUT, QUARANTINED)


def add_cluster(add: AddCommand, target: Callable[[str], Path], target_help: str) -> None:
    """Add the commands to the parser of `render`. `target` reads the argument TARGET."""
    submit, jobs = add("submit", _submit, SUBMIT), add("jobs", _jobs, JOBS)
    logs, stop = add("logs", _logs, LOGS), add("stop", _stop, STOP)
    submit.add_argument("target", metavar="TARGET", type=target, help=target_help)
    submit.add_argument("--wait", action="store_true", help="follow the job to its end, and end with its exit code")
    submit.add_argument(
        "overrides", metavar="key=value", nargs="*", help="job keys to set, e.g. output=s3://bucket/out"
    )
    jobs.add_argument("--json", action="store_true", help="print one JSON list")
    logs.add_argument("--follow", action="store_true", help="go on until the job ends, and end with its exit code")
    for command in (logs, stop):
        command.add_argument("id", metavar="ID", help="of a job, or the beginning of it")
    for command in (submit, jobs, logs, stop):
        add_address(command)


def add_address(command: argparse.ArgumentParser) -> None:
    """Add the option that names a cluster's dashboard."""
    command.add_argument("--address", metavar="URL", help=ADDRESS)


def _submit(options: Any) -> int:
    from render.submit import address_of, connect, submit_job

    dashboard = connect(address_of(options.address))
    target = getattr(options.target, "url", options.target)
    done = submit_job(dashboard, target, options.overrides, partial(_say, "warning:"))
    print(_ending(done, options.address), flush=True)
    return _follow(dashboard, done.id, options.address) if options.wait else DONE


def _ending(done: Submitted, address: str | None) -> str:
    """Return the lines that end a submission: what was submitted, and how to follow and stop it."""
    counts, out = done.prepared.counts, short(done.prepared.job.output)
    before = f", {done.frames_done:,} of them done before" if done.frames_done else ""
    begun = f" (the job begins it: {done.why_not_begun})" if done.why_not_begun else ""
    own = " and the package itself" if done.brings_package else ""
    return "\n".join(
        [
            f"submitted  {done.id}: {counted(counts.frames, 'frame')}{before}",
            f"output     {out}{begun}",
            f"travels    {done.travels_bytes / 1e6:,.1f} MB of inputs{own}",
            f"follow it  {_command('logs', done.id, address)} --follow",
            f"stop it    {_command('stop', done.id, address)}",
        ]
    )


def _command(name: str, job: str, address: str | None) -> str:
    """Return a command on a job, as the user would type it now."""
    own = ["--address", without_secrets(address)] if address else []
    return shlex.join(["render", name, job, *own])


def _follow(dashboard: Dashboard, job: str, address: str | None) -> int:
    """Print what a job writes until it ends; returns its exit code. An interrupt ends this, and not the job."""
    from render.submit import follow

    try:
        return _code(follow(dashboard, job, partial(print, flush=True)))
    except KeyboardInterrupt:
        _say(
            f"\n{job} goes on. {_command('logs', job, address)} --follow shows it, {_command('stop', job, address)} stops it"
        )
        return FAILED


def _code(job: JobFacts) -> int:
    """Return the exit code of a job that has ended; what is no code of `render run` is told."""
    if job.status == "SUCCEEDED":
        return DONE
    if job.status == "STOPPED":
        _say(f"{job.id} was stopped. What is committed stays; the same `render submit` goes on")
        return FAILED
    if job.exit_code in CODES:
        return job.exit_code
    reason = printable(job.reason or "its process was killed")
    _say(f"{job.id} failed: {reason}. What is committed stays; the same `render submit` goes on")
    return FAILED


def _logs(options: Any) -> int:
    from render.submit import address_of, connect, find_job, job_log

    if not options.follow:
        for line in job_log(options.id, options.address):
            print(line)
        return DONE
    job = find_job(options.id, options.address)
    return _follow(connect(address_of(options.address)), job.id, options.address)


def _jobs(options: Any) -> int:
    from render.submit import list_jobs

    found = list_jobs(options.address)
    if options.json:
        print(json.dumps([job.as_json() for job in found], indent=1))
        return DONE
    rows = [("ID", "STATUS", "BEGAN (UTC)", "FRAMES", "OUTPUT", "BY"), *map(_row, found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return DONE


def _row(job: JobFacts) -> tuple[str, ...]:
    began = f"{job.began:%Y-%m-%d %H:%M}" if job.began else ""
    status = job.state + (f" ({job.exit_code})" if job.exit_code else "")
    cells = (job.id, status, began, f"{job.frames:,}", job.output, job.submitted_by)
    return tuple(printable(cell) for cell in cells)  # anybody who reaches the cluster may have written them


def _stop(options: Any) -> int:
    from render.submit import stop_job

    job, was_going = stop_job(options.id, options.address)
    if not was_going:
        _say(f"render: {job.id}: required a job that goes on, got one that ended: {job.status.lower()}")
        return FAILED
    print(f"{job.id} is stopped. What is committed stays; the same `render submit` goes on")
    return DONE


def _say(*words: str) -> None:
    print(*words, file=sys.stderr, flush=True)
