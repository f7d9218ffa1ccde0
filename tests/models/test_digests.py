"""Digests of model files: read once, kept by what tells a changed file, taken from the hub's names."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import render.models.digests
from render.core.digests import file_sha256
from render.core.errors import ModelError
from render.models.digests import checked_sha256, known_sha256
from render.models.model import resolve_model
from render.run import plan_job
from render.starter import PIPELINE

LONG_AGO_S = 1_700_000_000.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, in which files of a kibibyte are kept already."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(render.models.digests, "CACHED_BYTES", 1024)
    return tmp_path / "cache" / "nightrender" / "digests"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read."""
    names: list[str] = []

    def noted(path: Path) -> str:
        names.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(render.models.digests, "file_sha256", noted)
    return names


def written(path: Path, content: bytes, changed_s: float = LONG_AGO_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (changed_s, changed_s))
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def hub_file(root: Path, content: bytes, name: str) -> Path:
    """A file as huggingface_hub stores it: a link from the snapshot to a blob that is named by its hash."""
    blob = written(root / "models--owner--name" / "blobs" / name, content)
    link = root / "models--owner--name" / "snapshots" / "0123abcd" / "unet" / "weights.safetensors"
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("../../../blobs") / blob.name)
    return link


def test_a_file_is_read_once(tmp_path: Path, reads: list[str], cache: Path) -> None:
    file = written(tmp_path / "a.safetensors", b"a" * 2000)
    assert [known_sha256(file) for _ in range(3)] == [sha256(b"a" * 2000)] * 3
    assert reads == ["a.safetensors"]
    assert len(list(cache.glob("*.json"))) == 1
    link = tmp_path / "other name"
    link.symlink_to(file)
    assert known_sha256(link) == sha256(b"a" * 2000)
    assert reads == ["a.safetensors"]


def _in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, (LONG_AGO_S + 1, LONG_AGO_S + 1))


def _replaced(path: Path, content: bytes) -> None:
    """As rsync does: another file takes the name, of the same time."""
    other = written(path.with_name("other"), content)
    other.replace(path)


@pytest.mark.parametrize("change", [_in_place, _replaced])
def test_a_file_that_changes_with_the_same_size_is_read_again(
    tmp_path: Path, reads: list[str], change: Callable[[Path, bytes], None]
) -> None:
    file = written(tmp_path / "a.safetensors", b"a" * 2000)
    known_sha256(file)
    change(file, b"b" * 2000)
    assert [known_sha256(file) for _ in range(2)] == [sha256(b"b" * 2000)] * 2
    assert len(reads) == 2


def test_small_files_are_not_kept(tmp_path: Path, reads: list[str], cache: Path) -> None:
    file = written(tmp_path / "config.json", b"{}")
    assert [known_sha256(file) for _ in range(2)] == [sha256(b"{}")] * 2
    assert len(reads) == 2
    assert not cache.exists()


def test_a_file_that_was_just_changed_is_not_kept(tmp_path: Path, reads: list[str], cache: Path) -> None:
    """It may change again within a tick of the file system's clock, and look the same."""
    file = tmp_path / "a.safetensors"
    for letter in (b"a", b"b"):
        file.write_bytes(letter * 2000)
        assert known_sha256(file) == sha256(letter * 2000)
    assert len(reads) == 2
    assert list(cache.glob("*.json")) == []


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "a.safetensors", b"a" * 2000)

    def slow(path: Path) -> str:
        digest = file_sha256(path)
        written(path, b"b" * 2000, LONG_AGO_S + 1)
        return digest

    monkeypatch.setattr(render.models.digests, "file_sha256", slow)
    known_sha256(file)
    assert list(cache.glob("*.json")) == []


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"sha256": 3}', b"\xff"])
def test_a_broken_entry_is_mended(tmp_path: Path, reads: list[str], cache: Path, content: bytes) -> None:
    file = written(tmp_path / "a.safetensors", b"a" * 2000)
    known_sha256(file)
    (entry,) = cache.glob("*.json")
    entry.write_bytes(content)
    assert [known_sha256(file) for _ in range(2)] == [sha256(b"a" * 2000)] * 2
    assert len(reads) == 2


