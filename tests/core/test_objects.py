"""Paths in buckets: the same on every kind of store, as a local folder is where that makes sense."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import pytest
from buckets import left_in_scratch

from render.core import BehindEndError, ObjectPath, create_exclusively, publish, write_atomically

pytest_plugins = ["buckets", "other_buckets"]

NAMES = ["a.txt", ".hidden", "sub/b.txt", "sub/deep/c.txt", "ü ö.txt", "empty"]


def opened(path: Path) -> bytes:
    with path.open("rb") as file:
        return bytes(file.read())


def look(root: Path) -> object:
    return (
        sorted(path.name for path in root.iterdir()),
        sorted(path.name for path in root.glob("[!.]*.txt")),
        sorted(str(path.relative_to(root)) for path in root.rglob("*.txt")),
        [(root / name).exists() for name in ("a.txt", "sub", "b.txt", "su")],
        [(root / name).is_dir() for name in ("a.txt", "sub", "none")],
        [(root / name).is_file() for name in ("a.txt", "sub", "none")],
        (root / "ü ö.txt").read_text(encoding="utf-8"),
        [(root / name).read_bytes() for name in ("empty", "a.txt")],
        [opened(root / name) for name in ("empty", "a.txt")],
    )


def test_a_bucket_is_read_as_a_folder_is(any_bucket: ObjectPath, tmp_path: Path) -> None:
    local = tmp_path / "out"
    for root in (any_bucket, local):
        for name in NAMES:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(root / name, name.encode() if name != "empty" else b"")
    assert look(any_bucket) == look(local)
    for root in (any_bucket, local):
        none = root / "none"
        for ask in (none.read_bytes, none.stat, partial(opened, none)):
            with pytest.raises(FileNotFoundError):
                ask()
        with pytest.raises(FileNotFoundError):
            publish(none, root / "moved")
        assert (root / "a.txt").stat().st_size == 5
        assert abs((root / "a.txt").stat().st_mtime_ns / 1e9 - time.time()) < 60
        with (root / "ü ö.txt").open(encoding="utf-8") as file:
            assert list(file) == ["ü ö.txt"]
        publish(root / "sub" / "b.txt", root / "moved")
        assert ((root / "moved").read_bytes(), (root / "sub" / "b.txt").exists()) == (b"sub/b.txt", False)
        (root / "a.txt").unlink()
        (root / "a.txt").unlink(missing_ok=True)
        assert not (root / "a.txt").exists()
    assert any_bucket.abort_uploads() == 0
    assert left_in_scratch() == []


def test_one_of_many_writers_wins(any_bucket: ObjectPath) -> None:
    barrier = Barrier(8)

    def race(number: int) -> bool:
        barrier.wait()
        return create_exclusively(any_bucket / "slot", str(number))

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert sum(won) == 1
    assert (any_bucket / "slot").read_text() == str(won.index(True))
    assert create_exclusively(any_bucket / "slot", str(won.index(True)))  # a repeated request counts as its own
    assert not create_exclusively(any_bucket / "slot", "other")


def test_an_object_that_gets_shorter_is_damage_and_no_outage(any_bucket: ObjectPath) -> None:
    path = any_bucket / "a"
    write_atomically(path, b"x" * 2**19)
    with path.open("rb") as file:
        write_atomically(path, b"x" * 100)
        for start in (2**17, 50):
            file.seek(start)
            with pytest.raises(BehindEndError, match="required an object with the bytes that were asked for"):
                file.read(100)
