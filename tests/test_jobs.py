"""Every job loads, every manifest plans, and the README says what there is."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from stores import run_here

import render
from render.cli import _parser
from render.core.blend import INTERPOLATIONS
from render.core.vocabulary import COLUMNS, EASINGS, FROZEN_ONLY, MOTIONS, SCHEDULERS, SHORTHANDS, STORE_COLUMNS
from render.job.config import JobConfig, load_job

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def examples(paths: Iterable[Path]) -> list[Any]:
    """Parameters of a test of each file; those that librosa listens to take long."""
    slow = ("music.yaml", "onsets.csv", "beats.csv")
    return [pytest.param(path, id=path.name, marks=[pytest.mark.slow] * (path.name in slow)) for path in sorted(paths)]


@pytest.mark.parametrize("path", examples((ROOT / "jobs").iterdir()))
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


@pytest.mark.parametrize(
    "word", [*COLUMNS, *SHORTHANDS, *STORE_COLUMNS, *EASINGS, *INTERPOLATIONS, *MOTIONS, *SCHEDULERS]
)
def test_the_readme_names_every_column_and_choice(word: str) -> None:
    assert word in FROZEN_ONLY or f"`{word}`" in README


def _keys(prefix: str, value: object) -> list[str]:
    fields = getattr(value, "__dataclass_fields__", None)
    if fields is None:
        return [prefix]
    return [key for name in fields for key in _keys(f"{prefix}.{name}".lstrip("."), getattr(value, name))]


@pytest.mark.parametrize("key", _keys("", JobConfig()))
def test_the_readme_names_every_job_key(key: str) -> None:
    section, _, name = key.rpartition(".")
    assert f"`{key}`" in README or (f"`{section}.*`" in README and name in README)


def test_the_readme_names_every_command() -> None:
    actions = [action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction)]
    for command in actions[0].choices:
        assert f"render {command} " in README


def test_the_readmes_tree_is_the_tree() -> None:
    listed = subprocess.run(["git", "ls-files", "render/*.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = {name for name in listed.stdout.split() if name.count("/") == 1 and "__" not in name}
    assert files == set(re.findall(r"^(render/\w+\.py) ", README, re.MULTILINE))


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
