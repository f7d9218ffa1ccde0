"""Stills of equal cost stand for each other: what is counted of them is what is counted of all."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from manifest_tables import DEFAULTS, MODELS

import render.manifest.stored
from render.core.recipe import Target
from render.manifest.read import read_manifest
from render.plan.units import Limits, count_alike, count_walks, make_plan, plan_units

pytest_plugins = ["manifest_tables"]

TARGETS = {"main": Target("")}


@pytest.mark.parametrize("run", [1, 7, 40, 1000])
def test_what_is_counted_is_the_same(path: Path, run: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of stills among walks, some of which share their first steps and must not be cut elsewhere."""
    monkeypatch.setattr(render.manifest.stored, "RUN", run)
    drawn = random.Random(run)
    rows = ["walk,prompt,seed,images,frames,steps,guidance,scheduler,width,anchor"]
    for number in range(40):
        rows += [
            f",p{number},,{drawn.choice(['', '3'])},,{drawn.choice(['5', '8'])},{drawn.choice(['1', '4.5'])}"
            f",{drawn.choice(['', 'heun'])},{drawn.choice(['64', '128'])},"
            for _ in range(drawn.choice([0, 3, 50]))
        ]
        anchor = drawn.choice(["", "0.5"])
        rows += [f"w{number},a,1,,{drawn.randint(1, 30)},8,,,64,{anchor}", f"w{number},b,2,,,,,,64,"]
    path.write_text("\n".join(rows) + "\n")
    manifest = read_manifest(path, DEFAULTS, MODELS)
    counts = count_walks(manifest.walks(), TARGETS)
    assert count_alike(manifest.alike(), TARGETS) == counts
    plan = make_plan(count_alike(manifest.alike(), TARGETS), Limits(4, 16, False, "png"), {}, TARGETS)
    assert sum(1 for _ in plan_units(manifest.walks, plan)) == plan.units


def test_a_long_run_of_stills_is_not_built_one_by_one(path: Path) -> None:
    path.write_text("prompt,guidance\n" + "".join(f"p{row},{row % 2 + 1}\n" for row in range(5000)))
    alike = list(read_manifest(path, DEFAULTS, MODELS).alike())
    assert [(walk.start.guidance, count) for walk, count in alike] == [(1.0, 2500), (2.0, 2500)]
