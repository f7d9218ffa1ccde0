"""A model on a network file system: copied once a machine, whoever asks; read there only once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

import render.core.file_systems
import render.core.inputs
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
