"""Google Cloud Storage and Azure Blob Storage: what `test_s3.py` asks of S3, against servers that others wrote."""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Barrier
from typing import Any
from unittest.mock import patch

import pytest
from fault_proxy import Asked, Proxy
from other_buckets import KEY, fresh_bucket

from render.core import ObjectPath, create_exclusively, local_file, local_folder, write_atomically

pytest_plugins = ["other_buckets", "web_server"]


@pytest.mark.parametrize("fault", ["503", "cut", "lose"])
def test_a_request_that_fails_once_creates_it_all_the_same(other_bucket: ObjectPath, proxy: Proxy, fault: str) -> None:
    """Also when it was done and the answer was lost: the second request then finds the slot taken, by itself."""
    writes = []

    def first(asked: Asked) -> str:
        writes.extend([asked] * (asked.method in ("PUT", "POST")))
        return fault if writes == [asked] else ""

    proxy.begin(first)
    assert create_exclusively(other_bucket / "slot", "mine")
    assert len(writes) == 2
    assert not create_exclusively(other_bucket / "slot", "other")
    assert (other_bucket / "slot").read_text() == "mine"


@pytest.mark.long
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # Google's library leaves sockets of faults
@pytest.mark.parametrize("fault", ["503", "cut", "half"])
def test_reading_goes_on_after_a_fault(other_bucket: ObjectPath, proxy: Proxy, fault: str) -> None:
    data = os.urandom(2**20)
    write_atomically(other_bucket / "a", data)
    for number in range(2):

        def once(asked: Asked, number: int = number) -> str:
            return fault if asked.number == number else ""

        proxy.begin(once)
        with (other_bucket / "a").open("rb") as file:
            assert file.read() == data
        assert (other_bucket / "a").read_bytes() == data
        assert sorted(path.name for path in other_bucket.iterdir()) == ["a"]


def test_bytes_that_change_on_the_way_are_asked_for_again(google: Proxy, tmp_path: Path) -> None:
    """Google's library raises DataCorruption at once, which is no kind of OSError."""
    with fresh_bucket("gs", google) as bucket:
        write_atomically(bucket / "a", b"abc")
        reads = ((bucket / "a").read_bytes, lambda: (bucket / "a").download(tmp_path / "a"))
        for read in reads:
            google.begin(lambda _: "flip")
            with pytest.raises(ConnectionError, match=r"gs://.*/a: required the bytes that the store has, got others"):
                read()
            google.begin(lambda asked: "flip" if asked.number == 0 else "")
            read()
            assert len(google.asked) == 2
        google.begin()
    assert (tmp_path / "a").read_bytes() == b"abc"


def test_a_store_that_overwrites_is_found_out(other_bucket: ObjectPath) -> None:
    module = import_module(f"render.core.{other_bucket.parts[0][:-1]}")
    kind = getattr(module, {"gs": "GoogleBucket", "az": "AzureBucket"}[other_bucket.parts[0][:-1]])

    def overwrite(self: Any, key: str, data: bytes) -> bool:
        (other_bucket / "source").unlink()
        path = ObjectPath(*other_bucket.parts[:2], *key.split("/"))
        write_atomically(path, data)
        return True

    with patch.object(kind, "create", overwrite):
        assert not other_bucket.check(writes=True)


def test_the_probe_finds_exclusive_creation(other_bucket: ObjectPath) -> None:
    assert other_bucket.check(writes=True)
    assert list(other_bucket.rglob("*")) == []


def test_one_of_many_replaces_what_it_has_seen(other_bucket: ObjectPath) -> None:
    slot, barrier = other_bucket / "slot", Barrier(4)
    assert not slot.replace_if(b"none", "0" if str(slot).startswith("gs") else '"0x1"') or str(slot).startswith("gs")
    slot.unlink()
    assert create_exclusively(slot, "first")
    facts = slot.facts()
    assert -5 < facts.age_s < 30
    assert abs(facts.written_s - time.time()) < 60

    def race(number: int) -> bool:
        barrier.wait()
        return slot.replace_if(str(number).encode(), facts.etag)

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(race, range(4)))
    assert sum(won) == 1
    assert slot.read_text() == str(won.index(True))
    assert slot.facts().etag != facts.etag
    assert not slot.replace_if(b"late", facts.etag)


