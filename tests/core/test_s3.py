"""Requests to a bucket: exclusive creation whatever is lost, bounds on trying again, whole uploads or none."""

from __future__ import annotations

import os
import pickle
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import boto3
import pytest
from buckets import SECRET, Request, Server, few_tries, left_in_scratch
from hypothesis import given
from hypothesis import strategies as st

from render.core import ObjectPath, any_path, create_exclusively, local_copy, publish, replacing, s3, write_atomically
from render.core.s3 import open_bucket

pytest_plugins = ["buckets"]


def once(name: str, method: str = "", query: str = "") -> Callable[[Request], str]:
    """A fault for the first request of a method, with something in its query."""
    done: list[Request] = []

    def fault(request: Request) -> str:
        if done or (method and request.method != method) or query not in request.query:
            return ""
        done.append(request)
        return name

    return fault


# Paths.


def test_a_path_in_a_bucket_is_a_path() -> None:
    path = any_path("s3://bucket/a/b") / "c.tar.gz"
    assert isinstance(path, ObjectPath)
    assert (str(path), path.name, path.suffix, str(path.parent)) == (
        "s3://bucket/a/b/c.tar.gz",
        "c.tar.gz",
        ".gz",
        "s3://bucket/a/b",
    )
    assert str(path.with_suffix(".x")) == "s3://bucket/a/b/c.tar.x"
    assert path.relative_to(any_path("s3://bucket/a")) == Path("b/c.tar.gz")
    again = pickle.loads(pickle.dumps(path))
    assert (again, type(again), hash(again)) == (path, ObjectPath, hash(path))
    assert any_path(Path("s3://bucket/a")) == any_path("s3://bucket/a")  # pathlib has dropped a slash


@pytest.mark.parametrize("touch", [os.stat, os.listdir, os.remove, open, Path.rename, Path.chmod])
def test_nothing_takes_it_for_a_local_path(touch: Callable[..., object], tmp_path: Path) -> None:
    arguments = {Path.rename: (tmp_path,), Path.chmod: (0o600,)}.get(touch, ())
    with pytest.raises(TypeError):
        touch(any_path("s3://bucket/a"), *arguments)


@pytest.mark.parametrize(
    "text",
    ["ftp://bucket/a", "s3://bucket", "s3://bucket/", "s3:///a", "s3://B/a", "s3://bucket/a/../b", "s3://bucket/a?x=1"],
)
def test_other_urls_are_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"required s3://BUCKET/PREFIX(, gs://BUCKET/PREFIX, az://BUCKET/PREFIX)?, got"
    ):
        any_path(text)


@given(st.text(min_size=1).filter(lambda text: "/" not in text and "@" not in text))
def test_no_url_shows_its_password(password: str) -> None:
    with pytest.raises(ValueError, match=r"got 's3://…@bucket/out'.*environment"):
        any_path(f"s3://user:{password}@bucket/out")


@pytest.mark.parametrize("mode", ["w", "wb", "a", "x", "r+"])
def test_nothing_is_streamed_into_an_object(bucket: ObjectPath, mode: str) -> None:
    with pytest.raises(OSError, match="required mode 'r' or 'rb'"):
        (bucket / "a").open(mode)


# Exclusive creation.


@pytest.mark.parametrize("fault", ["throttle", "cut", "lose"])
def test_a_request_that_fails_once_creates_it_all_the_same(bucket: ObjectPath, server: Server, fault: str) -> None:
    """Also when it was done and the answer was lost: the second request then finds the slot taken, by itself."""
    server.begin(once(fault, "PUT"))
    assert create_exclusively(bucket / "slot", "mine")
    assert len([request for request in server.requests if request.method == "PUT"]) == 2
    assert not create_exclusively(bucket / "slot", "other")
    assert (bucket / "slot").read_text() == "mine"


def test_a_conflict_is_tried_again(bucket: ObjectPath, server: Server) -> None:
    """S3 answers 409 while another writer of the key is at work."""
    server.begin(once("conflict", "PUT"))
    with few_tries(3):
        assert create_exclusively(bucket / "slot", "mine")
    assert len(server.requests) == 2


def test_a_store_that_overwrites_is_found_out(bucket: ObjectPath, server: Server) -> None:
    assert bucket.check(writes=True)
    server.ignores_conditions = True
    try:
        assert not bucket.check(writes=True)
    finally:
        server.ignores_conditions = False
    assert list(bucket.rglob("*")) == []


