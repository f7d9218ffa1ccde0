"""The rows of a store as a manifest: the same recipes, and nothing lost without a word."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_tables import DEFAULTS, MODELS, THREE
from PIL import Image as Picture
from stores import Finished, pixels, run_here

from render import ManifestError, StoreError, open_store, plan_job, run_job
from render.cli import main
from render.core.blend import Image, Prompt, Seed, mix
from render.core.recipe import Recipe
from render.manifest.read import read_manifest
from render.manifest.store_rows import _strength
from render.manifest.stored import Manifest
from render.plan.frames import skipped_steps

pytest_plugins = ["stores"]

STILL = Recipe(Prompt("a dog"), Prompt("blurry"), Seed(7), 64, 128, 20, 3.0, "euler", "fingerprint")
BLEND = replace(STILL, prompt=mix("slerp", Prompt("a dog"), Prompt("a cat"), 0.5))


def rows(*recipes: Recipe, **labels: Any) -> pa.Table:
    """Columns of a store, as `write_shard` has them, for recipes that begin a frame of their own walk."""
    columns: dict[str, Any] = {
        "prompt": ["a dog" for _ in recipes],
        "negative_prompt": ["blurry" for _ in recipes],
        "seed": pa.array([7 for _ in recipes], pa.uint64()),
        "step": pa.array([recipe.steps for recipe in recipes], pa.int32()),
        "cfg": [
            recipe.guidance if recipe.embedded_guidance is None else recipe.embedded_guidance for recipe in recipes
        ],
        "sampler": [recipe.scheduler for recipe in recipes],
        "width": pa.array([recipe.width for recipe in recipes], pa.int32()),
        "height": pa.array([recipe.height for recipe in recipes], pa.int32()),
        "key": [recipe.key for recipe in recipes],
        "walk": [f"walk {number}" for number, _ in enumerate(recipes)],
        "frame": pa.array([0 for _ in recipes], pa.int32()),
        "recipe": [recipe.json for recipe in recipes],
        "model": ["starter" for _ in recipes],
    }
    return pa.table(columns | labels)


def read(table: pa.Table, **defaults: Any) -> Manifest:
    return read_manifest(table, replace(DEFAULTS, **defaults), THREE if "model" in defaults else MODELS)


def test_the_columns_of_a_store_are_those_of_a_manifest() -> None:
    manifest = read(rows(STILL, replace(STILL, steps=5, guidance=7.5), kind=["a", "b"], sweep=["s=1", "s=2"]))
    first, second = manifest.walks()
    assert (first.still, first.width, first.height, first.start.labels) == (True, 64, 128, {"kind": "a"})
    assert (first.start.prompt, first.start.negative_prompt, first.start.seed) == ("a dog", "blurry", 7)
    assert (first.start.steps, first.start.guidance, first.start.scheduler) == (20, 3.0, "euler")
    assert (second.start.steps, second.start.guidance, second.start.row) == (5, 7.5, 2)


def test_what_is_left_out_is_said() -> None:
    table = rows(STILL, BLEND, BLEND, replace(STILL, stop=3), sweep=["s=1"] * 4)
    left, model, walks = read(table).warnings
    assert left.endswith("left out are image, key, walk, frame, recipe, model, sweep")
    assert "the model 'starter'" in model
    assert "3 frames between the keyframes of walks ('walk 1', 'walk 2', 'walk 3') are left out" in walks


@pytest.mark.parametrize(
    "shared", [{"stem": STILL}, {"towards": STILL, "t": 0.5}, {"stop": 4}, {"clean": True}, {"noise": BLEND.noise}]
)
def test_only_what_one_row_can_say_is_a_row(shared: dict[str, Any]) -> None:
    if "noise" in shared:
        shared = {"noise": mix("slerp-global", Seed(1), Seed(2), 0.5)}
    assert [walk.start.row for walk in read(rows(replace(STILL, **shared), STILL)).walks()] == [2]
    with pytest.raises(ManifestError, match="required a frame that one row can say; got blends along walks alone"):
        read(rows(replace(STILL, **shared)))


def test_an_edited_column_wins() -> None:
    """The recipe gives only what the store has no column for."""
    table = rows(STILL)
    edited = table.set_column(table.column_names.index("cfg"), "cfg", [[9.0]])
    (walk,) = read(edited).walks()
    assert walk.start.guidance == 9.0


def test_start_images_come_back(tmp_path: Path) -> None:
    Picture.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    sha256 = hashlib.sha256((tmp_path / "red.png").read_bytes()).hexdigest()
    recipe = replace(STILL, image=Image("red.png", sha256), skipped_steps=skipped_steps(20, 0.55))
    first, second = read(rows(recipe, STILL), media=tmp_path).walks()
    assert (first.start.image, first.start.image_sha256, second.start.image) == ("red.png", sha256, "")
    assert skipped_steps(20, first.start.strength) == recipe.skipped_steps


@pytest.mark.parametrize("steps", [1, 7, 20, 29, 50, 998])
def test_a_strength_takes_as_many_steps(steps: int) -> None:
    for skipped in range(steps):
        assert skipped_steps(steps, _strength({"steps": steps, "skipped_steps": skipped})) == skipped


def test_guidance_beside_an_embedded_one_comes_back() -> None:
    recipe = replace(STILL, width=64, height=64, scheduler="flow-euler", guidance=2.5, embedded_guidance=3.5)
    only = {"main": THREE["flux"]}
    (walk,) = read_manifest(rows(recipe), DEFAULTS, only).walks()
    assert (walk.start.guidance, walk.start.true_guidance) == (3.5, 2.5)


def test_weights_in_prompts_are_not_lost_in_silence() -> None:
    recipe = replace(STILL, prompt_syntax="weighted")
    said = "the store's prompts were read with sampling.prompt_syntax=weighted; this job has to say so again"
    assert any(said in warning for warning in read(rows(recipe, STILL)).warnings)
    assert not any("prompt_syntax" in warning for warning in read(rows(STILL)).warnings)


def test_a_recipe_that_is_none_is_reported() -> None:
    table = rows(STILL, STILL)
    broken = table.set_column(table.column_names.index("recipe"), "recipe", [[STILL.json, "a cake"]])
    with pytest.raises(
        ManifestError, match="row 2, column 'recipe': required the JSON of a store's recipe; got 'a cake'"
    ):
        read(broken)


def test_pictures_are_not_read(tmp_path: Path) -> None:
    """A shard whose image bytes are no longer whole still gives its rows."""
    table = rows(STILL).append_column("image", pa.array([{"bytes": b"\0" * 100_000, "path": "a.png"}]))
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    (tmp_path / "a.parquet").write_bytes(data)
    before = pa.total_allocated_bytes()
    manifest = read_manifest(tmp_path, DEFAULTS, MODELS)
    assert pa.total_allocated_bytes() - before < 50_000
    assert len(list(manifest.walks())) == 1


def test_the_output_folder_itself_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "out" / ".run").mkdir(parents=True)
    with pytest.raises(ManifestError, match=r"out/data has its frames, and .*\.run/manifest\.parquet its walks"):
        run_job(tmp_path / "out")
    with pytest.raises(StoreError, match=r"required the output folder of a run, got one without \.run/plan\.json"):
        plan_job(tmp_path / "out")  # which would say what is left of it


# With a store that was rendered.


@pytest.mark.slow
def test_the_same_pixels_come_back(finished: Finished, tmp_path: Path) -> None:
    run_here(finished.out / "data", *finished.overrides, f"output={tmp_path / 'again'}")
    then = {(key, sha256) for (_, _, key), sha256 in pixels(finished.out).items()}
    now = [(key, sha256) for (_, _, key), sha256 in pixels(tmp_path / "again").items()]
    assert len(now) == 7
    assert set(now) <= then


@pytest.mark.slow
def test_a_store_is_a_manifest_in_every_form(
    finished: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["expand", str(finished.out), "-o", str(tmp_path / "rows.csv")]) == 0
    said = capsys.readouterr()
    assert said.out == f"7 prompts in {tmp_path / 'rows.csv'}\n"
    assert "warning: data: the rows of a store" in said.err
    table = open_store(finished.out).dataset().to_table()
    shard = open_store(finished.out).files[-1]
    table.drop_columns("image").to_pandas().to_csv(tmp_path / "duck.csv", index=False)
    wanted = plan_job(finished.out / "data").manifest.fingerprint
    assert plan_job(tmp_path / "rows.csv").manifest.fingerprint == wanted
    assert plan_job(tmp_path / "duck.csv").counts == plan_job(table).counts == plan_job(finished.out / "data").counts
    assert plan_job(table).manifest.fingerprint == wanted
    columns = table.drop_columns("kind").to_pandas()  # whose empty cells pandas makes floats of its integers
    assert plan_job(columns).manifest.fingerprint == plan_job(table.drop_columns("kind")).manifest.fingerprint
    assert plan_job(shard).counts.frames == pq.read_metadata(shard).num_rows
    assert plan_job(finished.out / "data").job.output.name == f"{finished.out.name}-again"


@pytest.mark.slow
def test_shards_that_are_not_committed_are_not_rows(copied: Finished) -> None:
    shard = open_store(copied.out).files[0]
    (copied.out / "data" / "train-00009-of-00009-12345678.parquet").write_bytes(shard.read_bytes())
    assert plan_job(copied.out / "data").counts.frames == 7
