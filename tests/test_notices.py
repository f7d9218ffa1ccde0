"""Notices of a run, to a real server of HTTP: what is sent when, what it costs a run, and that nothing secret is shown."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from threading import enumerate as enumerate_threads
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from stores import JOB, MANIFEST, rendering_here, run_here, wait_until

import render.notices
from render import JobError, RunError, plan_job, run_job
from render.cli import main
from render.job import load_job, to_yaml
from render.notices import Notices, check_notices
from render.prepare import Prepared, Report, Silent
from render.store import read_events

pytest_plugins = ["stores"]

SECRET = "T0psecretTOKEN"
SMALL = (*JOB, "sampling.steps=2", "animation.formats=[]", "sheets.kinds=[]")


@dataclass
class Inbox:
    """A server that takes notices of apprise's `json://`."""

    port: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    answers: Event = field(default_factory=Event)  # unset: requests wait

    @property
    def url(self) -> str:
        """With a password and a token, as those of services have them."""
        return f"json://user:{SECRET}@127.0.0.1:{self.port}/{SECRET}?+token={SECRET}"

    @property
    def titles(self) -> list[str]:
        return [one["title"] for one in self.got]


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    own = Inbox()
    own.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            own.answers.wait(60)
            own.got.append(body)
            self.send_response(own.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        own.port = server.server_port
        Thread(target=server.serve_forever, daemon=True).start()
        yield own
        own.answers.set()
        server.shutdown()


@dataclass
class Heard(Silent):
    """A report that keeps its warnings."""

    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def prepared(manifest: Path, inbox: Inbox, tmp_path: Path) -> Prepared:
    found = plan_job(manifest, *SMALL, f"notify=['{inbox.url}']", f"output={tmp_path / 'an output'}")
    return replace(found, command="cd /a && render run 'b c.csv'")


def notices_of(prepared: Prepared, report: Report) -> Notices:
    return Notices(prepared.job, prepared.command, report)


def told(inbox: Inbox) -> dict[str, Any]:
    (notice,) = inbox.got
    return notice


@pytest.mark.slow
def test_a_run_that_is_done_and_leaves_no_secret(
    manifest: Path, inbox: Inbox, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "an output"
    caplog.set_level(logging.DEBUG)
    with rendering_here():
        assert main(["run", str(manifest), *SMALL, f"notify=['{inbox.url}']", f"output={out}"]) == 0
    notice = told(inbox)
    assert notice["title"] == "nightrender: an output done"
    assert notice["message"].splitlines()[:2] == [
        f"14 frames in {out}", f"next: nothing is left to do; `render verify '{out}'` reads every byte"
    ]  # fmt: skip
    assert notice["type"] == "success"
    for path in out.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path
    assert "notify: []" in (out / ".run" / "job.yaml").read_text()
    (begin,) = [event for event in read_events(out / ".run" / "log.jsonl") if event["event"] == "begin"]
    assert "notify" not in begin["command"]
    assert shlex.split(begin["command"].partition(" && ")[2])[:3] == ["render", "run", str(manifest)]
    own = "".join(capfd.readouterr()) + "".join(one.getMessage() for one in caplog.records)
    assert SECRET not in own
    assert main(["plan", str(manifest), *SMALL, f"notify=['{inbox.url}']", "--json"]) == 0
    assert main(["status", str(out), "--json"]) == 0
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.slow
def test_a_resume_takes_the_urls_again(
    manifest: Path, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its own job or from the environment: the output has none."""
    out = f"output={tmp_path / 'out'}"
    run_here(manifest, *SMALL, f"notify=['{inbox.url}']", out)
    run_here(manifest, *SMALL, out)
    assert len(inbox.got) == 1
    monkeypatch.setenv("RENDER_NOTIFY", f"  {inbox.url}\n")
    run_here(tmp_path / "out" / ".run" / "job.yaml")
    assert inbox.titles == ["nightrender: out done"] * 2


@pytest.mark.slow
def test_a_run_that_fails(manifest: Path, inbox: Inbox, tmp_path: Path) -> None:
    failing = "render.run.render_units"
    with patch(failing, side_effect=RunError("unit 00000: disk full\nsecond line")), pytest.raises(RunError):
        run_job(manifest, *SMALL, f"notify=['{inbox.url}']", f"output={tmp_path / 'out'}")
    lines = told(inbox)["message"].splitlines()
    assert lines[:2] == ["unit 00000: disk full second line", f"0 of 14 frames in {tmp_path / 'out'}"]
    assert lines[2].startswith("go on: cd ")
    words = shlex.split(lines[2].partition(" && ")[2])
    assert words[:3] == ["render", "run", str(manifest)]
    assert f"output={tmp_path / 'out'}" in words
    assert told(inbox)["type"] == "failure"


@pytest.mark.parametrize(
    ("error", "reason"),
    [(KeyboardInterrupt(), "stopped by a signal"), (ValueError(), "ValueError"), (RunError("a\n\nb"), "a b")],
)
def test_the_reason_is_one_line(prepared: Prepared, inbox: Inbox, error: BaseException, reason: str) -> None:
    with suppress(type(error)), notices_of(prepared, Silent()) as notices:
        notices.begin(prepared, 3)
        notices.frames(2)
        raise error
    out = prepared.job.output
    assert told(inbox)["message"].splitlines()[:3] == [
        reason, f"5 of 14 frames in {out}", "go on: cd /a && render run 'b c.csv'"
    ]  # fmt: skip


def test_what_was_refused_before_it_began_is_no_failure(prepared: Prepared, inbox: Inbox) -> None:
    with pytest.raises(JobError), notices_of(prepared, Silent()):
        raise JobError("another run has the output")
    assert inbox.got == []


def test_what_ray_has_started_is_seen_by_nobody(
    prepared: Prepared, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RENDER_COMMAND", "render submit night.csv")
    with pytest.raises(JobError), notices_of(prepared, Silent()):
        raise JobError("another run has the output")
    assert told(inbox)["message"].splitlines()[:2] == [
        "another run has the output", f"before the first frame of {prepared.job.output}"
    ]  # fmt: skip


@pytest.mark.parametrize("step", ["prepare", "record_or_resume"])
def test_a_run_that_fails_before_it_begins(manifest: Path, inbox: Inbox, tmp_path: Path, step: str) -> None:
    failed = patch(f"render.run.{step}", side_effect=RunError("the hub does not answer"))
    with failed, pytest.raises(RunError):
        run_job(manifest, *SMALL, f"notify=['{inbox.url}']", f"output={tmp_path / 'out'}")
    assert told(inbox)["title"] == "nightrender: out failed"
    assert told(inbox)["message"].startswith("the hub does not answer\nbefore the first frame of ")


def test_a_run_that_stalls_before_it_begins(prepared: Prepared, inbox: Inbox) -> None:
    job = replace(prepared.job, notify_stalled_s=0.1)
    with notices_of(replace(prepared, job=job), Silent()) as notices:
        wait_until(lambda: len(inbox.got) == 1, "the notice while it prepares")
        notices.begin(prepared, 0)
        wait_until(lambda: len(inbox.got) == 2, "the notice of a stall while it renders")
    assert "before the first frame" in inbox.got[0]["message"]
    assert "0 of 14 frames" in inbox.got[1]["message"]


def test_quarantine_names_its_command(prepared: Prepared, inbox: Inbox) -> None:
    with notices_of(prepared, Silent()) as notices:
        notices.done(12, 2, 0)
    out = prepared.job.output
    assert told(inbox)["message"].splitlines()[:2] == [
        f"12 frames in {out}, 2 in quarantine", f"next: 2 frames are in quarantine: `render retry '{out}'`"
    ]  # fmt: skip


def test_a_run_that_stalls_is_told_once_for_each_stall(prepared: Prepared, inbox: Inbox) -> None:
    job = replace(prepared.job, notify_stalled_s=0.2)
    with notices_of(replace(prepared, job=job), Silent()) as notices:
        notices.begin(prepared, 0)
        wait_until(lambda: len(inbox.got) == 1, "the first notice")
        began_s = time.monotonic()
        wait_until(lambda: time.monotonic() > began_s + 0.5, "more of the same stall")
        assert len(inbox.got) == 1
        notices.frames(4)
        wait_until(lambda: len(inbox.got) == 2, "the notice of the second stall")
        notices.frames(4)
        notices.animating(3)  # from now on no frame is due
        began_s = time.monotonic()
        wait_until(lambda: time.monotonic() > began_s + 0.5, "an end without frames")
    assert len(inbox.got) == 2
    out = prepared.job.output
    lines = inbox.got[1]["message"].splitlines()
    assert lines[0].startswith("no frame for 0.0 minutes")
    assert lines[1:3] == [f"4 of 14 frames in {out}", f"look: render status '{out}'"]
    assert lines[3] == "after it was stopped, go on: cd /a && render run 'b c.csv'"
    assert inbox.got[1]["type"] == "warning"


@pytest.mark.parametrize("on", ["done", "failed", "stalled"])
def test_only_what_was_asked_for_is_sent(prepared: Prepared, inbox: Inbox, on: str) -> None:
    job = replace(prepared.job, notify_on=(on,), notify_stalled_s=0.05)
    with suppress(RunError), notices_of(replace(prepared, job=job), Silent()) as notices:
        notices.begin(prepared, 0)
        began_s = time.monotonic()
        wait_until(lambda: len(inbox.got) == 1 or time.monotonic() > began_s + 0.3, "a stall")
        notices.done(14, 0, 0)
        raise RunError("full")
    assert inbox.titles == [f"nightrender: an output {on}"]


# A notice that can't be sent.


def test_a_notice_that_is_refused_is_one_warning(prepared: Prepared, inbox: Inbox) -> None:
    inbox.status, heard = 500, Heard()
    with notices_of(prepared, heard) as notices:
        notices.done(14, 0, 0)
    assert heard.warnings == ["notify: the notice 'done' was not sent to json://… (refused, or nothing answers)"]


def test_a_server_that_does_not_answer_holds_nobody_up(prepared: Prepared, inbox: Inbox) -> None:
    inbox.answers.clear()
    heard = Heard()
    with patch.object(render.notices, "SEND_S", 0.3), notices_of(prepared, heard) as notices:
        notices.done(14, 0, 0)
        assert [one for one in enumerate_threads() if one.name == "notice"]  # that waits still, and nobody for it
    assert inbox.got == []
    assert heard.warnings == ["notify: the notice 'done' was not sent to json://… (no answer within 0.3 s)"]


def test_one_that_is_down_keeps_no_notice_from_the_others(prepared: Prepared, inbox: Inbox) -> None:
    job, heard = replace(prepared.job, notify=("json://127.0.0.1:9/x", inbox.url)), Heard()
    with notices_of(replace(prepared, job=job), heard) as notices:
        notices.done(14, 0, 0)
    assert inbox.titles == ["nightrender: an output done"]
    assert len(heard.warnings) == 1


# What is refused when a job is planned, and what of it is shown.


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"[nonsense://{SECRET}]", r"key 'notify', entry 1: .* got nonsense://… \(no such service\)"),
        (f"[tgram://{SECRET}]", r"entry 1: .* got tgram://… \(apprise knows the scheme, but something"),
        (f"[https://chat.invalid/{SECRET}]", r"entry 1: .* got https://… \(no such service\)"),
        (f"[{SECRET}]", "entry 1: .* got a text that begins with no scheme"),
        (f"[json://127.0.0.1, nonsense://{SECRET}]", "entry 2: "),
        (f"json://127.0.0.1/{SECRET}", r"required a list such as \[json://host/path\], got …, which is not shown"),
        (f"{{a: https://chat/{SECRET}}}", "required a|unknown"),
        (f"[[https://chat/{SECRET}]]", "required a list of URLs, got other values in it"),
        (f"[https://chat/{SECRET}", "required a YAML value after '=', got another text"),
    ],
)
def test_urls_that_can_not_be(manifest: Path, value: str, why: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(JobError, match=why) as found:
        plan_job(manifest, f"notify={value}")
    assert SECRET not in str(found.value)
    assert main(["plan", str(manifest), f"notify={value}"]) == 2
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize("key", ["notfy", "notify_urls", "Notify", "notify.urls"])
def test_a_mistyped_key_shows_no_value(manifest: Path, key: str) -> None:
    with pytest.raises(JobError, match="required a known key") as found:
        plan_job(manifest, f"{key}=[https://chat/{SECRET}]")
    assert SECRET not in str(found.value)
    with pytest.raises(JobError, match="no '='") as found:
        plan_job(manifest, f"{key}:[https://chat/{SECRET}]")
    assert SECRET not in str(found.value)


def test_a_job_file_may_have_them(tmp_path: Path, manifest: Path, inbox: Inbox) -> None:
    job = {"manifest": str(manifest), "notify": [inbox.url], "notify_on": ["failed"], "notify_stalled_s": 60}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    found = load_job(tmp_path / "job.yaml")
    assert (found.notify, found.notify_on, found.notify_stalled_s) == ((inbox.url,), ("failed",), 60.0)
    assert SECRET not in to_yaml(found)
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**job, "notify": [f"nonsense://{SECRET}"]}))
    with pytest.raises(JobError, match="nonsense://…") as error:
        plan_job(tmp_path / "job.yaml")
    assert SECRET not in str(error.value)


def test_values_of_the_environment_are_checked(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RENDER_NOTIFY", f"json://127.0.0.1 nonsense://{SECRET}")
    with pytest.raises(JobError, match=r"environment variable RENDER_NOTIFY: .* got nonsense://…"):
        plan_job(manifest)


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("notify_on=[finished]", "a list of done, failed, stalled; got"),
        ("notify_stalled_s=0", "a finite number from 1"),
    ],
)
def test_ranges(manifest: Path, override: str, why: str) -> None:
    with pytest.raises(JobError, match=why):
        plan_job(manifest, override)


def test_without_the_library_it_is_named(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(JobError, match=r"key 'notify', entry 1: required the library apprise \(pip install 'nightren"):
        plan_job(manifest, "notify=[json://127.0.0.1]")
    check: Callable[..., None] = check_notices
    check(load_job(manifest))  # who wants no notices needs no library


def test_requests_show_no_token(prepared: Prepared, inbox: Inbox, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with notices_of(prepared, Silent()) as notices:
        notices.done(14, 0, 0)
    assert len(inbox.got) == 1
    assert SECRET not in "".join(one.getMessage() for one in caplog.records)


def test_what_apprise_logs_for_others_is_logged(prepared: Prepared, caplog: pytest.LogCaptureFixture) -> None:
    with notices_of(prepared, Silent()) as notices:
        notices.done(14, 0, 0)
    logging.getLogger("apprise").warning("of another part of the program")
    assert [one.getMessage() for one in caplog.records if one.name == "apprise"] == ["of another part of the program"]


def test_the_manifest_of_these_tests_has_14_frames() -> None:
    assert MANIFEST.count("\n") == 8
