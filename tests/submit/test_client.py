"""The address of a dashboard, and what is said where there is none."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.server
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from render.cli import main
from render.core import JobError, RunError
from render.submit import address_of, connect, follow, jobs


@pytest.fixture(autouse=True)
def no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "variables", "found"),
    [
        ("http://head:8265/", {}, "http://head:8265"),
        ("http://head:8265", {"RAY_API_SERVER_ADDRESS": "http://other:8265"}, "http://head:8265"),
        (None, {"RAY_API_SERVER_ADDRESS": "http://one:1", "RAY_ADDRESS": "http://two:2"}, "http://one:1"),
        (None, {"RAY_ADDRESS": "https://two:2"}, "https://two:2"),
    ],
)
def test_the_address(given: str | None, variables: dict[str, str], found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert address_of(given) == found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "--address: required the dashboard of a Ray cluster, http://HEAD:8265; got none"),
        ("head:6379", "--address: required http://HEAD:8265, got 'head:6379' (the port of `ray.init`?"),
        ("auto", "--address: required http://HEAD:8265, got 'auto'"),
        ("http://", "--address: required http://HEAD:8265, got 'http://'"),
        ("http://head:dashboard", "--address: required http://HEAD:8265, got 'http://head:dashboard'"),
    ],
)
def test_what_is_no_address(given: str | None, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    with pytest.raises(JobError) as caught:
        address_of(given)
    assert said in str(caught.value)


class Page(http.server.BaseHTTPRequestHandler):
    """The same answer at every address."""

    says = b"<html>hello</html>"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.says)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def page() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_something_else_answers(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "manifests/first.csv", "output=s3://b/o", "--address", page]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"render: --address {page}: required the dashboard of a Ray cluster, got something that answers"
    )


def test_a_head_that_goes_while_a_job_is_followed(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "says", b'{"ray_version": "2.60.0"}')
    monkeypatch.setattr(jobs, "AWAY_S", 0.01)
    monkeypatch.setattr(jobs, "POLL_S", 0.02)
    dashboard = connect(page)
    assert dashboard.versions() == ("2.60.0", "")
    with pytest.raises(RunError, match=f"night: required an answer of the head, got none for 0.01 s: {page}"):
        follow(dashboard, "night", print)


@pytest.mark.parametrize("says", [b'{"ray_version": "2", "data": null}', b'[{"submission_id": "a"}]', b"[1]", b"3"])
def test_answers_that_are_not_as_rays_are(page: str, monkeypatch: pytest.MonkeyPatch, says: bytes) -> None:
    monkeypatch.setattr(Page, "says", b'{"ray_version": "2.60.0"}')
    dashboard = connect(page)
    monkeypatch.setattr(Page, "says", says)
    asks: list[Callable[[], object]] = [dashboard.nodes, dashboard.jobs, lambda: dashboard.job("night")]
    for ask in asks:
        with pytest.raises(RunError, match="got something that answers, but not as Ray does"):
            ask()
    assert dashboard.versions() == ("2.60.0", "")


def test_a_fault_of_tls_is_told(page: str) -> None:
    with pytest.raises(JobError, match=r"got no connection by TLS: .*(?i:version)"):
        connect(page.replace("http:", "https:"))


class Silent(http.server.BaseHTTPRequestHandler):
    """Takes a connection for a log, and says nothing then."""

    def do_GET(self) -> None:
        if self.path == "/api/version":
            body = b'{"ray_version": "2.60.0", "version": "4"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.write(b"\x81\x04one\n")
        self.wfile.flush()
        self.rfile.read()  # until the other side has gone

    def log_message(self, *_: object) -> None: ...


def test_a_log_that_goes_silent_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.submit.client.QUIET_S", 0.2)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Silent)
    Silent.protocol_version = "HTTP/1.1"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    dashboard = connect(f"http://127.0.0.1:{server.server_port}")

    async def read() -> list[str]:
        return [text async for text in dashboard.follow("night")]

    try:
        assert asyncio.run(asyncio.wait_for(read(), 60)) == ["one\n"]
    finally:
        server.shutdown()
        server.server_close()


def test_nobody_answers_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.submit.client.FIRST_S", 0.5)
    with socket.socket() as mute, socket.socket() as closed:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        closed.bind(("127.0.0.1", 0))
        for server, got in ((mute, "none in time"), (closed, "no answer there (without --dashboard-host")):
            begin = time.monotonic()
            with pytest.raises(JobError, match=re.escape(f"got {got}")):
                connect(f"http://127.0.0.1:{server.getsockname()[1]}")
            assert time.monotonic() - begin < 20


def test_a_password_in_the_address_is_not_shown() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(JobError) as caught:
            connect(f"http://me:hunter2@127.0.0.1:{closed.getsockname()[1]}")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("lacking", ["aiohttp", "ray.job_submission"])
def test_without_the_extra(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [
        name for name in sys.modules if name.startswith("ray.dashboard.modules") or name == "ray.job_submission"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, lacking, None)
    with pytest.raises(JobError, match=r"pip install 'nightrender\[cluster\]'"):
        connect("http://127.0.0.1:1")
