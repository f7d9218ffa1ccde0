"""What a row means: its defaults, its seed, its place in a walk, its model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from manifest_tables import DEFAULTS, MODELS, THREE, assert_frozen, csv, errors, keyframes

from render.core.columns import COLUMNS
from render.core.errors import ManifestError
from render.core.walk import Keyframe, Walk
from render.job.sweep import parse_sweep
from render.manifest.read import read_manifest
from render.plan.motions import frame_count

pytest_plugins = ["manifest_tables"]

FIRST = Path(__file__).parents[2] / "manifests" / "first.csv"


def test_empty_cells_take_the_defaults(path: Path) -> None:
    manifest = csv(path, "prompt,seed\na dog,7\n")
    keyframe = Keyframe(1, "a dog", "blurry", 7, 1, "linear", "slerp", 20, 3.0, "ddim")
    assert list(manifest.walks()) == [Walk("still-000001", (keyframe,), 64, 128, still=True)]
    assert (manifest.name, manifest.row_count) == ("m", 1)


def test_every_column_is_read(path: Path) -> None:
    cells = {column.name: "" for column in COLUMNS if column.stored and not column.by_reader} | {
        "walk": "w",
        "prompt": " a dog ",
        "negative_prompt": "bad",
        "seed": "5",
        "images": "1",
        "frames": "9",
        "interpolation": "slerp-global",
        "width": "32",
        "height": "48",
        "steps": "11",
        "guidance": "7.5",
        "scheduler": "flow-dpm++2m",
        "true_guidance": "2.5",
        "model": "flux",
        "motion": "drift",
        "loop": "none",
        "step_size": "0.5",
        "direction": "random",
        "vary_noise": "no",
        "anchor": "0",
        "tween": "0",
        "every": "1",
        "shown": "latents",
        "fps": "24",
    }
    path.write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    keyframe = Keyframe(1, " a dog ", "bad", 5, 9, "linear", "slerp-global", 11, 7.5, "flow-dpm++2m", 2.5)
    settings: dict[str, Any] = {"motion": "drift", "step_size": 0.5, "direction": "random", "fps": 24.0}
    assert list(read_manifest(path, DEFAULTS, THREE).walks()) == [
        Walk("w", (keyframe,), 32, 48, model="flux", **settings)
    ]


def test_rows_of_one_walk_are_its_keyframes_in_order(path: Path) -> None:
    manifest = csv(path, "walk,prompt,frames\na,1st,3\na,2nd,4\n,alone,\nb,3rd,\nc,4th,\nc,5th,9\n")
    walks = list(manifest.walks())
    assert [(w.name, w.still, [k.row for k in w.keyframes], frame_count(w)) for w in walks] == [
        ("a", False, [1, 2], 4),
        ("still-000003", True, [3], 1),
        ("b", False, [4], 1),
        ("c", False, [5, 6], 25),
    ]


def test_a_still_without_seed_derives_one_from_job_and_row(path: Path) -> None:
    seeds = [k.seed for k in keyframes(csv(path, "prompt,seed,images\na,,\nb,3,\nc,,2\n"))]
    first, third = (int.from_bytes(hashlib.sha256(f"42:{row}".encode()).digest()[:8]) >> 11 for row in (1, 3))
    assert seeds == [first, 3, third, third + 1]
    assert max(seeds) < 2**53


def test_empty_seeds_of_a_walk_hold_the_one_before(path: Path) -> None:
    text = "walk,prompt,seed\na,p,\na,p,5\na,p,\n,p,6\nb,p,\nb,p,\nc,p,8\nc,p,\n"
    assert [k.seed for k in keyframes(csv(path, text))] == [42, 5, 5, 6, 42, 42, 8, 8]


def test_empty_cells_take_the_defaults_of_the_row_s_model(path: Path) -> None:
    path.write_text("prompt,model,width,guidance\na,flow,,\na,,,\na,flux,,2\na,flow,32,\na,main,32,\n")
    manifest = read_manifest(path, DEFAULTS, THREE)
    found = [(walk.model, walk.width, walk.height, walk.start) for walk in manifest.walks()]
    assert [(*place, k.steps, k.guidance, k.scheduler) for *place, k in found] == [
        ("flow", 96, 96, 8, 5.0, "flow-euler"),
        ("main", 64, 128, 20, 3.0, "ddim"),
        ("flux", 256, 256, 4, 2.0, "flow-euler"),
        ("flow", 32, 96, 8, 5.0, "flow-euler"),
        ("main", 32, 128, 20, 3.0, "ddim"),
    ]
    assert {k.true_guidance for k in keyframes(manifest)} == {1.0}
    assert manifest.models == ("flow", "main", "flux")  # by their first rows
    assert_frozen(manifest, path.with_name("frozen.parquet"))


def test_a_manifest_without_the_column_is_of_the_main_model(path: Path) -> None:
    path.write_text("prompt\na\n")
    assert read_manifest(path, DEFAULTS, THREE).models == ("main",)
    assert read_manifest(path, DEFAULTS, THREE).fingerprint == read_manifest(path, DEFAULTS, MODELS).fingerprint


@pytest.mark.parametrize("column", [column.name for column in COLUMNS if column.by_reader])
def test_what_only_a_written_manifest_may_hold(path: Path, column: str) -> None:
    required = "no column of this name: it is filled in when the manifest is read"
    assert errors(path, f"prompt,{column}\na,1\n".encode()) == [f"column '{column}': required {required}; got it"]


def test_rows_of_a_sweep_are_those_of_the_source(path: Path) -> None:
    path.write_text("walk,prompt,images\n,a,2\nw,b,\nw,c,\n,d,\n")
    sweep = parse_sweep([{"guidance": [1, 5.5]}])
    manifest = read_manifest(path, DEFAULTS, MODELS, sweep)
    stills = [walk.name for walk in manifest.walks() if walk.still]
    points = ("guidance=1", "guidance=5.5")
    assert stills[:4] == [f"still-000001-000{image} {point}" for point in points for image in (0, 1)]
    assert stills[4:] == [f"still-000004 {point}" for point in points]
    assert [k.row for k in keyframes(manifest)] == [1, 1, 1, 1, 2, 3, 2, 3, 4, 4]
    assert_frozen(manifest, path.with_name("frozen.parquet"))
    with pytest.raises(ManifestError, match="required a table as it was before a run read it, for a sweep"):
        read_manifest(path.with_name("frozen.parquet"), DEFAULTS, MODELS, sweep)


def test_the_first_manifest() -> None:
    manifest = read_manifest(FIRST, DEFAULTS, MODELS)
    walk, *stills = manifest.walks()
    assert (walk.name, [k.prompt for k in walk.keyframes]) == ("dog-to-cat", ["3d dog face", "3d cat face"])
    assert (frame_count(walk), {k.seed for k in walk.keyframes}, walk.keyframes[0].easing) == (25, {7}, "smooth")
    assert len({still.keyframes[0].seed for still in stills}) == len(stills) == 6
    assert {(*k.labels.values(),) for k in keyframes(manifest)} == {("animal",), ("food",), ("vehicle",)}
