"""Addresses of Ray clusters at which nothing answers: an error within seconds, before anything starts."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Thread

import pytest

from render import JobError, plan_job, run_job
from render.prepare.address import check_address, why_unreachable


@pytest.fixture
def server() -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield server


SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # the frame with which an HTTP/2 server, such as Ray's, begins (RFC 9113)


def answer(server: socket.socket, says: bytes) -> int:
    """Let a server say something to whoever connects; returns its port."""
    server.listen()

    def serve() -> None:
        with suppress(OSError), ExitStack() as links:  # they stay open as long as the server does
            while True:
                links.enter_context(server.accept()[0]).sendall(says)

    Thread(target=serve, daemon=True).start()
    port: int = server.getsockname()[1]
    return port


def test_an_address_at_which_ray_answers(server: socket.socket) -> None:
    port = answer(server, SETTINGS)
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", f"localhost:{port}"):
        check_address(address)


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_answers(server: socket.socket, says: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.prepare.address.WAIT_S", 0.2)
    with pytest.raises(JobError, match="something answers there, but it is not Ray"):
        check_address(f"127.0.0.1:{answer(server, says)}")
    monkeypatch.setenv("RAY_USE_TLS", "1")  # then it greets in TLS
    check_address(f"127.0.0.1:{server.getsockname()[1]}")


@pytest.mark.parametrize("address", [None, "auto", "local"])
def test_addresses_that_ray_finds_out_itself(address: str | None) -> None:
    assert why_unreachable(address) == ""


@pytest.mark.parametrize("address", ["", "x", "x:0", "x:99999", "http://x:1", "x:1/", "a b:1", "${x}", "x" * 6000])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(JobError) as caught:
        check_address(address)
    assert "required the address HOST:PORT of a running Ray cluster, or auto inside one" in str(caught.value)
    assert "no HOST:PORT" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_run_and_plan_are_refused_within_seconds(server: socket.socket, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt\na cat\n")
    address = f"127.0.0.1:{server.getsockname()[1]}"  # bound, and nobody listens
    job = (f"output={tmp_path / 'out'}", f"workers.address={address}", "workers.count=1", "workers.cpus=1")
    begin = time.monotonic()
    with pytest.raises(JobError, match="nothing answers there: connection refused"):
        run_job(tmp_path / "m.csv", *job)
    assert time.monotonic() - begin < 30
    assert not (tmp_path / "out").exists()
    with pytest.raises(JobError, match="nothing answers there: connection refused"):
        plan_job(tmp_path / "m.csv", *job)


def test_a_host_that_says_nothing_is_waited_for_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []

    def connect(place: tuple[str, int], timeout: float) -> socket.socket:
        waits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", connect)
    assert why_unreachable("[fe80::1]:6379") == "nothing answers there: timed out"
    assert waits == [3.0]
