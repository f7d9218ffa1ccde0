"""Whole runs on Ray: the same bits from any number of workers, whatever interrupts them, and of several models."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
import ray
from pipelines import make_pipeline
from stores import (
    FRAMES,
    JOB,
    TWO_JOB,
    TWO_MODELS,
    Finished,
    command,
    environment,
    heeded,
    pixels,
    processes_of,
    rendering_here,
    run_command,
    run_here,
    run_two,
    wait_until,
)

from render import open_store, run_job
from render.cli import main
from render.cluster.actor import RenderWorker
from render.cluster.progress import Progress
from render.cluster.setup import Setup
from render.core.unit import Receipt, Unit
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

HELD = Path(__file__).with_name("held.py")


@pytest.fixture(scope="module")
def two_cores() -> Iterator[None]:
    """A Ray of two cores for the runs of this process."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # type: ignore[no-untyped-call]
    yield
    ray.shutdown()


# Interrupted runs, whose workers keep their receipts back: see held.py.


@pytest.fixture
def small_units(finished: Finished, tmp_path: Path) -> tuple[object, ...]:
    """Arguments of a run that commits often."""
    return "run", finished.manifest, *JOB, "store.unit_frames=1", "animation.formats=[]", f"output={tmp_path / 'out'}"


def start(tmp: Path, arguments: tuple[object, ...]) -> subprocess.Popen[str]:
    """A run that does not end by itself, as the leader of its own process group."""
    with heeded():
        return subprocess.Popen(
            [sys.executable, str(HELD), *map(str, arguments)],
            env=environment(tmp),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def commits(out: Path) -> set[str]:
    return {path.name for path in (out / ".run" / "commits").glob("[!.]*.json")}


def wait_for_commit(run: subprocess.Popen[str], out: Path) -> None:
    wait_until(lambda: commits(out) or run.poll() is not None, "the first commit")
    assert run.poll() is None, run.communicate()


def check_complete(out: Path, reference: Path) -> None:
    """Everything is there once, as in an undisturbed run, and nothing else."""
    assert pixels(out) == pixels(reference)
    assert {path.name for path in (out / "data").iterdir()} == {receipt.file for receipt in Ledger(out).receipts()}
    assert not list((out / ".run" / "scratch").iterdir())
    assert main(["verify", str(out)]) == 0


def test_kill_and_resume(finished: Finished, small_units: tuple[object, ...], tmp_path: Path, short_tmp: Path) -> None:
    out = tmp_path / "out"
    with start(short_tmp, small_units) as run:
        wait_for_commit(run, out)
        os.killpg(run.pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(short_tmp), "the end of every process of the run")
    before = commits(out)
    assert 1 <= len(before) < FRAMES
    whole = len([*(out / "data").glob("train-*.parquet")])  # the last may have been killed before its commit
    kept = {name: (out / ".run" / "commits" / name).read_bytes() for name in before}
    assert main(["verify", str(out)]) == 1
    (out / "data" / "train-00099-of-00014-deadbeef.parquet").write_bytes(b"of a worker that died before its commit")

    resumed = run_command(short_tmp, *small_units)
    assert resumed.returncode == 0, resumed.stderr
    assert f"{FRAMES} frames, {whole} of them done before" in resumed.stderr
    assert {name: (out / ".run" / "commits" / name).read_bytes() for name in before} == kept
    check_complete(out, finished.out)
    assert not processes_of(short_tmp)


@pytest.mark.parametrize(
    ("kill", "sent"),
    [
        (os.killpg, signal.SIGINT),
        pytest.param(os.kill, signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(os.killpg, signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_interrupt_and_resume(
    finished: Finished,
    small_units: tuple[object, ...],
    tmp_path: Path,
    short_tmp: Path,
    kill: Callable[[int, int], None],
    sent: signal.Signals,
) -> None:
    """Ctrl-C and SIGHUP go to all processes of a run, SIGTERM to the first of them."""
    out = tmp_path / "out"
    with start(short_tmp, small_units) as run:
        wait_for_commit(run, out)
        kill(run.pid, sent)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 1
    assert said.endswith("render: stopped. What is committed stays; the same command resumes.\n")
    assert "Traceback" not in said
    assert "***" not in said  # as Ray's own handler writes
    wait_until(lambda: not processes_of(short_tmp), "the end of every process of the run")
    assert not list(short_tmp.glob("render-*")), "Ray's files are left"
    before = commits(out)
    assert 1 <= len(before) < FRAMES

    with rendering_here():
        assert main(list(map(str, small_units))) == 0
    assert before <= commits(out)
    check_complete(out, finished.out)


def test_a_whole_run_says_nothing_but_its_own(tmp_path: Path, short_tmp: Path) -> None:
    """Neither Ray nor the libraries of the workers talk into it."""
    manifest = tmp_path / "small.csv"
    manifest.write_text("walk,prompt,seed,frames\nball,3d dog,1,2\nball,3d cat,1,\n", encoding="utf-8")
    out = tmp_path / "out"
    done = subprocess.run(
        command("run", manifest, *JOB[1:], "sampling.steps=2", f"output={out}"),
        env=environment(short_tmp),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    own = r"(\d+ frames; starting workers|\d+/3 frames, .*|frames are done; .*|\d+ animations.*)"
    assert [line for line in done.stderr.splitlines() if not re.fullmatch(own, line)] == []
    assert done.stdout.splitlines() == [
        "animation  out/animations/ball.gif",
        "animation  out/animations/ball.mp4",
        "sheet      out/sheets/walk/ball.png",
        "dataset    out/data  (3 images)",
        "open it    datasets.load_dataset('out', split='train')   or   render.open_store('out')",
        "batches    100.0% full, 0 s without a frame to render",
    ]


# In this process.


def test_two_workers_give_the_same_pixels(finished: Finished, tmp_path: Path, two_cores: None) -> None:
    summary = run_job(
        finished.manifest, *finished.overrides, "workers.count=2", "animation.formats=[]", f"output={tmp_path / 'out'}"
    )
    assert summary.animations == ()
    assert pixels(summary.out) == pixels(finished.out)


class Telling(RenderWorker):
    """A worker that writes down which models it loads.

    Where a file `together` lies beside the output, it renders once the driver knows as many workers to be up as that says.
    """

    def __init__(self, setup: Setup, model: str) -> None:
        from render.cluster.worker import Worker

        load = Worker._load

        def told(worker: Worker, name: str) -> Any:
            with (setup.out.parent / "loads").open("a") as file:
                file.write(f"{os.getpid()} {name}\n")
            return load(worker, name)

        Worker._load = told  # type: ignore[assignment, method-assign]
        super().__init__(setup, model)
        self._folder, self._asked = setup.out.parent, 0

    async def render(self, number: int, unit: Unit) -> Receipt | None:
        wanted = self._folder / "together"
        while wanted.exists() and len(list(self._folder.glob("up-*"))) < int(wanted.read_text()):
            await asyncio.sleep(0.02)
        return await super().render(number, unit)

    async def progress(self, heard: int, last: int | None) -> Progress:
        """A second question says that the first answer, which tells that the worker is up, has reached the driver."""
        self._asked += 1
        if self._asked == 2:
            (self._folder / f"up-{os.getpid()}").touch()
        return await super().progress(heard, last)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, two_cores: None) -> Callable[[], list[list[str]]]:
    """What the workers of runs with outputs in tmp_path have loaded since it was last asked: models in order, by worker."""
    monkeypatch.setattr("render.cluster.crew.RenderWorker", Telling)

    def asked() -> list[list[str]]:
        file, by_worker = tmp_path / "loads", dict[str, list[str]]()
        for line in file.read_text().splitlines() if file.exists() else ():
            worker, model = line.split()
            by_worker.setdefault(worker, []).append(model)
        file.unlink(missing_ok=True)
        return sorted(by_worker.values())

    return asked


@pytest.mark.long
def test_two_models_in_one_manifest(
    sibling: Path, tmp_path: Path, loads: Callable[[], list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bits as from a job for each, each loaded once; and a resume loads what it needs."""
    out = run_two(run_job, sibling, tmp_path).out
    assert loads() == [["soft", "main"]]
    assert main(["verify", str(out)]) == 0
    rows = ds.dataset(out / "data").to_table(["walk", "frame", "model", "width", "sampler", "prompt"]).to_pylist()
    assert {(row["model"], row["width"], row["sampler"]) for row in rows} == {
        ("starter", 128, "ddim"),
        (str(sibling), 64, "euler"),
    }
    assert {row["walk"] for row in rows if row["model"] == "starter"} == set("bde")
    body = (out / "README.md").read_text()
    for model in json.loads((out / ".run" / "plan.json").read_text())["targets"].values():
        assert model["fingerprint"] in body

    together = pixels(out)
    header, *lines = TWO_MODELS.splitlines(keepends=True)
    alone: dict[tuple[str, int, str], str] = {}
    for soft, override in ((True, f"model.id={sibling}"), (False, "model.id=starter")):
        own = [line.replace(",soft", ",") for line in lines if line.endswith(",soft\n") == soft]
        (tmp_path / str(soft)).mkdir()
        alone |= pixels(run_two(run_here, sibling, tmp_path / str(soft), override, table="".join([header, *own])).out)
    assert alone == together
    assert len(set(together.values())) == len(together) == 11

    record = max((out / ".run" / "commits").iterdir())  # of the last unit: the main model's
    record.unlink()
    assert main(["verify", str(out)]) == 1
    assert pixels(run_two(run_job, sibling, tmp_path).out) == together
    assert loads() == [["main"]]
    assert main(["verify", str(out)]) == 0


@pytest.mark.long
def test_two_workers_change_models_rarely(sibling: Path, tmp_path: Path, loads: Callable[[], list[list[str]]]) -> None:
    """Both are up before the first unit is done; else the first to be up does what the other was given, model by model."""
    (tmp_path / "together").write_text("2")
    run_two(run_job, sibling, tmp_path, "workers.count=2", "store.unit_frames=1")
    by_worker = loads()
    assert len(by_worker) == 2
    assert all(len(models) <= 2 and len(set(models)) == len(models) for models in by_worker)


THREE_FAMILIES = """\
walk,prompt,seed,frames,steps,model,guidance,true_guidance
f,a red fox,1,2,2,flux,2.0,1.0
f,a blue boat,2,,2,flux,4.0,3.0
s,a red fox,1,,2,sd3,4.0,
x,a red fox,1,,2,xl,4.0,1
"""


@pytest.mark.long
def test_three_families_in_one_manifest(tmp_path: Path, loads: Callable[[], list[list[str]]]) -> None:
    """The guidance of each is what its network takes it for, in the recipe and in the store's column."""
    for name, variant in {"flux": "flux-dev", "sd3": "sd3", "xl": "sdxl"}.items():
        make_pipeline(variant, tmp_path / name)
    models = [f"models.{name}.id={tmp_path / name}" for name in ("flux", "sd3", "xl")]
    (tmp_path / "three.csv").write_text(THREE_FAMILIES)
    sizes = ("sampling.width=80", "sampling.height=80", "models.flux.tile_above=64", "models.xl.tile_above=null")
    summary = run_job(
        tmp_path / "three.csv", *TWO_JOB, "animation.formats=[]", *models, *sizes, f"output={tmp_path / 'out'}"
    )
    assert (summary.frames, summary.quarantined, summary.blank) == (5, 0, 0)
    assert loads() == [["flux", "sd3", "xl"]]
    assert main(["verify", str(summary.out)]) == 0
    store = open_store(summary.out)
    said = [(frame.row["cfg"], json.loads(frame.row["recipe"])) for walk in "fsx" for frame in store.frames(walk)]
    assert [(cfg, recipe["guidance"], recipe.get("embedded_guidance")) for cfg, recipe in said] == [
        (2.0, 1.0, 2.0),
        (3.0, 2.0, 3.0),
        (4.0, 3.0, 4.0),
        (4.0, 4.0, None),
        (4.0, 4.0, None),
    ]
    assert [recipe["scheduler"] for _, recipe in said] == ["flow-euler"] * 4 + ["euler"]
    assert [recipe.get("tiled", False) for _, recipe in said] == [True] * 3 + [False] * 2
