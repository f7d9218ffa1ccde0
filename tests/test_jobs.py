"""Every job loads, every manifest plans, and the examples render. tests/documents has what the pages show."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from stores import run_here

import render
from render.job.config import load_job

ROOT = Path(__file__).parents[1]


def examples(paths: Iterable[Path]) -> list[Any]:
    """Parameters of a test of each file; those that librosa listens to take long."""
    slow = ("music.yaml", "onsets.csv", "beats.csv")
    return [pytest.param(path, id=path.name, marks=[pytest.mark.slow] * (path.name in slow)) for path in sorted(paths)]


@pytest.mark.parametrize("path", examples((ROOT / "jobs").glob("*.yaml")))
def test_every_job_plans_and_says_what_it_is_for(path: Path) -> None:
    prepared = render.plan_job(path)
    assert prepared.counts.frames > 0
    assert not prepared.warnings
    header = [line.split()[1] for line in path.read_text().splitlines() if re.match(r"# [A-Z]", line)]
    assert header[:4] == ["Purpose", "Command", "Hardware", "Time"]
    assert f"render run jobs/{path.name}" in path.read_text()


@pytest.mark.parametrize("path", examples((ROOT / "manifests").rglob("*.csv")))
def test_every_manifest_plans(path: Path) -> None:
    assert render.plan_job(path).counts.frames > 0


def test_the_first_manifest_is_a_walk_of_24_frames_or_more_and_stills_with_a_label() -> None:
    counts = render.plan_job(ROOT / "manifests" / "first.csv").counts
    assert counts.walks == 1
    assert counts.stills >= 3
    assert counts.frames - counts.stills >= 24


def test_a_job_is_relative_to_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    job = load_job(ROOT / "jobs" / "first.yaml")
    assert job.manifest == ROOT / "manifests" / "first.csv"
    assert job.output == tmp_path / "out" / "first"


def test_the_starter_notice_is_shipped() -> None:
    assert "Microsoft" in (ROOT / "render" / "starter" / "pipeline" / "NOTICE").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "sheets"),
    [
        (  # every motion, start images, stills
            "gallery",
            {
                "grid/fixed-noise.png",
                "walk/circle.png",
                "walk/lost.png",
                "walk/guidance.png",
                "images/still-000037.png",
                "stills.png",
            },
        ),
        ("music", {"walk/onsets.png", "walk/beats.png"}),
    ],
)
def test_examples_render(tmp_path: Path, job: str, sheets: set[str]) -> None:
    """Small, and all of it."""
    small = ("sampling.steps=2", "sampling.width=32", "sampling.height=32", "animation.formats=[]")
    summary = run_here(ROOT / "jobs" / f"{job}.yaml", *small, f"output={tmp_path / 'out'}")
    planned = render.plan_job(ROOT / "manifests" / job, *small).counts.frames
    assert (summary.quarantined, summary.frames) == (0, planned)
    found = {str(path.relative_to(tmp_path / "out" / "sheets")) for path in summary.sheets}
    assert found >= sheets
