"""Notices of a run, by mail, chat or HTTP through the library apprise: done, failed, or stalled, and what to do then.

The URLs hold tokens and passwords. They are taken from the job or from the environment variable RENDER_NOTIFY, and nothing
but their schemes is shown, logged or stored. A notice that can't be sent is a warning, and holds nothing up for long.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Lock, Thread, get_ident
from typing import Any

from render.core import InputError, JobError, Relay, one_line, to_go_on, without_secrets
from render.job import JobConfig
from render.mending import Left, next_steps
from render.prepare import Prepared, Report

__all__ = ["COMMAND", "VARIABLE", "Notices", "check_notices"]

VARIABLE = "RENDER_NOTIFY"  # of the environment: URLs with blanks between them
COMMAND = "RENDER_COMMAND"  # of the environment: the command that goes on, of a run that is started for somebody else
LOGGERS = ("apprise", "urllib3", "requests")  # and those below them
SEND_S = 5.0  # that a run waits for a notice to be sent
LOOKS = 20  # in the time after which a run counts as stalled
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
REASON_MAX = 300  # characters


def check_notices(job: JobConfig) -> None:
    """Raise JobError for URLs that apprise does not take, and where there are URLs but no apprise."""
    if not all(isinstance(url, str) for url in job.notify):
        raise JobError("key 'notify': required a list of URLs, got other values in it")
    urls = _urls(job)
    if not urls:
        return
    try:
        with _quiet():
            wrong = [f"{where}: {why}" for where, url in urls if (why := _fault(url))]
    except ModuleNotFoundError:
        required = "required the library apprise (pip install 'nightrender[notify]'), got none"
        raise JobError(f"{urls[0][0]}: {required}") from None
    if wrong:
        raise JobError("\n".join(wrong))


class Notices(Relay[Report]):
    """A report that passes on what it hears, and sends notices. A context manager: its error is that of the run.

    It begins before the run is prepared: models that can't be fetched fail a night as well.
    """

    def __init__(self, job: JobConfig, command: str, report: Report) -> None:
        """`command` goes on with the run; "" for none. Nobody sees what a job says that Ray starts, so all is told of it."""
        super().__init__(report)
        self._job, self._is_unseen = job, bool(os.environ.get(COMMAND))
        self._command = command or to_go_on("repair", job.output).strip("`")
        with _quiet():
            self._services = [(_scheme(url), _service(url)) for _, url in _urls(job)]
        self._lock, self._ended = Lock(), Event()
        self._frame_s: float | None = None  # when the last frame came, or the run or rendering began; None afterwards
        self._is_stalled = self._has_begun = False
        self._done = self._total = 0  # frames

    def __enter__(self) -> Notices:
        self._frame_s = time.monotonic()
        if self._services and "stalled" in self._job.notify_on:
            Thread(target=self._look, name="notices", daemon=True).start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._ended.set()
        is_refused = isinstance(error, InputError) and not self._has_begun  # nothing has started
        if error is None or (is_refused and not self._is_unseen):
            return
        reason = one_line(error)[:REASON_MAX] or type(error).__name__
        reason = "stopped by a signal" if isinstance(error, KeyboardInterrupt) else reason
        self._send("failed", f"{reason}\n{self._count()}", f"go on: {self._command}")

    def done(self, frames: int, quarantined: int, blank: int) -> None:
        """Send that the run is done, with so many frames in the store, in quarantine, and of a single colour."""
        out, failed = self._job.output, f", {quarantined:,} in quarantine" if quarantined else ""
        steps = next_steps(out, Left(failed=quarantined, blank=blank))
        self._send("done", f"{frames:,} frames in {out}{failed}", *(f"next: {step}" for step in steps))

    # What the run tells.

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        self._has_begun, self._total, self._done = True, prepared.counts.frames, frames_done
        with self._lock:
            self._is_stalled, self._frame_s = False, time.monotonic()
        self._listener.begin(prepared, frames_done)

    def frames(self, count: int) -> None:
        if count:
            with self._lock:
                self._done, self._is_stalled, self._frame_s = self._done + count, False, time.monotonic()
        super().frames(count)

    def animating(self, total: int) -> None:
        self._frame_s = None  # no more frames come
        self._listener.animating(total)

    def animation(self, path: Path) -> None:
        self._listener.animation(path)

    # Sending.

    def _look(self) -> None:
        """Look again and again whether frames come, and send one notice when none has for too long."""
        limit_s = self._job.notify_stalled_s
        while not self._ended.wait(limit_s / LOOKS):
            with self._lock:
                quiet_s = 0.0 if self._frame_s is None else time.monotonic() - self._frame_s
                is_new = quiet_s >= limit_s and not self._is_stalled
                self._is_stalled = self._is_stalled or is_new
            if is_new:
                status = to_go_on("status", self._job.output).strip("`")
                told = f"no frame for {quiet_s / 60:.1f} minutes\n{self._count()}"
                self._send("stalled", told, f"look: {status}", f"after it was stopped, go on: {self._command}")

    def _count(self) -> str:
        if not self._has_begun:
            return f"before the first frame of {self._job.output}"
        return f"{min(self._done, self._total):,} of {self._total:,} frames in {self._job.output}"

    def _send(self, event: str, *lines: str) -> None:
        """Send a notice to all services at once; those that don't take it within SEND_S are warned of."""
        if event not in self._job.notify_on or not self._services:
            return
        title = f"nightrender: {self._job.output.name} {event}"
        body = without_secrets("\n".join([*lines, f"on {platform.node()}"]))
        taken: set[int] = set()

        def send(number: int, service: Any) -> None:
            if _notify(service, title, body, event):
                taken.add(number)

        threads = [
            Thread(target=send, args=(number, service), name="notice", daemon=True)
            for number, (_, service) in enumerate(self._services)
        ]
        end_s = time.monotonic() + SEND_S
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        for number, (scheme, _) in enumerate(self._services):
            if number not in taken:
                why = f"no answer within {SEND_S:g} s" if threads[number].is_alive() else "refused, or nothing answers"
                self.warn(f"notify: the notice {event!r} was not sent to {scheme}://… ({why})")


