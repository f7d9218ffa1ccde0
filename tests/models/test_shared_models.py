"""A model on a network file system: copied once a machine, whoever asks; read there only once."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import shutil
import signal
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

import render.core.file_systems
import render.core.inputs
from render.core.input_cache import blob_of, cache_root, store_file
from render.core.inputs import shared_folder
from render.core.user_cache import user_cache
from render.models.model import Model, resolve_model
from render.starter import PIPELINE

LONG_AGO_S = 1_700_000_000.0


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the operating system is said to have from another machine, and an empty cache on this one's disk."""
    folder = tmp_path / "share"
    folder.mkdir()
    mounts = f"27 1 254:0 / / rw - ext4 /dev/vda rw\n41 27 0:41 / {folder.resolve()} rw - nfs4 filer:/models rw\n"
    (tmp_path / "mountinfo").write_text(mounts)
    monkeypatch.setattr(render.core.file_systems, "MOUNTS", tmp_path / "mountinfo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(render.core.inputs, "SPARE_BYTES", 0)
    return folder


@pytest.fixture
def model(share: Path) -> Model:
    folder = shutil.copytree(PIPELINE, share / "model")
    (folder / "README.md").write_text("not to be loaded")
    for file in folder.rglob("*"):
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    return resolve_model(str(folder), None, share)


def test_a_worker_reads_a_copy(model: Model, share: Path) -> None:
    """With the same fingerprint, under the same names; what no pipeline loads is not copied."""
    here = model.resolve_here()
    assert here.fingerprint == model.fingerprint
    assert here.path.is_relative_to(user_cache("inputs"))
    names = {file.relative_to(here.path).as_posix() for file in here.path.rglob("*") if file.is_file()}
    assert {name.as_posix() for name in model.files} <= names
    assert "README.md" not in names
    assert all((here.path / name).read_bytes() == (share / "model" / name).read_bytes() for name in names)
    assert model.resolve_here().path == here.path


def test_a_changed_file_is_copied_again(model: Model, share: Path) -> None:
    before = model.resolve_here().path
    index = share / "model" / "model_index.json"
    index.write_text(index.read_text() + "\n")
    changed = resolve_model(model.id, None, share)
    here = pickle.loads(pickle.dumps(changed)).resolve_here()
    assert here.fingerprint == changed.fingerprint != model.fingerprint
    assert here.path != before


@pytest.mark.parametrize("reason", ["no room", "cache on the share", "cache in memory"])
def test_a_model_that_can_t_be_kept_is_read_where_it_is(
    model: Model, share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if reason == "no room":
        monkeypatch.setattr(render.core.inputs, "SPARE_BYTES", 2**62)
    elif reason == "cache on the share":
        monkeypatch.setenv("XDG_CACHE_HOME", str(share / "home"))
    else:
        with (tmp_path / "mountinfo").open("a") as file:
            file.write(f"50 27 0:50 / {tmp_path.resolve()}/cache rw - tmpfs tmpfs rw\n")
    here = model.resolve_here()
    assert (here.path, here.fingerprint) == (share / "model", model.fingerprint)


def test_a_model_of_this_machine_is_not_copied(share: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(PIPELINE, tmp_path / "model")
    assert resolve_model(str(folder), None, tmp_path).resolve_here().path == folder
    assert not user_cache("inputs").exists()


def _resolve(model: Model, mounts: Path, all_up: Any, log: Path, results: Any) -> None:
    """In a process of its own: load's first step. Copies are noted, and begin when all processes are there."""
    copy = shutil.copyfile

    def noted(source: Path, target: Path) -> Path:
        with log.open("a") as out:
            out.write(f"{Path(source).name}\n")
        return copy(source, target)

    render.core.file_systems.MOUNTS = mounts
    render.core.inputs.SPARE_BYTES = 0
    render.core.inputs.shutil.copyfile = noted  # type: ignore[attr-defined]
    all_up.wait(60)
    results.put((str(model.resolve_here().path), model.fingerprint))


def test_of_several_workers_of_a_machine_one_copies(model: Model, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    all_up, results, log = context.Barrier(4), context.Queue(), tmp_path / "log"
    given = (model, tmp_path / "mountinfo", all_up, log, results)
    processes = [context.Process(target=_resolve, args=given) for _ in range(4)]
    for process in processes:
        process.start()
    found = {results.get(timeout=100) for _ in processes}
    for process in processes:
        process.join(60)
    assert len(found) == 1
    copied = log.read_text().split()
    files = [file for file in (tmp_path / "share" / "model").rglob("*") if file.is_file() and file.name != "README.md"]
    assert len(copied) <= len(files)
    assert copied.count("model_index.json") == 1
    assert sum(name.endswith(".safetensors") for name in copied) == len(list(PIPELINE.rglob("*.safetensors")))


def test_room_is_measured_by_one_worker_at_a_time(
    model: Model, share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for one copy: a worker that comes while another makes it waits for it, and has it, too."""
    cache, copy, others = user_cache("inputs"), shutil.copyfile, list[Thread]()
    room = sum(file.stat().st_size for file in (share / "model").rglob("*") if file.is_file())
    found: list[Path] = []

    def used() -> int:
        files = [file for folder in ("blobs", "partial") for file in (cache / folder).rglob("*") if file.is_file()]
        return sum(file.stat().st_size for file in files)

    def copied(source: Path, target: Path) -> Path:
        copy(source, target)
        if not others:
            others.append(Thread(target=lambda: found.append(model.resolve_here().path)))
            others[0].start()
            others[0].join(1.0)
        return target

    monkeypatch.setattr("render.core.inputs.shutil.copyfile", copied)
    monkeypatch.setattr("render.core.inputs.shutil.disk_usage", lambda _: SimpleNamespace(free=room - used()))
    here = model.resolve_here().path
    others[0].join(100)
    assert here.is_relative_to(cache)
    assert found == [here]


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_meanwhile_is_left(
    model: Model, share: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    """Then all is read from the share, and the file that was cut off is deleted. Another fault is told."""
    copy, count = shutil.copyfile, iter(range(100))

    def copied(source: Path, target: Path) -> Path:
        if next(count) == 2:
            target.write_bytes(b"cut off")
            raise OSError(fault, os.strerror(fault))
        return copy(source, target)

    monkeypatch.setattr("render.core.inputs.shutil.copyfile", copied)
    if fault == errno.EIO:
        with pytest.raises(OSError, match=os.strerror(fault)):
            shared_folder(share / "model", lambda _: True)
    else:
        assert model.resolve_here().path == share / "model"
    assert not list((user_cache("inputs") / "partial").iterdir())


def _copy_half(model: Model, mounts: Path, begun: Any) -> None:
    """In a process of its own: copy a part of a file, and wait to be killed."""

    def half(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        begun.set()
        signal.pause()

    render.core.file_systems.MOUNTS = mounts
    render.core.inputs.SPARE_BYTES = 0
    render.core.inputs.shutil.copyfile = half  # type: ignore[attr-defined]
    model.resolve_here()


def test_what_a_killed_worker_leaves_is_deleted_by_the_next(model: Model, tmp_path: Path) -> None:
    """While it lives it is spared."""
    context, partial = multiprocessing.get_context("spawn"), user_cache("inputs") / "partial"
    begun = context.Event()
    process = context.Process(target=_copy_half, args=(model, tmp_path / "mountinfo", begun))
    process.start()
    assert begun.wait(100)
    (left,) = partial.iterdir()
    store_file(user_cache("inputs"), lambda target: bool(target.write_bytes(b"other")))
    assert (left / "file").read_bytes() == b"half"
    process.kill()
    process.join(60)
    store_file(user_cache("inputs"), lambda target: bool(target.write_bytes(b"another")))
    assert not list(partial.iterdir())


def test_a_file_system_without_locks(share: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Lustre may be mounted: files come all the same, and what is left goes after two days."""

    def refused(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("render.core.scratch.fcntl.flock", refused)
    root = cache_root()
    partial = root / "partial"
    left = [partial / name for name in ("old", "new")]
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "file").touch()
    for path in (left[0] / "file", left[0]):
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    sha256, size = store_file(root, lambda target: bool(target.write_bytes(b"whole")))
    assert (size, blob_of(root, sha256).read_bytes()) == (5, b"whole")
    assert left[1] in partial.iterdir()
    assert left[0] not in partial.iterdir()


def test_machines_that_share_a_home_keep_the_digests_of_their_own_disks_apart(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of the share has one entry for all: one process of the whole cluster reads it."""
    monkeypatch.setattr("render.models.digests.CACHED_BYTES", 10)
    monkeypatch.setenv("XDG_CACHE_HOME", str(share / "home"))
    from render.models.digests import known_sha256

    files = [tmp_path / "own.safetensors", share / "common.safetensors"]
    for file in files:
        file.write_bytes(b"a" * 2000)
        os.utime(file, (LONG_AGO_S, LONG_AGO_S))
    entries = []
    for host in ("one", "two"):
        monkeypatch.setattr("platform.node", lambda host=host: host)
        for file in files:
            known_sha256(file)
            entries.append(len(list((share / "home" / "nightrender" / "digests").glob("*.json"))))
    assert entries == [1, 2, 3, 3]
