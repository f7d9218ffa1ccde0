"""A web server for tests, with faults on demand, and a cache folder of the test's own.

Test files name this module in `pytest_plugins` and import its functions first, which pytest would take for a mistake:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

from render.core import input_path, local_file, user_cache, web

SIGNATURE = "X-Amz-Signature=5f3a9c0ffee/TESTONLY+x=="  # of a signed address


@dataclass(frozen=True)
class Asked:
    """One request that the server got."""

    path: str  # with its query
    headers: dict[str, str]
    port: int = 0  # of the connection that it came by


Fault = Callable[[int, str], str]  # number of the request for this path, from 0; path → "" or one of: a status such as
# `500`, `to URL` (a redirect), half (of the body, then the connection is cut), cut (no answer), stall (half, then nothing),
# drip (byte by byte)


@dataclass
class Web:
    """Files at addresses, and what was asked for."""

    host: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # by path, such as /a.csv
    headers: dict[str, str] = field(default_factory=dict)  # of every answer with a file
    fault: Fault = lambda _number, _path: ""
    rest_headers: dict[str, str] = field(
        default_factory=dict
    )  # of the rest of a file; "" for none, `status` for the status
    retry_after: str = "0"  # of an answer that is a status
    etags: bool = True
    ignores_if_range: bool = False
    asked: list[Asked] = field(default_factory=list)
    ended: Event = field(default_factory=Event)

    def url(self, path: str, query: str = "") -> str:
        return f"http://{self.host}{path}" + (f"?{query}" if query else "")

    def paths(self) -> list[str]:
        """What was asked for since the last time."""
        paths = [one.path.partition("?")[0] for one in self.asked]
        self.asked.clear()
        return paths


def _handler(site: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            number = sum(one.path.partition("?")[0] == path for one in site.asked)
            site.asked.append(Asked(self.path, dict(self.headers), self.client_address[1]))
            fault = site.fault(number, path)
            if fault == "cut":
                self._cut()
            elif fault.startswith("to "):
                self._answer(302, b"", {"Location": fault[3:]})
            elif fault.isdigit():
                self._answer(int(fault), b"no", {"Retry-After": site.retry_after})
            elif path not in site.files:
                self._answer(404, b"no", {})
            else:
                self._file(site.files[path], fault)

        def _file(self, data: bytes, fault: str) -> None:
            etag = f'"{hashlib.md5(data).hexdigest()}"'
            extra = {**site.headers, **({"ETag": etag} if site.etags else {})}
            if self.headers.get("If-None-Match") == etag:
                self._answer(304, b"", extra)
                return
            start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if start and (self.headers.get("If-Range") == etag or site.ignores_if_range):
                first = int(start[1])
                extra["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
                extra |= site.rest_headers
                self._answer(int(extra.pop("status", "206")), data[first:], extra, fault)
            else:
                self._answer(200, data, extra, fault)

        def _answer(self, status: int, data: bytes, headers: dict[str, str], fault: str = "") -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                if value or name not in site.rest_headers:
                    self.send_header(name, value)
            self.end_headers()
            if status == 304:
                return
            if fault == "drip":
                self._drip(data)
                return
            self.wfile.write(data[: len(data) // 2] if fault else data)
            if fault == "stall":
                site.ended.wait(30)
            if fault:
                self._cut()

        def _drip(self, data: bytes) -> None:
            with suppress(OSError):  # the client has gone
                for byte in data:
                    self.wfile.write(bytes([byte]))
                    if site.ended.wait(0.01):
                        return

        def _cut(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


def fetched(site: Web, path: str = "/a.bin", query: str = "", most: int = 2**20) -> bytes:
    return local_file(input_path(site.url(path, query)), most).read_bytes()


def kept_files() -> list[Path]:
    """Files in the cache of inputs, but for locks."""
    return [path for path in user_cache("inputs").rglob("*") if path.is_file() and path.suffix != ".lock"]


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing: a client may end a connection that it kept."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server on loopback, and an empty cache of inputs; tries follow each other without pauses."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(web, "PAUSE_S", 0.0)
    found = Web()
    with _Server(("127.0.0.1", 0), _handler(found)) as server:
        found.host = f"127.0.0.1:{server.server_port}"
        Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True).start()
        yield found
        found.ended.set()
        server.shutdown()
