"""Images of a single colour are kept, put in quarantine, or rendered again with other seeds, as the job says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from stores import JOB, rendering_here, run_here

import render.cluster.worker
from render import (
    JobError,
    Summary,
    animate_store,
    compact_store,
    open_store,
    plan_job,
    repair_store,
    report_store,
    retry_store,
    verify_store,
)
from render.store import Ledger, Rendered, rendered

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

MANIFEST = "walk,prompt,seed,frames\nw,3d dog face,7,3\nw,3d dog face,9,\n,3d rocket,2,\n"
BLANK = [("w", 0), ("still-000003", 0)]  # of the undisturbed run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Summary]:
    """Do a run in which two pictures come out black; with another seed they do not."""
    (tmp_path / "m.csv").write_text(MANIFEST)
    job = (*JOB, "sampling.steps=2", "animation.formats=[]", "sheets.kinds=[]", "store.unit_frames=3")
    whole = open_store(run_here(tmp_path / "m.csv", *job, f"output={tmp_path / 'whole'}").out)
    black = {whole.frame(walk, index).row["sha256"] for walk, index in BLANK}

    def blacken(pixels: NDArray[np.uint8], encoding: str, text: str) -> Rendered:
        is_bad = hashlib.sha256(pixels.tobytes()).hexdigest() in black
        return rendered(np.zeros_like(pixels) if is_bad else pixels, encoding, text)

    monkeypatch.setattr(render.cluster.worker, "rendered", blacken)
    return lambda *overrides: run_here(tmp_path / "m.csv", *job, f"output={tmp_path / 'out'}", *overrides)


def told(out: Path) -> dict[tuple[str, int], tuple[bool, int, int]]:
    """Place → is it blank, what was added to its seed, its seed; of the frames that are blank or of other seeds."""
    columns = ["walk", "frame", "blank", "seed_shift", "seed"]
    rows: list[dict[str, Any]] = open_store(out).dataset().to_table(columns=columns).to_pylist()
    return {
        (row["walk"], row["frame"]): (row["blank"], row["seed_shift"], row["seed"])
        for row in rows
        if row["blank"] or row["seed_shift"]
    }


def test_they_are_kept_and_flagged(run: Callable[..., Summary]) -> None:
    summary = run()
    assert (summary.frames, summary.quarantined, summary.blank) == (5, 0, 2)
    assert told(summary.out) == {("w", 0): (True, 0, 7), ("still-000003", 0): (True, 0, 2)}
    assert verify_store(summary.out, deep=True).problems == ()


def test_they_go_to_quarantine(run: Callable[..., Summary]) -> None:
    summary = run("store.blank=quarantine")
    assert (summary.frames, summary.quarantined, summary.blank) == (3, 2, 0)
    assert told(summary.out) == {}
    assert {one.kind for one in verify_store(summary.out).findings} == {"quarantined"}


def test_other_seeds_are_tried_and_recorded(run: Callable[..., Summary]) -> None:
    summary = run("store.blank=reseed")
    assert (summary.frames, summary.quarantined, summary.blank) == (5, 0, 0)
    assert told(summary.out) == {("w", 0): (False, 1, 8), ("still-000003", 0): (False, 1, 3)}
    assert verify_store(summary.out, deep=True).problems == ()
    again = run("store.blank=reseed")
    assert (again.frames, again.quarantined) == (5, 0)


def test_three_other_seeds_are_tried(run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.cluster.worker, "rendered", lambda *given: replace(rendered(*given), blank=True))
    summary = run("store.blank=reseed")
    assert (summary.frames, summary.quarantined, summary.blank) == (0, 5, 0)
    shifts = {receipt.seed_shifts[:1] for receipt in Ledger(summary.out).receipts()}
    assert shifts == {(), (1,), (2,), (3,)}


@pytest.mark.parametrize("policy", ["keep", "quarantine", "reseed"])
def test_whatever_the_policy_all_commands_go_on(run: Callable[..., Summary], policy: str) -> None:
    out = run(f"store.blank={policy}").out
    pictures, before = open_store(out).dataset().to_table(columns=["walk", "frame", "sha256"]), told(out)
    left = {"quarantined"} if policy == "quarantine" else set()
    for shard in sorted((out / "data").iterdir()):
        shard.write_bytes(shard.read_bytes()[:-1])
        with rendering_here():
            repair_store(out)
        assert {one.kind for one in verify_store(out, deep=True).findings} == left
        assert told(out) == before
    key = [("walk", "ascending"), ("frame", "ascending")]
    assert compact_store(out).files == 1
    now = open_store(out).dataset().to_table(columns=["walk", "frame", "sha256"])
    assert now.sort_by(key).equals(pictures.sort_by(key))
    assert run(f"store.blank={policy}").quarantined == (2 if left else 0)
    with rendering_here():
        assert retry_store(out).failed == (2 if left else 0)
        assert retry_store(out, seed_shift=1).failed == 0
    assert verify_store(out, deep=True).problems == ()
    assert report_store(out).blank == (2 if policy == "keep" else 0)
    assert len(animate_store(out, "animation.formats=[gif]")) == 1


def test_another_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(MANIFEST)
    with pytest.raises(JobError, match="required one of keep, quarantine, reseed; got 'drop'"):
        plan_job(tmp_path / "m.csv", "store.blank=drop")