def _urls(job: JobConfig) -> list[tuple[str, str]]:
    """Return (place, URL) of every service that gets notices, each URL once."""
    urls = dict.fromkeys(os.environ.get(VARIABLE, "").split(), f"environment variable {VARIABLE}")
    urls |= {url: f"key 'notify', entry {number}" for number, url in enumerate(job.notify, 1)}
    return [(where, url) for url, where in urls.items()]


def _scheme(url: str) -> str:
    """Return the scheme of a URL, which is all of it that is shown."""
    match = SCHEME.match(url)
    return match[1].lower() if match else ""


def _fault(url: str) -> str:
    """Return why apprise does not take a URL, without the URL; "" if it does. Raises ModuleNotFoundError."""
    from apprise import NotificationManager

    scheme, required = (
        _scheme(url),
        "required a URL of apprise, such as mailto://USER:PASSWORD@HOST or json://HOST/PATH",
    )
    if not scheme:
        return f"{required}; got a text that begins with no scheme://"
    if _service(url) is not None:
        return ""
    is_known = scheme in NotificationManager() and scheme not in ("http", "https")
    hint = "apprise knows the scheme, but something in the URL is missing or wrong" if is_known else "no such service"
    return f"{required}; got {scheme}://… ({hint})"


def _service(url: str) -> Any:
    """Return what sends to a URL; None for a URL that apprise does not take."""
    from apprise import Apprise

    return Apprise.instantiate(url)


def _notify(service: Any, title: str, body: str, event: str) -> bool:
    """Send to one service. Returns whether it took the notice; whatever goes wrong is no error of the run."""
    kinds = {"done": "success", "failed": "failure", "stalled": "warning"}
    with _quiet(), suppress(Exception):
        return bool(service.notify(title=title, body=body, notify_type=kinds[event]))
    return False


@contextmanager
def _quiet() -> Iterator[None]:
    """Have apprise and what it sends by log nothing of what this thread does: their lines may show tokens."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in LOGGERS]
    logs, own = [logging.getLogger(name) for name in dict.fromkeys([*names, "apprise"])], get_ident()

    def is_other(record: logging.LogRecord) -> bool:
        return record.thread != own

    for log in logs:
        log.addFilter(is_other)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(is_other)
