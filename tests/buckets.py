"""An S3 server for tests: moto behind a socket, with faults on demand.

Test files name this module in `pytest_plugins` and import its functions first, which pytest would take for a mistake:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, NoReturn
from unittest.mock import patch
from uuid import uuid4

import boto3
import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from render.core import ObjectPath, s3, scratch_folder
from render.core.s3 import open_bucket

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYTESTONLY"
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "AKIATESTONLY",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
REFUSALS = {
    "throttle": ("503 Slow Down", "SlowDown"),
    "deny": ("403 Forbidden", "AccessDenied"),
    "range": ("416 Requested Range Not Satisfiable", "InvalidRange"),
    "conflict": ("409 Conflict", "ConditionalRequestConflict"),
}


@dataclass(frozen=True)
class Request:
    """One request that the server got."""

    number: int  # from 0
    method: str
    path: str  # /BUCKET/KEY
    query: str
    range: str

    def __str__(self) -> str:
        return f"{self.number} {self.method} {self.path}?{self.query} {self.range}"


Fault = Callable[
    [Request], str
]  # "", or one of: those in REFUSALS, cut (nothing is done), lose (done, but the answer is
# lost), half (half of the answer's body, then nothing), stall (as half, but the connection stays)


class Server:
    """A WSGI application around moto that notes requests and plans faults."""

    def __init__(self) -> None:
        self._app: Any = DomainDispatcherApplication(create_backend_app)
        self._lock = Lock()
        self.requests: list[Request] = []
        self.fault: Fault = lambda _: ""
        self.ignores_conditions = False  # as a store without exclusive creation does
        self.ended = Event()

    def begin(self, fault: Fault = lambda _: "") -> None:
        """Forget the requests so far, and do to those that come what `fault` says."""
        with self._lock:
            self.requests.clear()
            self.fault = fault

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            number = len(self.requests)
            found = Request(
                number,
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                environ.get("QUERY_STRING", ""),
                environ.get("HTTP_RANGE", ""),
            )
            self.requests.append(found)
            fault = self.fault(found)
        if fault == "cut":
            _cut(environ)
        if fault in REFUSALS:
            status, code = REFUSALS[fault]
            start(status, [("Content-Type", "application/xml"), ("Connection", "close")])
            return [_refusal(code)]
        if self.ignores_conditions:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        with self._lock:  # moto looks and writes in two steps; S3 does it in one
            answer: list[Any] = []
            body = b"".join(self._app(environ, lambda *head: answer.extend(head)))
        if fault == "lose":
            _cut(environ)
        if found.range and not body and answer[0].startswith("20"):  # moto gives of an empty object what S3 refuses
            status, code = REFUSALS["range"]
            start(status, [("Content-Type", "application/xml")])
            return [_refusal(code)]
        start(*answer)
        return self._broken(body, environ, fault) if fault else [body]

    def _broken(self, body: bytes, environ: dict[str, Any], fault: str) -> Iterator[bytes]:
        yield body[: len(body) // 2]
        if fault == "stall":
            self.ended.wait(30)
        _cut(environ)


def _refusal(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>No.</Message></Error>".encode()


def _cut(environ: dict[str, Any]) -> NoReturn:
    connection: socket.socket = environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    raise ConnectionAbortedError  # which werkzeug takes for the client's end


QUIET = type("Quiet", (WSGIRequestHandler,), {"log": lambda *_: None})  # a handler that logs nothing


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server for the whole session, which AWS_ENDPOINT_URL points to; `bucket` gives a fresh bucket on it."""
    app = Server()
    listening = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QUIET)
    Thread(target=listening.serve_forever, daemon=True).start()
    with patch.dict(os.environ, VARIABLES | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{listening.server_port}"}):
        os.environ.pop("AWS_PROFILE", None)
        open_bucket.cache_clear()
        yield app
    app.ended.set()
    listening.shutdown()
    open_bucket.cache_clear()


@pytest.fixture
def bucket(server: Server) -> Iterator[ObjectPath]:
    """The path `s3://BUCKET/out` of a new and empty bucket, on a server without faults."""
    name = f"night-{uuid4().hex[:12]}"
    server.begin()
    boto3.client("s3").create_bucket(Bucket=name)
    open_bucket.cache_clear()
    server.begin()
    yield ObjectPath.parse(f"s3://{name}/out")
    server.begin()


@contextmanager
def few_tries(tries: int = 1, read_s: float = 30.0) -> Iterator[None]:
    """Have requests give up after some tries, without pauses of ours."""
    with patch.multiple(s3, TRIES=tries, FIRST_TRIES=tries, BODY_TRIES=tries, PAUSE_S=0.0, READ_S=read_s):
        open_bucket.cache_clear()
        yield
    open_bucket.cache_clear()


def copy_of(out: ObjectPath, target: Path) -> Path:
    """A local copy of everything below a path in a bucket."""
    for path in out.rglob("*"):
        file = target / path.relative_to(out)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.read_bytes())
    return target


def left_in_scratch() -> list[Path]:
    return list(scratch_folder().iterdir())
