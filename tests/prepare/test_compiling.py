"""The decision on compiling: what it saves, what it takes, and what it lacks."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

import render.prepare.compiling
from render.core.errors import JobError, StoreError
from render.job import toolchain
from render.job.config import load_job
from render.job.workforce import Workforce
from render.models.model import Model
from render.plan.units import Counts
from render.prepare import prepare
from render.prepare.compiling import decide_compile, network_seconds
from render.prepare.resume import load_plan, record_or_resume

GPU = Workforce(1, 4, 1.0, "cuda")


@dataclass(frozen=True)
class Sized:
    """A model of a size."""

    network_parameters: int


SD15, FLUX = Sized(860_000_000), Sized(11_900_000_000)


def counts_of(frames: int, side: int = 512, rows: int = 40, models: Sequence[str] = ("main",)) -> Counts:
    groups = {(name, side, side): (frames, 2 * frames) for name in models}
    total = frames * len(models)
    return Counts(0, total, total, total * side**2, total * rows, groups, {})


def decide(*overrides: str, frames: int = 512, model: Sized = SD15, force: Workforce = GPU, **fields: Any) -> Any:
    job = load_job(Path("m.csv"), ["workers.device=cuda", *overrides])
    names = fields.get("models", ("main",))
    models = cast(dict[str, Model], dict.fromkeys(names, model))
    return decide_compile(job, models, counts_of(frames, **fields), force)


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.prepare.compiling, "missing_for_compiling", lambda gpu: "")


@pytest.mark.parametrize(
    ("model", "frames", "side", "rows", "seconds"),
    [
        (SD15, 100, 512, 40, 12.8),  # 100 images of 20 guided steps, 3.2 ms an input
        (SD15, 100, 1024, 40, 51.2),
        (FLUX, 10, 1024, 28, 49.6),  # measured: 174 ms an input, so 48.7
        (Sized(0), 100, 512, 40, 0.0),
    ],
)
def test_seconds_of_the_networks_measured(model: Sized, frames: int, side: int, rows: int, seconds: float) -> None:
    counts = counts_of(frames, side, rows)
    assert network_seconds(counts, cast(dict[str, Model], {"main": model})) == pytest.approx(seconds, rel=1e-3)


@pytest.mark.parametrize(
    ("fields", "on"),
    [
        ({"frames": 512}, False),  # a minute of work
        ({"frames": 6000}, False),
        ({"frames": 6500}, True),  # a quarter of 832 s is more than two times 100 s
        ({"frames": 6500, "force": Workforce(2, 4, 1.0, "cuda")}, False),  # half the work for each
        ({"frames": 13000, "force": Workforce(2, 4, 1.0, "cuda")}, True),
        ({"frames": 6500, "force": Workforce(None, 4, 1.0, "cuda")}, False),  # as many workers as fit: maybe 64
        ({"frames": 6500, "models": ("main", "other")}, True),  # twice the work, two models to compile
        ({"frames": 3300, "models": ("main", "other")}, False),
        ({"frames": 170, "model": FLUX, "side": 1024, "rows": 28}, True),
    ],
)
def test_auto_compiles_where_the_job_wins_back_the_time(fields: dict[str, Any], on: bool, complete: None) -> None:
    decision = decide(**fields)
    assert decision.on is on
    assert decision.warning == ""
    assert decision.reason.startswith("would save about ")


def test_the_reason_has_the_numbers(complete: None) -> None:
    assert decide(frames=512).reason == "would save about 16 s of a worker's 66 s, and takes about 100 s"


def test_on_a_cpu_only_on_compiles(complete: None) -> None:
    force = Workforce(1, 4, 0.0, "cpu")
    assert not decide(frames=10**6, force=force).on
    assert decide("workers.compile=on", frames=1, force=force).on


def test_off_is_off(complete: None) -> None:
    assert not decide("workers.compile=off", frames=10**6).on


def test_without_a_compiler_on_is_refused_and_auto_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.prepare.compiling, "missing_for_compiling", lambda gpu: "the package triton")
    with pytest.raises(JobError, match=r"workers\.compile: required the package triton to compile with, got none"):
        decide("workers.compile=on")
    decision = decide(frames=6500)
    assert not decision.on
    assert decision.warning == "workers.compile: networks are not compiled, for want of the package triton"
    assert decide(frames=100).warning == ""  # it would not have been compiled
    assert decide("workers.compile=on", "workers.address=auto").on  # the cluster's machines may have one


@pytest.mark.parametrize(
    ("gpu", "found", "environment", "lacking"),
    [
        (False, {"g++"}, {}, ""),
        (False, {"clang++"}, {}, ""),
        (False, set(), {}, "a C++ compiler (g++ or clang++)"),
        (False, {"g++"}, {"CXX": "icpx"}, "a C++ compiler (icpx)"),
        (False, {"icpx"}, {"CXX": "icpx -O2"}, ""),
        (True, {"gcc"}, {}, ""),
        (True, {"g++"}, {}, "a C compiler (gcc or clang or cc)"),
    ],
)
def test_what_a_machine_lacks(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, found: set[str], environment: dict[str, str], lacking: str
) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in found else None)
    monkeypatch.setattr(toolchain, "_has", lambda package: True)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(Path(__file__).parent))
    monkeypatch.setattr(toolchain, "HEADER", Path(__file__).name)
    assert toolchain.missing_for_compiling(gpu) == lacking


def test_triton_and_python_s_headers_are_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(toolchain, "_has", lambda package: False)
    assert toolchain.missing_for_compiling(gpu=True) == "the package triton"
    assert toolchain.missing_for_compiling(gpu=False).startswith(f"Python's header files ({tmp_path}/Python.h")


def test_the_plan_keeps_the_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: None) -> None:
    """A resume that leaves it open takes it as it was; another one is refused; a machine that lacks a compiler, too."""
    manifest = tmp_path / "m.csv"
    manifest.write_text("prompt\n3d dog face\n")

    def resumed(*overrides: str) -> Any:
        return record_or_resume(prepare(load_job(manifest, [f"output={tmp_path / 'out'}", *overrides]))).plan.compile

    assert resumed("workers.compile=on") is True
    assert load_plan(tmp_path / "out").compile is True
    assert resumed() is True
    with pytest.raises(StoreError, match=r"workers\.compile: on then, off now"):
        resumed("workers.compile=off")
    monkeypatch.setattr(render.prepare.compiling, "missing_for_compiling", lambda gpu: "a C++ compiler")
    with pytest.raises(JobError, match=r"required a C\+\+ compiler to compile with"):
        resumed()


def test_parameters_of_the_network_alone(starter: Model) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(starter.path / "unet")
    assert starter.network_parameters == sum(value.numel() for value in unet.parameters())
