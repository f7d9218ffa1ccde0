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

__all__ = ["ENTRY", "JobFacts", "facts_of", "find_job", "follow", "job_log", "list_jobs", "running_on", "stop_job"]

ENTRY = "nightrender"  # key of the metadata by which a job is one of ours; its value is the version
GOING = ("PENDING", "RUNNING")
RAYS_OWN = (
    "Runtime env is setting up.",
    "Running entrypoint for job ",
)  # lines of Ray's in a log before those of the job
STOP_S = 60.0  # for a job to end; its own processes have STOP_WAIT_S of submission.py
AWAY_S = 180.0  # that a dashboard may not answer while a job is followed
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class JobFacts:
    """A submitted job."""

    id: str
    status: str  # PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED, as Ray has it
    output: str  # folder or URL
    target: str  # as it was submitted
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
    def word(self) -> str:
        """Ray's word: pending, running, succeeded, failed or stopped, and why it failed."""
        reason = next(iter(self.message.strip().splitlines()), "") if self.status == "FAILED" else ""
        return ": ".join(filter(None, [self.status.lower(), reason]))

    def as_json(self) -> dict[str, Any]:
        """Return the facts as JSON has them."""
        times = {"began": self.began, "ended": self.ended}
        own = {name: getattr(self, name) for name in self.__slots__ if name not in times}
        return own | {name: value and value.isoformat(timespec="seconds") for name, value in times.items()}


def find_job(name: str, address: str | None = None) -> JobFacts:
    """Return a submitted job by its id, or by the first signs of it. Raises JobError where there is none, or several."""
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
    yield from (line for line in lines if not _is_rays(line))


def stop_job(name: str, address: str | None = None) -> tuple[JobFacts, bool]:
    """Stop a job and wait until it has ended. Returns it, and whether it was still going. Raises RunError after STOP_S."""
    dashboard = connect(address_of(address))
    job = _found(dashboard, name)
    if not job.goes_on or not dashboard.stop(job.id):
        return job, False
    end_s = time.monotonic() + STOP_S
    while (job := _found(dashboard, job.id)).goes_on:
        if time.monotonic() > end_s:
            raise RunError(
                f"{job.id}: required that it ends in {STOP_S:g} s after it was stopped, got one that goes on"
            )
        time.sleep(POLL_S)
    return job, True


def follow(dashboard: Dashboard, name: str, show: Callable[[str], object]) -> JobFacts:
    """Show each line that a job writes until it ends; returns the job then.

    Where the connection breaks, what was shown is not shown again. Raises RunError when the head does not answer for AWAY_S.
    """
    shown, away_since_s = _Shown(show), 0.0
    while True:
        try:
            asyncio.run(shown.follow(dashboard, name))
            job = _found(dashboard, name)
            if not job.goes_on:
                shown.end()
                return job
            away_since_s = 0.0
        except RunError as error:
            away_since_s = away_since_s or time.monotonic()
            if time.monotonic() - away_since_s > AWAY_S:
                raise RunError(f"{name}: required an answer of the head, got none for {AWAY_S:g} s: {error}") from error
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
        if not _is_rays(line):
            self._show(line)


def _is_rays(line: str) -> bool:
    return any(own in line for own in RAYS_OWN)


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
    raise JobError(f"ID: required one of the jobs that `render jobs` lists, or its first signs; got {got}")


def facts_of(job: Mapping[str, Any]) -> JobFacts:
    """Return a job as Ray's API has it; one that was submitted by other means has no output, target and frames."""
    own = job.get("metadata") or {}

    def at(key: str) -> datetime | None:
        return datetime.fromtimestamp(job[key] / 1000, UTC) if job.get(key) else None

    return JobFacts(
        id=str(job.get("submission_id") or job.get("job_id")),
        status=str(job["status"]),
        output=str(own.get("output", "")),
        target=str(own.get("target", "")),
        frames=int(own.get("frames", 0)),
        version=str(own.get(ENTRY, "")),
        submitted_by=str(own.get("submitted_by", "")),
        began=at("start_time"),
        ended=at("end_time"),
        exit_code=job.get("driver_exit_code"),
        message=str(job.get("message") or ""),
    )