# Uploads.


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is uploaded in three parts."""
    monkeypatch.setattr(s3, "ONE_REQUEST_BYTES", 2**20)
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    open_bucket.cache_clear()
    file = tmp_path / "large.bin"
    file.write_bytes(os.urandom(11 * 2**20))
    return file


def uploads(bucket: ObjectPath) -> list[object]:
    found = boto3.client("s3").list_multipart_uploads(Bucket=bucket.parts[1])
    return list(found.get("Uploads", []))


def test_a_small_file_takes_one_request(bucket: ObjectPath, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    publish(tmp_path / "a", bucket / "a")
    assert [request.method for request in server.requests] == ["PUT"]
    assert (bucket / "a").read_bytes() == b"abc"
    assert not (tmp_path / "a").exists()


def test_a_large_file_goes_in_parts(bucket: ObjectPath, server: Server, large: Path) -> None:
    (bucket / "large").upload(large)
    assert len([r for r in server.requests if "partNumber" in r.query]) == 3
    assert (bucket / "large").read_bytes() == large.read_bytes()
    assert uploads(bucket) == []


def test_an_upload_whose_end_is_asked_for_twice_has_ended(bucket: ObjectPath, server: Server, large: Path) -> None:
    server.begin(once("lose", "POST", "uploadId"))
    (bucket / "large").upload(large)
    assert (
        len([request for request in server.requests if request.method == "POST" and "uploadId" in request.query]) == 2
    )
    assert (bucket / "large").read_bytes() == large.read_bytes()


@pytest.mark.parametrize("failing", ["partNumber=1", "partNumber=2", "partNumber=3", "uploadId"])
def test_an_upload_that_fails_leaves_nothing(bucket: ObjectPath, server: Server, large: Path, failing: str) -> None:
    def fault(request: Request) -> str:
        if failing == "uploadId":  # its end
            return "deny" if request.method == "POST" and "uploadId" in request.query else ""
        return "deny" if failing in request.query else ""

    server.begin(fault)
    with pytest.raises(PermissionError, match="got AccessDenied"):
        (bucket / "large").upload(large)
    server.begin()
    assert uploads(bucket) == []
    assert not (bucket / "large").exists()


def test_what_a_killed_process_left_of_an_upload_is_aborted(bucket: ObjectPath) -> None:
    client = boto3.client("s3")
    for key in ("out/data/a.parquet", "other/b"):
        client.create_multipart_upload(Bucket=bucket.parts[1], Key=key)
    assert bucket.abort_uploads() == 1
    (left,) = uploads(bucket)
    assert isinstance(left, dict)
    assert left["Key"] == "other/b"


def test_an_error_while_writing_uploads_nothing(bucket: ObjectPath, server: Server) -> None:
    def write() -> None:
        with replacing(bucket / "a.gif") as temporary:
            temporary.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert server.requests == []
    assert left_in_scratch() == []


# Reading.


@pytest.mark.parametrize("fault", ["throttle", "cut", "lose", "half"])
def test_reading_goes_on_after_a_fault(bucket: ObjectPath, server: Server, fault: str) -> None:
    data = os.urandom(100_000)
    write_atomically(bucket / "a", data)
    server.begin(once(fault, "GET"))
    assert (bucket / "a").read_bytes() == data
    server.begin(once(fault, "GET"))
    with local_copy(bucket / "a") as copy:
        assert (copy.name, copy.read_bytes()) == ("a", data)
    assert left_in_scratch() == []


def test_an_answer_that_stops_is_asked_for_again(bucket: ObjectPath, server: Server) -> None:
    write_atomically(bucket / "a", b"x" * 100_000)
    server.begin(once("stall", "GET"))
    with few_tries(3, read_s=0.3):
        assert (bucket / "a").read_bytes() == b"x" * 100_000
    assert len(server.requests) == 2


@given(st.lists(st.tuples(st.integers(0, 3 * 2**18), st.integers(1, 2**18)), max_size=6))
def test_ranges_are_those_of_a_local_file(large_object: tuple[ObjectPath, bytes], reads: list[tuple[int, int]]) -> None:
    path, data = large_object
    with path.open("rb") as file:
        for start, size in reads:
            file.seek(start)
            assert file.read(size) == data[start : start + size]
        file.seek(-10, os.SEEK_END)
        assert file.read() == data[-10:]


@pytest.fixture(scope="module")
def large_object(server: Server) -> tuple[ObjectPath, bytes]:
    server.begin()
    boto3.client("s3").create_bucket(Bucket="for-ranges")
    path, data = ObjectPath.parse("s3://for-ranges/a"), os.urandom(3 * 2**18 + 17)
    write_atomically(path, data)
    return path, data


# Errors.


def test_trying_again_has_bounds(bucket: ObjectPath, server: Server) -> None:
    server.begin(lambda _: "throttle")
    with few_tries(3), pytest.raises(OSError, match=r"s3://.*/a: required that the store does PutObject, got SlowDown"):
        write_atomically(bucket / "a", b"1")
    assert len(server.requests) == 3
    server.begin(lambda _: "cut")
    with few_tries(3), pytest.raises(ConnectionError, match="is AWS_ENDPOINT_URL right, the network up"):
        (bucket / "a").read_bytes()
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "required credentials in the environment or ~/.aws"),
        ({"AWS_PROFILE": "nobody"}, "required credentials in the environment or ~/.aws"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "is AWS_ENDPOINT_URL right, the network up"),
        ({"AWS_ENDPOINT_URL": "http//nonsense"}, "see ~/.aws and AWS_… variables|required an object store"),
    ],
)
def test_errors_say_what_to_do_within_seconds(
    bucket: ObjectPath, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
        if not value:
            monkeypatch.delenv(name)
    open_bucket.cache_clear()
    with pytest.raises(OSError, match=words) as caught:
        bucket.check(writes=True)
    shown = "".join(traceback.format_exception(caught.value))
    assert SECRET not in shown
    assert "botocore" not in shown, "what boto3 raised is not shown"
    open_bucket.cache_clear()


def test_a_bucket_that_is_not_there(bucket: ObjectPath) -> None:
    with pytest.raises(OSError, match=r"got NoSuchBucket \(there is no such bucket\)"):
        any_path("s3://no-such-bucket-here/out").check(writes=True)  # type: ignore[attr-defined]


# Scratch.


def leave_a_folder(_: int) -> str:
    from render.core.scratch import scratch_folder

    (scratch_folder() / "half").touch()
    os.kill(os.getpid(), 9)
    return ""


@pytest.mark.slow
def test_the_folder_of_a_killed_process_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from render.core.scratch import PREFIX, scratch_folder

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    process = get_context("spawn").Process(target=leave_a_folder, args=(0,))
    process.start()
    process.join()
    assert [path.name.startswith(PREFIX) for path in tmp_path.iterdir()] == [True]
    scratch_folder.cache_clear()
    own = scratch_folder()
    assert list(tmp_path.iterdir()) == [own.parent]
    scratch_folder.cache_clear()
    monkeypatch.undo()
