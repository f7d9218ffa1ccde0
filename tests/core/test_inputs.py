"""Inputs behind URLs: fetched once, checked each time, within bounds; every fault is an error with its reason."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import socket
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import boto3
import pytest
from buckets import Server
from web_server import SIGNATURE, Web

from render.core import (
    ObjectPath,
    input_path,
    inputs,
    local_file,
    local_files,
    local_folder,
    scratch_folder,
    user_cache,
    web,
)

pytest_plugins = ["web_server", "buckets"]

DATA = bytes(range(256)) * 400
MOST = 2**20


def fetched(site: Web, path: str = "/a.bin", query: str = "", most: int = MOST) -> bytes:
    return local_file(input_path(site.url(path, query)), most).read_bytes()


def cached() -> list[Path]:
    return [path for path in user_cache("inputs").rglob("*") if path.is_file() and path.suffix != ".lock"]


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
        patch.object(inputs, "sync", side_effect=OSError(28, "No space left on device")),
        pytest.raises(
            OSError, match=r"/a\.bin: required room in .*inputs, got No space left on device \(XDG_CACHE_HOME"
        ),
    ):
        fetched(site)


# Faults of the server.


@pytest.mark.parametrize("fault", ["500", "503", "429", "408", "cut", "half"])
def test_a_fault_that_passes_is_tried_again(site: Web, fault: str) -> None:
    site.files["/a.bin"] = DATA
    site.fault = lambda number, _: fault if number < 2 else ""
    assert fetched(site) == DATA
    assert len(site.asked) == 3


def test_an_answer_that_breaks_off_goes_on_where_it_stopped(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "CHUNK", 100)
    site.files["/a.bin"] = DATA
    site.fault = lambda number, _: "half" if number < 3 else ""
    assert fetched(site) == DATA
    starts = [int(one.headers["Range"].strip("bytes=-")) for one in site.asked[1:]]
    assert starts == [len(DATA) // 2, len(DATA) * 3 // 4, len(DATA) * 7 // 8]


def test_a_file_that_changes_between_two_tries_is_whole(site: Web) -> None:
    site.files["/a.bin"] = DATA

    def fault(number: int, _: str) -> str:
        if number == 1:
            site.files["/a.bin"] = DATA[::-1]
        return "" if number else "half"

    site.fault = fault
    assert fetched(site) == DATA[::-1]


@pytest.mark.parametrize(
    ("fault", "kind", "words", "asked"),
    [
        ("404", FileNotFoundError, "a file, got 404 Not Found (no such file)", 1),
        ("401", PermissionError, "a file, got 401 Unauthorized (user name and password belong into ~/.netrc)", 1),
        ("403", PermissionError, "a file, got 403 Forbidden (wrong credentials, an expired signature", 1),
        ("418", OSError, "a file, got 418", 1),
        ("500", ConnectionError, "a file, got 500 Internal Server Error (6 times)", 6),
        ("cut", ConnectionError, "a whole file, got ", 6),
        ("half", ConnectionError, "a whole file, got ", 6),
        ("to /a.bin", OSError, "a file, got more than 5 redirects", 6),
        ("to file:///etc/passwd", PermissionError, "redirects to http or https, got a redirect to file:", 1),
        (
            "to http://169.254.169.254/latest",
            PermissionError,
            "a server of files, got the address 169.254.169.254, where clouds keep",
            1,
        ),
        ("to http://2852039166/latest", PermissionError, "a server of files, got the address 169.254.169.254", 1),
        (
            "to http://[::ffff:169.254.169.254]/",
            PermissionError,
            "a server of files, got the address 169.254.169.254",
            1,
        ),
    ],
)
def test_a_fault_that_stays_is_an_error(site: Web, fault: str, kind: type[OSError], words: str, asked: int) -> None:
    site.etags = False  # every try begins anew
    site.files["/a.bin"] = DATA
    site.fault = lambda *_: fault
    with pytest.raises(OSError, match=r"^http://127") as error:
        fetched(site, query=SIGNATURE)
    shown = "".join(traceback.format_exception(error.value))
    assert isinstance(error.value, kind)
    assert f"/a.bin?…: required {words}" in shown
    assert "TESTONLY" not in shown
    assert len(site.asked) == asked
    assert cached() == []


def test_a_server_that_stalls_is_given_up(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "READ_S", 0.1)
    monkeypatch.setattr(web, "TRIES", 2)
    site.files["/a.bin"] = DATA
    site.fault = lambda *_: "stall"
    with pytest.raises(TimeoutError, match="required an answer, got ReadTimeout"):
        fetched(site)


def test_a_server_that_trickles_is_given_up(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SLOW_S", 0.0)
    monkeypatch.setattr(web, "SLOW_BYTES_S", 10**12)
    site.files["/a.bin"] = DATA
    with pytest.raises(TimeoutError, match="bytes a second, got fewer"):
        fetched(site)


@pytest.mark.parametrize("host", ["nowhere.invalid", "127.0.0.1:1"])
def test_no_server_is_known_within_seconds(site: Web, host: str) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"a host that is known|a server that answers"):
        local_file(input_path(f"http://{host}/a.bin"), MOST)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "0xa9fea9fe", "0.0.0.0", "[fd00:ec2::254]", "100.100.100.200", "[::]"]
)
def test_no_machine_is_asked_for_its_credentials(site: Web, host: str) -> None:
    with pytest.raises(PermissionError, match="where clouds keep the credentials"):
        local_file(input_path(f"http://{host}/latest/meta-data"), MOST)


def test_no_redirect_leads_from_the_web_into_a_private_network(site: Web) -> None:
    site.files["/a.bin"] = DATA
    site.fault = lambda number, _: "" if number else f"to {site.url('/a.bin')}"
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", 80))]
    with (
        patch.object(web, "_check_address", side_effect=[True, False]),
        pytest.raises(PermissionError, match="got a redirect into a private network"),
    ):
        fetched(site)
    with patch.object(socket, "getaddrinfo", return_value=found):
        assert web._check_address(input_path("http://host/a"), "http://host/a")  # type: ignore[arg-type]
    assert not web._check_address(input_path("http://10.0.0.1/a"), "http://10.0.0.1/a")  # type: ignore[arg-type]


def test_a_redirect_is_followed(site: Web) -> None:
    site.files["/b.bin"] = DATA
    site.fault = lambda _, path: "to b.bin" if path == "/a.bin" else ""
    assert fetched(site) == DATA


def test_no_redirect_leaves_tls() -> None:
    path = input_path("https://host/a")
    with pytest.raises(PermissionError, match="required redirects to https, got a redirect to http:"):
        web._moved(path, "https://host/a", "http://host/b")  # type: ignore[arg-type]


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_that_is_too_large_is_refused(site: Web, stated: bool) -> None:
    site.files["/a.bin"] = DATA
    site.headers = {} if stated else {"Content-Length": "", "Connection": "close"}
    with pytest.raises(OSError, match=r"required at most 1,000 bytes, got (102,400|more)"):
        fetched(site, most=1000)
    assert cached() == []


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"prompt\na cat", {"Content-Type": "text/html; charset=utf-8"}),
        (b"\n <!DOCTYPE html><html>", {}),
        (b"<html>", {"Content-Type": "text/csv"}),
    ],
)
def test_a_page_is_no_file(site: Web, data: bytes, headers: dict[str, str]) -> None:
    site.files["/a.csv"], site.headers = data, headers
    with pytest.raises(OSError, match="required a file, got an HTML page"):
        fetched(site, "/a.csv")


def test_what_is_packed_for_the_way_is_unpacked(site: Web) -> None:
    site.files["/a.csv"] = site.files["/a.csv.gz"] = gzip.compress(b"prompt\n")
    site.headers = {"Content-Encoding": "gzip"}
    assert fetched(site, "/a.csv") == b"prompt\n"
    assert fetched(site, "/a.csv.gz") == site.files["/a.csv.gz"]


def test_a_bomb_is_refused(site: Web) -> None:
    site.files["/a.csv"], site.headers = gzip.compress(b"0" * 2**24), {"Content-Encoding": "gzip"}
    with pytest.raises(OSError, match="required at most 1,048,576 bytes, got more"):
        fetched(site, "/a.csv")


def test_passwords_come_from_netrc(site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.files["/a.bin"] = DATA
    fetched(site)
    assert site.asked[0].headers["Authorization"].startswith("Basic ")


def test_no_signature_is_kept(site: Web) -> None:
    site.files["/a.bin"] = DATA
    fetched(site, query=SIGNATURE)
    assert any("a.bin" in path.read_text("utf-8") for path in cached() if path.suffix == ".json")
    assert not any(b"TESTONLY" in path.read_bytes() or "TESTONLY" in str(path) for path in cached())
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