@pytest.mark.parametrize("size", [11, pytest.param(70, marks=pytest.mark.long)])
def test_a_large_file_is_whole(other_bucket: ObjectPath, tmp_path: Path, size: int) -> None:
    data = os.urandom(size * 2**20)
    (tmp_path / "large.bin").write_bytes(data)
    (other_bucket / "large").upload(tmp_path / "large.bin")
    (other_bucket / "large").download(tmp_path / "back.bin")
    assert hashlib.sha256((tmp_path / "back.bin").read_bytes()).digest() == hashlib.sha256(data).digest()
    with (other_bucket / "large").open("rb") as file:
        for start, length in ((5, 100), (2**20, 2**18), (len(data) - 10, 20)):
            file.seek(start)
            assert file.read(length) == data[start : start + length]


def test_inputs_are_fetched_once(other_bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for data in (b"one", b"two"):
        write_atomically(other_bucket / "sub" / "a.txt", data)
        assert local_file(other_bucket / "sub" / "a.txt", 100).read_bytes() == data
        with patch.object(ObjectPath, "download", side_effect=AssertionError):
            assert local_file(other_bucket / "sub" / "a.txt", 100).read_bytes() == data
            assert (local_folder(other_bucket, lambda _: True, 100) / "sub" / "a.txt").read_bytes() == data


def test_no_such_bucket_and_no_rights(other_bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    none = ObjectPath.parse(f"{other_bucket.parts[0]}//no-such-bucket-here/out")
    began = time.monotonic()
    for writes in (False, True):
        with pytest.raises(OSError, match=r"(gs|az)://no-such-bucket-here/out.*required .*no such (bucket|container)"):
            none.check(writes)
    assert time.monotonic() - began < 10


def test_a_wrong_key_is_told_and_not_shown(azurite: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("azure.storage.blob")
    wrong = KEY.replace("Eby8", "AAAA")
    text = os.environ["AZURE_STORAGE_CONNECTION_STRING"].replace(KEY, wrong)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    _forget()
    with pytest.raises(PermissionError, match="wrong credentials") as error:
        ObjectPath.parse("az://some-container/out").check(writes=True)
    assert wrong not in str(error.value)
    for broken in ("nonsense", ""):
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", broken)
        _forget()
        with pytest.raises(OSError, match="AZURE_STORAGE_"):
            ObjectPath.parse("az://some-container/out").check(writes=True)
    _forget()


def _forget() -> None:
    from render.core.az import open_bucket

    open_bucket.cache_clear()


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("", PermissionError, "required credentials .*got none that can be used"),
        ("{nonsense", PermissionError, "required credentials .*got none that can be used"),
        (
            '{"type": "service_account", "private_key": "hunter2"}',
            PermissionError,
            "required credentials .*got none that",
        ),
        (
            '{"type": "authorized_user", "client_id": "a", "client_secret": "hunter2", "refresh_token": "hunter2",'
            ' "token_uri": "http://127.0.0.1:9/"}',
            ConnectionError,
            "an answer of Google's sign-in|an answer of the store",
        ),
    ],
)
def test_google_credentials_that_are_not_right(
    text: str, kind: type[OSError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that name no project, which a run does not need."""
    gs = pytest.importorskip("render.core.gs")
    (tmp_path / "key.json").write_text(text)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    for name in ("GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gs, "FIRST_TRY_S", 0.2)
    began = time.monotonic()
    with pytest.raises(kind, match=f"^gs://some-bucket.*{words}") as error:
        ObjectPath.parse("gs://some-bucket/out").check(writes=True)
    gs.open_bucket.cache_clear()
    assert time.monotonic() - began < 10
    assert "hunter2" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_server_that_is_not_there_is_known_within_seconds(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip({"gs": "google.cloud.storage", "az": "azure.storage.blob"}[scheme])
    text = f"DefaultEndpointsProtocol=http;AccountName=a;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/a;"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", text)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:1")
    module = import_module(f"render.core.{scheme}")
    monkeypatch.setattr(module, *{"gs": ("FIRST_TRY_S", 0.5), "az": ("FIRST_TRIES", 1)}[scheme])
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=f"^{scheme}://nowhere-here/out.*: required an answer of the store"):
        ObjectPath.parse(f"{scheme}://nowhere-here/out").check(writes=True)
    assert time.monotonic() - began < 15
