"""Paths that are URLs: what is taken, what is refused, and that no signature or password is shown or stored."""

from __future__ import annotations

import os
import pickle
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core import InputError, ObjectPath, RunError, WebPath, input_path, is_below, media_path, plain_url
from render.core.secrets import without_secrets

SIGNED = "https://Host/a/b.csv.gz?X-Amz-Signature=5f//3a&Expires=1"


def test_an_address_is_a_path() -> None:
    path = input_path(SIGNED)
    assert isinstance(path, WebPath)
    assert (path.name, path.suffix, path.stem) == ("b.csv.gz", ".gz", "b.csv")
    assert str(path.parent / "c.png") == "https://host/a/c.png"
    assert path.parent == input_path("https://host/a/")
    assert path.url == SIGNED.replace("Host", "host")
    assert (path.is_dir(), path.absolute()) == (False, path)
    with pytest.raises(TypeError):
        os.stat(path)


def test_a_query_is_carried_but_not_shown() -> None:
    path = input_path(SIGNED)
    assert isinstance(path, WebPath)
    assert f"{path} {path!r} {path.name}" == "https://host/a/b.csv.gz?… WebPath('https://host/a/b.csv.gz?…') b.csv.gz"
    again = pickle.loads(pickle.dumps(path))
    assert (again, again.url, hash(again)) == (path, path.url, hash(path))
    assert path != input_path("https://host/a/b.csv.gz?X-Amz-Signature=other")


@pytest.mark.parametrize(
    "text",
    [
        "file:///etc/passwd",
        "ftp://host/a",
        "gopher://host/a",
        "https://",
        "https://?a",
        "https://host/../a",
        "https://host/%2e%2e/a",
        "https://host/a/x%2f..%2f..%2fb",
        "https://host/a/..%2Fb",
        "https://host/a/..%5cb",
        "https://host/a/%252e%252e/b",
        "https://host/a/%25252e%25252e%25252fb",
        "https://host/a/..;x/b",
        "https://host/a/..%20/b",
        "https://host/a/b%00.png",
        f"https://host/a/%{'25' * 100_000}2e",
        "https://host/a b",
        "https://host/a\\b",
        "https://host/a#b",
        "https://host:port/a",
        "https://ho\nst/a",
        "https://user:pass@host/a",
        "s3://bucket",
    ],
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="required https://HOST/PATH") as error:
        input_path(text)
    assert "pass@" not in str(error.value)


@given(st.text(min_size=1).filter(lambda text: "/" not in text and "@" not in text))
def test_no_address_shows_its_password(password: str) -> None:
    with pytest.raises(ValueError, match=r"got 'https://…@host/out'.*~/\.netrc"):
        input_path(f"https://user:{password}@host/out")


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_no_error_shows_a_query(kind: type[Exception]) -> None:
    error = kind(f"target {SIGNED!r}: required a file, got https://u:pw@host/x?a=b and {SIGNED}")
    shown = "".join(traceback.format_exception(error))
    assert "5f//3a" not in shown
    assert "pw" not in shown
    assert shown.endswith(
        "target 'https://Host/a/b.csv.gz?…': required a file, got https://…@host/x?… and https://Host/a/b.csv.gz?…\n"
    )


def test_texts_without_urls_stay_as_they_are() -> None:
    text = "row 3: required a text, got 'who? me@home: a/b?'"
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    ("root", "cell", "path"),
    [
        ("/data", "a/b.png", "/data/a/b.png"),
        ("https://host/a", "b c?.png", "https://host/a/b%20c%3F.png"),
        ("https://host/a", "ü%20x.png", "https://host/a/%C3%BC%20x.png"),
        ("s3://bucket/a", "b.png", "s3://bucket/a/b.png"),
        ("/data", "https://host/b.png", "https://host/b.png"),
    ],
)
def test_a_cell_names_a_file(root: str, cell: str, path: str) -> None:
    assert str(media_path(input_path(root), cell)) == path


@pytest.mark.parametrize("root", ["https://host/a", "s3://bucket/a"])
@pytest.mark.parametrize(
    "cell", ["../b.png", "/b.png", "x/../../b.png", "%2e%2e/b.png", "x%2f..%2f..%2fb.png", "file:///etc/passwd"]
)
def test_no_cell_leaves_a_folder_at_a_url(root: str, cell: str) -> None:
    if root.startswith("s3") and "%2" in cell:
        assert str(media_path(input_path(root), cell)) == f"s3://bucket/a/{cell}"  # a name like any other
        return
    with pytest.raises(ValueError, match="required"):
        media_path(input_path(root), cell)


def test_a_url_that_is_stored_has_no_query() -> None:
    with pytest.raises(ValueError, match="a signature would be stored") as error:
        plain_url("https://host/a.png?sig=secret")
    assert "secret" not in str(error.value)
    with pytest.raises(ValueError, match="a URL without a query"):
        plain_url("a.png")


@pytest.mark.parametrize(
    ("path", "folder", "below"),
    [
        ("https://host/a/b.png", "https://host/a", True),
        ("https://HOST/a/b.png", "https://host/a/", True),
        ("https://host/ab.png", "https://host/a", False),
        ("https://host/a", "https://host/a", False),
        ("http://host/a/b.png", "https://host/a", False),
        ("https://host:8443/a/b.png", "https://host/a", False),
        ("https://host.evil.com/a/b.png", "https://host/a", False),
        ("s3://bucket/a/b.png", "s3://bucket/a", True),
        ("s3://other/a/b.png", "s3://bucket/a", False),
    ],
)
def test_below(path: str, folder: str, below: bool) -> None:
    assert is_below(input_path(path), input_path(folder)) is below


def test_local_paths_and_buckets_are_what_they_were() -> None:
    assert input_path("a/b.csv") == Path("a/b.csv")
    assert input_path(Path("s3://bucket/a")) == ObjectPath.parse("s3://bucket/a")
