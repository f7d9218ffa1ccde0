"""The submitted jobs of a cluster: find one, list them, follow what one writes, stop one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from render.core import JobError, RunError, shorten
from render.submit.client import Dashboard, address_of, connect

__all__ = [
    "ENTRY",
    "JobFacts",
    "JobWatch",
    "facts_of",
    "find_job",
    "follow",
    "job_log",
    "list_jobs",
    "running_on",
    "stop_job",
    "watch_job",
]

ENTRY = "nightrender"  # key of the metadata by which a job is one of ours; its value is the version
QUARANTINED = 3  # exit code of a run that is done, with frames that could not be rendered
GOING = ("PENDING", "RUNNING")
RAY_LINES = (
    "Runtime env is setting up.",
    "Running entrypoint for job ",
)  # lines of Ray's in a log before those of the job
LOG_FOLLOWS = ", last available logs"  # begins the end of Ray's message; the log has lines below it
STOP_WAIT_S = 20  # for a run to end in order when it is stopped, before Ray kills it
STOP_S = STOP_WAIT_S + 40.0  # for a stopped job to have ended
AWAY_S = 180.0  # that a dashboard may not answer while a job is followed
LOG_TRIES = 3  # to read the rest of the log of a job that has ended; it may be gone with its machine
POLL_S = 0.5
DIGITS_MAX = 15  # of a number of frames


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A submitted job."""

    id: str
    status: str  # PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, as Ray has it
    output: str  # folder or URL
    target: str  # as it was submitted
    manifest: str  # fingerprint of the manifest that was submitted
    frames: int
    version: str  # of nightrender, where it was submitted
    submitted_by: str  # USER@HOST
    began: datetime | None  # when Ray took it
    ended: datetime | None
    exit_code: int | None  # of `render run`; None while it runs, and where it was killed with its node
    message: str  # of Ray: why it failed

    @property
    def goes_on(self) -> bool:
        return self.status in GOING

    @property
    def state(self) -> str:
        """Ray's word in small letters; a run that is done with frames in quarantine counts as failed to Ray alone."""
        return "done with frames in quarantine" if self.exit_code == QUARANTINED else self.status.lower()

    @property
    def reason(self) -> str:
        """The first line of Ray's message on a job that failed, without its word of the log's end; "" for any other."""
        first = next(iter(self.message.strip().splitlines()), "") if self.state == "failed" else ""
        return first.partition(LOG_FOLLOWS)[0]

    @property
    def word(self) -> str:
        """The state, and why the job failed."""
        return ": ".join(filter(None, [self.state, self.reason]))

    def as_json(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        times = {"began": self.began, "ended": self.ended}
        own = {name: getattr(self, name) for name in self.__slots__ if name not in times}
        return own | {name: value and value.isoformat(timespec="seconds") for name, value in times.items()}


def find_job(name: str, address: str | None = None) -> JobFacts:
    """Return a submitted job by its id, or by the beginning of it. Raises JobError where there is none, or several."""
    return _found(connect(address_of(address)), name)


def list_jobs(address: str | None = None) -> list[JobFacts]:
    """Return the jobs that `render submit` has submitted to a cluster, the oldest first. Raises JobError."""
    return _ours(connect(address_of(address)))


def running_on(dashboard: Dashboard, output: str) -> JobFacts | None:
    """Return the job that renders into an output now; None for none."""
    return next((job for job in _ours(dashboard) if job.output == output and job.goes_on), None)


def job_log(name: str, address: str | None = None) -> Iterator[str]:
    """Yield what a job has written so far, line by line, without Ray's own lines in front."""
    dashboard = connect(address_of(address))
    lines = dashboard.log(_found(dashboard, name).id).splitlines()
    yield from (line for line in lines if not _is_of_ray(line))


def stop_job(name: str, address: str | None = None) -> tuple[JobFacts, bool]:
    """Stop a job of `render submit` and wait until it has ended. Returns it, and whether it was still going.

    Raises JobError for another program's job, and RunError for one that has not ended after STOP_S.
    """
    dashboard = connect(address_of(address))
    job = _found(dashboard, name)
    if not job.version:
        required = "required a job that `render submit` has submitted"
        raise JobError(f"ID: {required}, got another program's: {job.id}; `ray job stop` stops it")
    is_taken, end_s = False, time.monotonic() + STOP_S
    while job.goes_on:
        is_taken = is_taken or dashboard.stop(job.id)  # a job that is pending may take it at a later time only
        if time.monotonic() > end_s:
            required = f"required that it ends in {STOP_S:g} s after it was stopped"
            raise RunError(f"{job.id}: {required}, got one that goes on: {job.status.lower()}")
        time.sleep(POLL_S)
        job = _found(dashboard, job.id)
    return job, is_taken


class JobWatch:
    """A submitted job that is asked for again and again, with patience for a head that does not answer for a while."""

    def __init__(self, dashboard: Dashboard, name: str) -> None:
        """`name` is the whole id of a job."""
        self._dashboard, self._name, self._away_since_s = dashboard, name, 0.0

    def ask(self) -> JobFacts | None:
        """Return the job as it is now; None when the head does not answer just now.

        Raises RunError when the head has not answered for AWAY_S, or does not know the job any more.
        """
        try:
            found = self._dashboard.job(self._name)
        except RunError as error:
            self._away_since_s = self._away_since_s or time.monotonic()
            if time.monotonic() - self._away_since_s <= AWAY_S:
                return None
            required = f"{self._name}: required an answer of the head, got none for {AWAY_S:g} s"
            raise RunError(f"{required}: {error}") from error
        self._away_since_s = 0.0
        if found is None:
            required = "required a job that the head knows, got one that it has forgotten (was the head restarted?)"
            raise RunError(f"{self._name}: {required}; the same `render submit` goes on")
        return facts_of(found)


def watch_job(name: str, address: str | None = None) -> tuple[JobFacts, JobWatch]:
    """Return a submitted job, found as by `find_job`, and its watch. Raises JobError."""
    dashboard = connect(address_of(address))
    job = _found(dashboard, name)
    return job, JobWatch(dashboard, job.id)


def follow(dashboard: Dashboard, name: str, show: Callable[[str], object]) -> JobFacts:
    """Show each line that a job writes until it ends; returns the job then.

    Where the connection breaks, what was shown is not shown again. A log that can't be read is no reason to give up: the
    job itself is asked. Raises RunError when the head does not answer for AWAY_S, or has forgotten the job.
    """
    shown, watch, failed = _Shown(show), JobWatch(dashboard, name), 0
    while True:
        is_whole = True
        try:
            asyncio.run(shown.follow(dashboard, name))
        except RunError:
            is_whole = False
        job = watch.ask()
        if job is not None and not job.goes_on:
            failed += not is_whole
            if is_whole or failed >= LOG_TRIES:
                shown.end()
                return job
        time.sleep(POLL_S)


class _Shown:
    """What was shown of a log, of which every connection sends the whole."""

    def __init__(self, show: Callable[[str], object]) -> None:
        self._show, self._seen, self._rest = show, 0, ""

    async def follow(self, dashboard: Dashboard, name: str) -> None:
        passed = 0
        async for text in dashboard.follow(name):
            new, passed = text[max(0, self._seen - passed) :], passed + len(text)
            self._seen = max(self._seen, passed)
            *lines, self._rest = (self._rest + new).split("\n")
            for line in lines:
                self._line(line)

    def end(self) -> None:
        """Show a last line without an end."""
        if self._rest:
            self._line(self._rest)
            self._rest = ""

    def _line(self, line: str) -> None:
        if not _is_of_ray(line):
            self._show(line)


def _is_of_ray(line: str) -> bool:
    return any(own in line for own in RAY_LINES)


def _ours(dashboard: Dashboard) -> list[JobFacts]:
    found = (facts_of(job) for job in dashboard.jobs() if ENTRY in (job.get("metadata") or {}))
    return sorted(found, key=lambda job: job.began or datetime.now(UTC))


def _found(dashboard: Dashboard, name: str) -> JobFacts:
    job = dashboard.job(name) if name else None
    if job is not None:
        return facts_of(job)
    near = [one for one in _ours(dashboard) if name and one.id.startswith(name)]
    if len(near) == 1:
        return near[0]
    got = ", ".join(one.id for one in near) if near else shorten(repr(name))
    raise JobError(f"ID: required one of the jobs that `render jobs` lists, or the beginning of one; got {got}")


def facts_of(job: Mapping[str, Any]) -> JobFacts:
    """Return a job as Ray's API has it; one that was submitted by other means has no output, target and frames."""
    own = job.get("metadata") or {}
    frames = str(own.get("frames", ""))

    def at(key: str) -> datetime | None:
        return datetime.fromtimestamp(job[key] / 1000, UTC) if job.get(key) else None

    return JobFacts(
        id=str(job.get("submission_id") or job.get("job_id")),
        status=str(job["status"]),
        output=str(own.get("output", "")),
        target=str(own.get("target", "")),
        manifest=str(own.get("manifest", "")),
        frames=int(frames) if frames.isdecimal() and len(frames) <= DIGITS_MAX else 0,  # anybody may have written it
        version=str(own.get(ENTRY, "")),
        submitted_by=str(own.get("submitted_by", "")),
        began=at("start_time"),
        ended=at("end_time"),
        exit_code=job.get("driver_exit_code"),
        message=str(job.get("message") or ""),
    )
