"""Inputs behind URLs: fetched once, checked each time, within bounds; every fault is an error with its reason."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import boto3
import pytest
from buckets import Server
from web_server import SIGNATURE, Web, fetched, kept_files

from render.core import (
    ObjectPath,
    input_cache,
    input_path,
    local_file,
    local_files,
    local_folder,
    scratch_folder,
    user_cache,
)

pytest_plugins = ["web_server", "buckets"]

DATA = bytes(range(256)) * 400
MOST = 2**20


def test_a_file_is_fetched_once(site: Web) -> None:
    site.files["/x/a b.bin"] = DATA
    path = input_path(site.url("/x/a%20b.bin"))
    site.files["/x/a%20b.bin"] = DATA
    file = local_file(path, MOST)
    assert (file.read_bytes(), file.name) == (DATA, "a_20b.bin")
    assert file.resolve().name == hashlib.sha256(DATA).hexdigest()  # as the hub's cache has it: see known_sha256
    site.asked.clear()
    assert local_file(path, MOST) == file
    assert [one.headers.get("If-None-Match", "")[:1] for one in site.asked] == ['"']
    site.asked.clear()
    assert local_file(path, MOST, hashlib.sha256(DATA).hexdigest()) == file
    assert site.asked == []


def test_copies_are_nobody_elses(site: Web) -> None:
    """Also in a folder that an earlier version has made for all to read."""
    site.files["/a.bin"] = DATA
    user_cache("inputs").mkdir(parents=True, mode=0o755)
    user_cache("inputs").chmod(0o755)
    assert fetched(site) == DATA
    assert user_cache("inputs").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changes_is_fetched_again(site: Web, etags: bool) -> None:
    site.etags = etags
    for data in (b"one", b"two", b"two"):
        site.files["/a.bin"] = data
        assert fetched(site) == data


def test_another_query_is_another_file(site: Web) -> None:
    """Also where a server gives all of them one ETag."""
    site.etags, site.headers = False, {"ETag": '"same"'}
    site.files["/a.bin"] = b"one"
    assert fetched(site, query="id=1") == b"one"
    site.files["/a.bin"] = b"two"
    assert fetched(site, query="id=2") == b"two"


def test_two_queries_of_an_address_are_kept_side_by_side(site: Web) -> None:
    """As two LoRAs have them; none is fetched again because of the other."""
    site.files["/a.bin"] = b"one"
    assert fetched(site, query="id=1") == b"one"
    site.files["/a.bin"] = b"two"
    assert fetched(site, query="id=2") == b"two"
    site.asked.clear()
    site.fault = lambda *_: "304"
    assert [fetched(site, query=query) for query in ("id=1", "id=2", "id=1")] == [b"one", b"two", b"one"]
    assert all(one.headers.get("If-None-Match") for one in site.asked)


def test_the_cache_is_for_its_user_alone(site: Web, bucket: ObjectPath) -> None:
    root = user_cache("inputs")
    root.mkdir(parents=True)
    root.chmod(0o755)  # as earlier versions made it
    site.files["/a.bin"] = DATA
    put(bucket, "a.bin", DATA[::-1])
    before = os.umask(0)
    try:
        fetched(site)
        local_file(bucket / "a.bin", MOST)
    finally:
        os.umask(before)
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) == 2 * 3  # the file, its entry, its lock
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_damaged_copy_is_fetched_again(site: Web, damage: str) -> None:
    site.files["/a.bin"] = DATA
    blob = local_file(input_path(site.url("/a.bin")), MOST).resolve()
    blob.unlink() if damage == "missing" else blob.write_bytes(b"short")
    assert fetched(site) == DATA


def test_a_cache_that_cannot_be_written_is_no_error(site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in the way").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in the way"))
    site.files["/a.bin"] = DATA
    assert fetched(site) == DATA
    shutil.rmtree(scratch_folder() / "inputs")  # where it lies, until this process ends


def test_a_full_disk_is_one_line(site: Web) -> None:
    site.files["/a.bin"] = DATA
    with (
        patch.object(input_cache, "sync", side_effect=OSError(28, "No space left on device")),
        pytest.raises(
            OSError, match=r"/a\.bin: required room in .*inputs, got No space left on device \(XDG_CACHE_HOME"
        ),
    ):
        fetched(site)


def test_no_signature_is_kept(site: Web) -> None:
    site.files["/a.bin"] = DATA
    fetched(site, query=SIGNATURE)
    assert any("a.bin" in path.read_text("utf-8") for path in kept_files() if path.suffix == ".json")
    assert not any(b"TESTONLY" in path.read_bytes() or "TESTONLY" in str(path) for path in kept_files())
    stored = input_path(str(input_path(site.url("/a.bin", SIGNATURE))))  # as a job of ours has it
    site.asked.clear()
    assert local_file(stored, MOST).read_bytes() == DATA
    assert site.asked == []
    with pytest.raises(FileNotFoundError, match="a query is not stored; give the whole address again"):
        local_file(input_path(site.url("/other.bin") + "?…"), MOST)


def test_many_files_are_fetched_at_a_time(site: Web) -> None:
    site.files |= {f"/{number}": str(number).encode() for number in range(40)}
    paths = [input_path(site.url(f"/{number}")) for number in range(41)]
    found = local_files(paths, MOST)
    assert [file.read_bytes() for file in found.values() if isinstance(file, Path)] == [b"%d" % n for n in range(40)]
    assert isinstance(found[paths[40]], FileNotFoundError)


# Buckets.


def put(bucket: ObjectPath, name: str, data: bytes) -> None:
    boto3.client("s3").put_object(Bucket=bucket.parts[1], Key=f"out/{name}", Body=data)


def test_an_object_is_fetched_once(bucket: ObjectPath, server: Server, site: Web) -> None:
    for data in (b"one", b"two"):
        put(bucket, "a.bin", data)
        assert local_file(bucket / "a.bin", MOST).read_bytes() == data
        server.begin()
        assert local_file(bucket / "a.bin", MOST).read_bytes() == data
        assert [request.method for request in server.requests] == ["HEAD"]
        server.begin()
        assert local_file(bucket / "a.bin", MOST, hashlib.sha256(data).hexdigest()).read_bytes() == data
        assert server.requests == []


def test_an_object_that_changes_while_it_is_read_is_read_again(bucket: ObjectPath, site: Web) -> None:
    put(bucket, "a.bin", b"one")
    download: Callable[[ObjectPath, Path], None] = ObjectPath.download

    def slow(self: ObjectPath, target: Path) -> None:
        download(self, target)
        put(bucket, "a.bin", b"two")

    with patch.object(ObjectPath, "download", slow):
        assert local_file(bucket / "a.bin", MOST).read_bytes() == b"two"
    assert local_file(bucket / "a.bin", MOST).read_bytes() == b"two"


@pytest.mark.parametrize(
    ("fault", "words"), [("deny", "got 403|got AccessDenied"), ("", "required an object, got none of this name")]
)
def test_an_object_that_cannot_be_read(bucket: ObjectPath, server: Server, site: Web, fault: str, words: str) -> None:
    server.begin(lambda _: fault)
    with pytest.raises(OSError, match=words):
        local_file(bucket / "none.bin", MOST)


def test_an_object_that_is_too_large_is_not_fetched(bucket: ObjectPath, server: Server, site: Web) -> None:
    put(bucket, "a.bin", DATA)
    server.begin()
    with pytest.raises(OSError, match="required at most 1,000 bytes, got 102,400"):
        local_file(bucket / "a.bin", 1000)
    assert [request.method for request in server.requests] == ["HEAD"]


def test_a_folder_is_links_to_its_files(bucket: ObjectPath, server: Server, site: Web) -> None:
    names = ["a.json", "unet/b.json", "unet/c.bin", "d.txt"]
    for name in names:
        put(bucket, name, name.encode())
    folder = local_folder(bucket, lambda name: name.endswith(".json"), MOST)
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == ["a.json", "unet/b.json"]
    assert (folder / "unet" / "b.json").read_text() == "unet/b.json"
    server.begin()
    assert local_folder(bucket, lambda name: name.endswith(".json"), MOST) == folder
    assert [request.method for request in server.requests] == ["GET"]  # one list
    put(bucket, "a.json", b"changed")
    changed = local_folder(bucket, lambda name: name.endswith(".json"), MOST)
    assert ((changed / "a.json").read_bytes(), (folder / "a.json").read_bytes()) == (b"changed", b"a.json")
    with pytest.raises(FileNotFoundError, match="required a folder of files, got none that fits"):
        local_folder(bucket, lambda _: False, MOST)
