"""A small finished store for several test files, and tools to run and compare stores.

Test files name this module in `pytest_plugins`, so that all share one fixture. They also import its functions first, which
pytest would take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pyarrow.dataset as ds
import pytest
from safetensors.numpy import load_file, save_file

from render import run_job
from render.core import Receipt, Unit
from render.run import Summary
from render.starter import PIPELINE

if TYPE_CHECKING:
    from render.cluster import Setup
    from render.core import CrewListener
    from render.job import Workforce

MANIFEST = """\
walk,prompt,negative_prompt,seed,frames,steps,guidance,scheduler,kind
ball,3d dog face,blurry,7,8,,,,1
ball,3d cat face,,8,,,,,1
,3d dog face,blurry,7,,,,,2
,3d cat face,,8,,,,,2
,flat red apple,,1,,5,7.5,euler,3
,3d rocket,,2,,4,1.0,dpm++2m,
,3d octopus,blurry,3,,2,2.0,euler_a,5
"""
FRAMES = 14  # of the manifest
JOB = ("sampling.steps=8", "workers.count=1", "workers.cpus=1", "workers.batch_rows=4", "animation.formats=[gif,mp4]")
TWO_MODELS = """\
walk,prompt,seed,frames,model
a,3d dog face,7,3,soft
a,3d cat face,7,,soft
b,3d dog face,1,,
c,3d rocket,2,,soft
d,3d octopus,3,,main
e,flat red apple,4,2,
e,flat rocket,5,,
f,3d strawberry,6,,soft
"""
TWO_JOB = ("sampling.steps=2", "workers.count=1", "workers.cpus=1", "workers.batch_rows=4", "store.unit_frames=2")
WAIT_S = 120.0  # for what takes seconds on an idle machine


@dataclass(frozen=True)
class Finished:
    """A finished store and what it was made from."""

    out: Path
    manifest: Path
    overrides: tuple[str, ...]  # without the output


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A store of one walk and five stills, by one worker. Not to be written to: see `copied`."""
    folder = tmp_path_factory.mktemp("finished")
    manifest = folder / "small.csv"
    manifest.write_text(MANIFEST, encoding="utf-8")
    overrides = (*JOB, "store.unit_frames=4")
    summary = run_here(manifest, *overrides, f"output={folder / 'out'}")
    assert (summary.frames, summary.quarantined, summary.blank) == (FRAMES, 0, 0)
    return Finished(summary.out, manifest, overrides)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A copy of the finished store's manifest."""
    path = tmp_path / "small.csv"
    path.write_text(MANIFEST, encoding="utf-8")
    return path


@pytest.fixture
def copied(finished: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished store."""
    return Finished(shutil.copytree(finished.out, tmp_path / "copy"), finished.manifest, finished.overrides)


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A folder with a short name, for Ray's sockets; its name marks the processes that are started with it as TMPDIR."""
    folder = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def sibling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second model: the built-in one with a changed weight, for smaller pictures. Not to be written to."""
    folder = shutil.copytree(PIPELINE, tmp_path_factory.mktemp("models") / "sibling")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    tensors["conv_in.bias"] = tensors["conv_in.bias"] + 0.5
    save_file(tensors, weights)
    sampling = {"width": 64, "height": 64, "steps": 2, "guidance": 2.0, "scheduler": "euler"}
    (folder / "sampling.json").write_text(json.dumps(sampling))
    return folder


class Here:
    """Stands in for the cluster: one worker in this process, which has torch and diffusers loaded, and no Ray."""

    ready_s: float | None = None

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        self._setup = setup

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None: ...

    def render(self, units: Iterator[Unit], listener: CrewListener) -> Iterator[Receipt]:
        from render.cluster.worker import Worker

        first, *others = units
        worker = Worker(self._setup, first.group[0])
        self.ready_s = time.monotonic()
        futures = [worker.submit(unit) for unit in (first, *others)]
        worker.expect_no_more()
        for future in futures:
            receipt = future.result(WAIT_S)
            listener.frames(receipt.frames)
            listener.batches(receipt.rows, receipt.padding)
            yield receipt
        worker.close()


def run_here(target: Any, *overrides: str, extend: bool = False) -> Summary:
    """Do what `run_job` does with one worker, in seconds less; for tests of what is rendered, not of who renders it."""
    with rendering_here():
        return run_job(target, *overrides, extend=extend)


@contextmanager
def rendering_here() -> Iterator[None]:
    """Have runs do without Ray while the context lasts."""
    with patch("render.cluster.Cluster", Here):
        yield


def run_two(run: Callable[..., Summary], sibling: Path, tmp: Path, *overrides: str, table: str = TWO_MODELS) -> Summary:
    """Run a job of two models, the built-in one and `sibling`, in `tmp`; `run` is `run_job` or `run_here`."""
    (tmp / "two.csv").write_text(table)
    return run(
        tmp / "two.csv",
        *TWO_JOB,
        "animation.formats=[]",
        f"models.soft.id={sibling}",
        f"output={tmp / 'out'}",
        *overrides,
    )


def pixels(out: Path) -> dict[tuple[str, int, str], str]:
    """(walk, frame, key) → hash of the pixels, of all files below data/; no frame may be there twice."""
    rows = ds.dataset(out / "data").to_table(["walk", "frame", "key", "sha256"]).to_pylist()
    found = {(row["walk"], row["frame"], row["key"]): row["sha256"] for row in rows}
    assert len({name[:2] for name in found}) == len(rows), "a frame is stored twice"
    return found


def snapshot(out: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of writing."""
    files = {str(path.relative_to(out)): path.stat() for path in out.rglob("*") if path.is_file()}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in files.items()}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "render", *map(str, arguments)]


def environment(tmp: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(tmp), "HF_HUB_OFFLINE": "1"}


@contextmanager
def heeded() -> Iterator[None]:
    """Start processes that are interrupted and hung up on as usual, however this one was started.

    A shell starts `pytest &` with SIGINT ignored, nohup with SIGHUP. What is ignored is inherited; what is handled is not.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_command(tmp: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`render ARGUMENTS`, to its end."""
    return subprocess.run(
        command(*arguments), env=environment(tmp), capture_output=True, text=True, timeout=280, check=False
    )


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until the condition holds; fails after WAIT_S."""
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s, f"{what}: not in {WAIT_S:g} s"
        time.sleep(0.02)


def processes_of(tmp: Path) -> list[str]:
    """Command lines of the living processes that were started with TMPDIR=tmp, or name it."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or folder.name == str(os.getpid()):
            continue
        try:
            variables, line = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:  # it has ended, or is not ours
            continue
        if f"TMPDIR={tmp}".encode() in variables.split(b"\0") or f"{tmp}/".encode() in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found
