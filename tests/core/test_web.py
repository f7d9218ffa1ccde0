"""Downloads from the web: what servers do wrong, and where no request may go."""

from __future__ import annotations

import gc
import gzip
import socket
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from web_server import SIGNATURE, Web, fetched, kept_files

from render.core import input_path, local_file, web, web_request

pytest_plugins = ["web_server"]

DATA = bytes(range(256)) * 400
MOST = 2**20


# Answers that are not what they say.


def test_a_trickle_is_noticed_before_a_block_is_full(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SLOW_S", 0.05)
    site.files["/a.bin"] = DATA
    site.fault = lambda *_: "drip"
    with pytest.raises(TimeoutError, match="required 1,024 bytes a second, got fewer"):
        fetched(site)
    assert len(site.asked) == 1


def test_a_fast_beginning_makes_up_for_no_trickle(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 61.0, 61.0, 122.0])  # the beginning, then after each read
    monkeypatch.setattr(web, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    pace = web._Pace(input_path("https://host/a"))  # type: ignore[arg-type]
    pace.check(2**30)
    pace.check(1)
    with pytest.raises(TimeoutError):
        pace.check(1000)


@pytest.mark.parametrize("name", ["/a.csv", "/a.csv.gz"])
def test_what_is_packed_is_never_gone_on_with(site: Web, name: str) -> None:
    site.files[name], site.headers = gzip.compress(DATA), {"Content-Encoding": "gzip"}
    site.fault = lambda number, _: "half" if number < 2 else ""
    assert fetched(site, name) == (site.files[name] if name.endswith(".gz") else DATA)
    assert [one.headers.get("Range") for one in site.asked] == [None] * 3
    assert {one.headers["Accept-Encoding"] for one in site.asked} == {"identity"}


@pytest.mark.parametrize(
    "rest",
    [
        {"status": "416"},
        {"Content-Range": "bytes 0-99/102400"},
        {"Content-Range": ""},
        {"Content-Range": "bytes 51200-102399/999999"},
        {"Content-Encoding": "gzip"},
        {"ETag": '"another"'},
        {"ETag": ""},
    ],
)
def test_a_rest_of_something_else_begins_anew(site: Web, rest: dict[str, str]) -> None:
    """A server may ignore If-Range: then a file that changed meanwhile would be a mix of both."""
    site.files["/a.bin"], site.rest_headers = DATA, rest
    site.fault = lambda number, _: "half" if number == 0 else ""
    assert fetched(site) == DATA
    assert [bool(one.headers.get("Range")) for one in site.asked] == [False, True, False]


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_a_file_that_changes_between_two_tries_is_whole(site: Web, ignores_if_range: bool) -> None:
    site.ignores_if_range = ignores_if_range
    site.files["/a.bin"] = DATA

    def fault(number: int, _: str) -> str:
        if number == 1:
            site.files["/a.bin"] = DATA[::-1]
        return "" if number else "half"

    site.fault = fault
    assert fetched(site) == DATA[::-1]


@pytest.mark.parametrize("status", ["206", "304", "416"])
def test_an_answer_to_another_question_is_an_error(site: Web, status: str) -> None:
    site.files["/a.bin"] = DATA
    site.fault = lambda *_: status
    with pytest.raises(OSError, match=f"required a file, got {status}"):
        fetched(site)


@pytest.mark.parametrize("size", [len(DATA) + 1, 2 * len(DATA)])
def test_a_body_that_ends_too_early_is_no_file(site: Web, size: int) -> None:
    site.files["/a.bin"], site.headers, site.etags = DATA, {"Content-Length": str(size), "Connection": "close"}, False
    with pytest.raises(ConnectionError, match="required a whole file, got"):
        fetched(site)
    assert kept_files() == []


@pytest.mark.parametrize("stated", ["-1", "²", "abc", "9" * 5000])
def test_a_size_that_is_none_says_nothing(site: Web, stated: str) -> None:
    site.files["/a.bin"], site.headers = DATA, {"Content-Length": stated, "Connection": "close"}
    assert fetched(site) == DATA


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3 leaves its socket
def test_two_sizes_are_an_error(site: Web) -> None:
    site.files["/a.bin"], site.headers = DATA, {"Content-Length": "1, 2", "Connection": "close"}
    with pytest.raises(OSError, match=r"/a\.bin: required an answer with headers that are right, got InvalidHeader"):
        fetched(site)
    gc.collect()


def test_an_empty_page_is_no_file(site: Web) -> None:
    site.files["/a.csv"], site.headers = b"", {"Content-Type": "text/html"}
    with pytest.raises(OSError, match="got an HTML page"):
        fetched(site, "/a.csv")


@pytest.mark.parametrize(
    ("asked", "pause_s"),
    [("3", 3.0), ("99999", 30.0), ("Wed, 21 Oct 2099 07:28:00 GMT", 30.0), ("soon", 0.0), ("²", 0.0)],
)
def test_a_server_says_when_to_come_again(
    site: Web, monkeypatch: pytest.MonkeyPatch, asked: str, pause_s: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(web, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append))
    site.files["/a.bin"], site.retry_after = DATA, asked
    site.fault = lambda number, _: ("429", "503", "")[number]
    assert fetched(site) == DATA
    assert pauses == [pause_s] * 2


# Connections and redirects.


def test_files_of_a_host_share_a_connection(site: Web) -> None:
    for number in range(5):
        site.files[f"/{number}"] = DATA
        assert fetched(site, f"/{number}") == DATA
    assert len({one.port for one in site.asked}) == 1


def test_no_cookie_goes_to_another_file(site: Web) -> None:
    site.files |= {"/a.bin": DATA, "/b.bin": DATA}
    site.headers = {"Set-Cookie": "session=1; Path=/"}
    fetched(site)
    fetched(site, "/b.bin")
    assert [one.headers.get("Cookie") for one in site.asked] == [None, None]


def test_no_password_follows_a_redirect_to_another_host(
    site: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    site.files["/b.bin"] = DATA
    site.fault = lambda _, path: f"to http://localhost:{site.host.rpartition(':')[2]}/b.bin" if path == "/a.bin" else ""
    assert fetched(site) == DATA
    assert ["Authorization" in one.headers for one in site.asked] == [True, False]
    assert "Referer" not in site.asked[1].headers


@pytest.mark.parametrize("host", ["[64:ff9b::a9fe:a9fe]", "[2002:a9fe:a9fe::]"])
def test_no_detour_leads_to_credentials(host: str) -> None:
    with pytest.raises(PermissionError, match=r"got the address 169\.254\.169\.254"):
        local_file(input_path(f"http://{host}/latest"), MOST)


# Faults that pass, and those that stay.


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
    assert kept_files() == []


def test_a_server_that_stalls_is_given_up(site: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_request, "READ_S", 0.1)
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
        patch.object(web_request, "_check_address", side_effect=[True, False]),
        pytest.raises(PermissionError, match="got a redirect into a private network"),
    ):
        fetched(site)
    with patch.object(socket, "getaddrinfo", return_value=found):
        assert web_request._check_address(input_path("http://host/a"), "http://host/a")  # type: ignore[arg-type]
    assert not web_request._check_address(input_path("http://10.0.0.1/a"), "http://10.0.0.1/a")  # type: ignore[arg-type]


def test_a_redirect_is_followed(site: Web) -> None:
    site.files["/b.bin"] = DATA
    site.fault = lambda _, path: "to b.bin" if path == "/a.bin" else ""
    assert fetched(site) == DATA


def test_no_redirect_leaves_tls() -> None:
    path = input_path("https://host/a")
    with pytest.raises(PermissionError, match="required redirects to https, got a redirect to http:"):
        web_request._moved(path, "https://host/a", "http://host/b")  # type: ignore[arg-type]


@pytest.mark.parametrize("stated", [True, False])
def test_a_file_that_is_too_large_is_refused(site: Web, stated: bool) -> None:
    site.files["/a.bin"] = DATA
    site.headers = {} if stated else {"Content-Length": "", "Connection": "close"}
    with pytest.raises(OSError, match=r"required at most 1,000 bytes, got (102,400|more)"):
        fetched(site, most=1000)
    assert kept_files() == []


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