def test_a_cache_that_cannot_be_written_is_no_error(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "a.safetensors", b"a" * 2000)
    written(tmp_path / "in the way", b"no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "in the way"))
    assert [known_sha256(file) for _ in range(2)] == [sha256(b"a" * 2000)] * 2
    assert len(reads) == 2
    assert checked_sha256(file) == sha256(b"a" * 2000)


def test_a_user_without_a_home_has_no_cache(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    file = written(tmp_path / "a.safetensors", b"a" * 2000)
    assert [known_sha256(file) for _ in range(2)] == [sha256(b"a" * 2000)] * 2
    assert len(reads) == 2


def _ask(path: Path, started: Any, log: Path, results: Any) -> None:
    """In a process of its own: ask for a digest; the read begins when all have asked or are about to."""

    def noted(file: Path) -> str:
        started.wait(60)
        with log.open("a") as out:
            out.write("read\n")
        return file_sha256(file)

    render.models.digests.file_sha256 = noted  # type: ignore[assignment, attr-defined]
    if multiprocessing.current_process().name == "second":
        started.set()
    results.put(known_sha256(path))


def test_of_two_processes_one_reads_the_file(tmp_path: Path, cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    size = 64 * 2**20
    file = written(tmp_path / "a.safetensors", b"a" * size)
    started, results, log = context.Event(), context.Queue(), tmp_path / "log"
    processes = [context.Process(target=_ask, args=(file, started, log, results), name=n) for n in ("first", "second")]
    for process in processes:
        process.start()
    expected = sha256(b"a" * size)
    assert [results.get(timeout=60) for _ in processes] == [expected, expected]
    for process in processes:
        process.join(60)
    assert log.read_text() == "read\n"


def test_a_hub_file_has_its_digest_in_its_name(tmp_path: Path, reads: list[str], cache: Path) -> None:
    link = hub_file(tmp_path, b"w" * 2000, sha256(b"w" * 2000))
    assert known_sha256(link) == sha256(b"w" * 2000)
    assert reads == []
    assert checked_sha256(link) == sha256(b"w" * 2000)
    assert reads == ["weights.safetensors"]
    assert not cache.exists()


def test_small_hub_files_are_named_by_another_hash(tmp_path: Path) -> None:
    link = hub_file(tmp_path, b"{}", hashlib.sha1(b"blob 2\0{}").hexdigest())
    assert known_sha256(link) == checked_sha256(link) == sha256(b"{}")


def test_a_damaged_hub_file_is_found(tmp_path: Path) -> None:
    link = hub_file(tmp_path, b"damaged" * 400, sha256(b"as published"))
    assert known_sha256(link) == sha256(b"as published")
    with pytest.raises(ModelError, match=f"required a file of SHA-256 {sha256(b'as published')}"):
        checked_sha256(link)


def test_a_check_mends_the_cache(tmp_path: Path, reads: list[str], cache: Path) -> None:
    """Of a file that was changed behind the back of its times."""
    file = written(tmp_path / "a.safetensors", b"a" * 2000)
    known_sha256(file)
    with file.open("r+b") as stream:
        stream.write(b"b" * 2000)
    os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    assert known_sha256(file) == sha256(b"a" * 2000)
    assert checked_sha256(file) == sha256(b"b" * 2000)
    assert known_sha256(file) == sha256(b"b" * 2000)
    assert len(reads) == 2


def test_a_model_is_read_once_and_again_when_it_is_checked(tmp_path: Path, reads: list[str]) -> None:
    folder = shutil.copytree(PIPELINE, tmp_path / "model")
    for file in folder.rglob("*"):
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    table = tmp_path / "m.csv"
    table.write_text("prompt\na cat\n")
    job = (table, f"model.id={folder}")
    model = resolve_model(str(folder), None, Path.cwd())
    first, everything = model.fingerprint, sorted(reads)
    assert everything == sorted(path.name for path in model.files)
    reads.clear()
    assert resolve_model(str(folder), None, Path.cwd()).fingerprint == first
    assert {name for name in reads if name.endswith(".safetensors")} == set()
    reads.clear()
    assert plan_job(*job, check_model=True).plan.targets["main"].fingerprint == first
    assert sorted(reads) == everything
