"""A real head of a Ray cluster on loopback, with its dashboard and a token, for the tests of a module.

Test files name this module in `pytest_plugins` and import its functions first, which pytest would take for a mistake:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from stores import wait_until

from render.cluster.guardian import MARK, end_processes
from render.core import JobError
from render.submit import connect

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 2


@dataclass(frozen=True)
class Head:
    """A head that runs."""

    address: str  # of its dashboard
    gcs: str  # HOST:PORT, where nodes join
    folder: Path  # of its files; its name marks its processes
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def start_node(head: Head, *options: str) -> None:
    """Start a part of a cluster; it goes with the fixture."""
    ports = {
        name: str(free_port()) for name in ("--node-manager-port", "--object-manager-port", "--metrics-export-port")
    }
    ports["--dashboard-agent-listen-port"] = str(free_port())
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, "--object-store-memory=80000000"]
    command += ["--node-ip-address=127.0.0.1", *(f"{name}={port}" for name, port in ports.items())]
    log = head.folder / "said"
    with log.open("a") as said:
        done = subprocess.run(
            command, env=head.environment, cwd=head.folder, stdout=said, stderr=said, check=False, timeout=120
        )
    assert done.returncode == 0, log.read_text()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head of two cores that lets in who has TOKEN, as its user's file of tokens does here."""
    folder = Path(tempfile.mkdtemp(prefix="rh", dir="/tmp"))
    home = tmp_path_factory.mktemp("home")
    own = {"HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "TMPDIR": str(folder)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    places = {"PATH": path, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    loopback = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", MARK: str(folder)}
    started = Head(
        f"http://127.0.0.1:{free_port()}",
        f"127.0.0.1:{free_port()}",
        folder,
        {**os.environ, **own, **places, **loopback, "HF_HUB_OFFLINE": "1"},
    )
    try:
        port, dashboard = started.gcs.rpartition(":")[2], started.address.rpartition(":")[2]
        start_node(
            started,
            "--head",
            "--include-dashboard=true",
            f"--port={port}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard}",
            f"--ray-client-server-port={free_port()}",
            f"--temp-dir={folder}/t",
            "--num-cpus=2",
        )
        with token(TOKEN):
            wait_until(lambda: answers(started.address), "an answer of the dashboard")
            yield started
    finally:
        end_processes(folder)
        shutil.rmtree(folder, ignore_errors=True)


def answers(address: str) -> bool:
    try:
        return bool(connect(address).nodes())
    except JobError:
        return False


@contextmanager
def token(value: str, home: Path | None = None) -> Iterator[None]:
    """Have Ray's client find this token and no other; with "" none, if there is none in `home` either.

    The mode is what a new process has, whatever Ray was started in this one.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH_")}
    own = ({"RAY_AUTH_TOKEN": value} if value else {}) | ({"HOME": str(home)} if home else {})
    with patch.dict(os.environ, kept | own, clear=True):
        _read_environment()
        yield
    _read_environment()


def _read_environment() -> None:
    """Have Ray's library look again at what it has read when it was loaded."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
