"""A proxy in front of a server of another process: it notes requests and makes faults on demand."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import NamedTuple

__all__ = ["Asked", "Proxy", "proxy_to"]

OF_THE_WAY = {"transfer-encoding", "connection", "content-length", "keep-alive"}  # headers of one connection


class Asked(NamedTuple):
    """One request."""

    number: int  # from 0
    method: str
    path: str  # with its query


Fault = Callable[
    [Asked], str
]  # "", or: a status such as 503, cut (nothing is done), lose (done, but the answer is lost),
# half (half of the answer's body, then nothing), flip (another byte in the answer's body)


@dataclass
class Proxy:
    """What passed, and what is to go wrong."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    fault: Fault = lambda _: ""
    lock: Lock = field(default_factory=Lock)

    def begin(self, fault: Fault = lambda _: "") -> None:
        """Forget the requests so far, and do to those that come what `fault` says."""
        with self.lock:
            self.asked.clear()
            self.fault = fault

    def next(self, method: str, path: str) -> str:
        with self.lock:
            self.asked.append(Asked(len(self.asked), method, path))
            return self.fault(self.asked[-1])


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    """Give a proxy on loopback to the server at a port there."""
    proxy = Proxy()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy, port)) as server:
        proxy.port = server.server_port
        Thread(target=lambda: server.serve_forever(poll_interval=0.01), daemon=True).start()
        yield proxy
        server.shutdown()


def _handler(proxy: Proxy, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None: ...

        def _pass_on(self) -> None:
            body = self._body()
            fault = proxy.next(self.command, self.path)
            if fault == "cut":
                self._cut()
            elif fault.isdigit():
                self._answer(int(fault), [], b"")
            else:
                self._forward(body, fault)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_PATCH = _pass_on  # noqa: N815

        def _body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _forward(self, body: bytes, fault: str) -> None:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in OF_THE_WAY}
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
                found = connection.getresponse()
                data, status, pairs = found.read(), found.status, found.getheaders()
            finally:
                connection.close()
            if fault == "lose":
                self._cut()
            else:
                self._answer(status, pairs, data, fault)

        def _answer(self, status: int, pairs: list[tuple[str, str]], data: bytes, fault: str = "") -> None:
            data = data[:-1] + bytes([data[-1] ^ 1]) if fault == "flip" and data else data
            self.send_response_only(status)
            stated = next((value for name, value in pairs if name.lower() == "content-length"), str(len(data)))
            for name, value in pairs:
                if name.lower() not in OF_THE_WAY:
                    self.send_header(name, value)
            self.send_header("Content-Length", stated if self.command == "HEAD" else str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if fault == "half" else data)
            if fault == "half":
                self._cut()

        def _cut(self) -> None:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler
