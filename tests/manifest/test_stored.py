"""A manifest that has been read: its walks, its fingerprint, and its file beside the store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_tables import (
    DEFAULTS,
    MODELS,
    OTHER_MODELS,
    OTHERS,
    TABLE,
    Cells,
    assert_frozen,
    csv,
    keyframes,
    parquet,
    variant,
)

import render.manifest.read
from render.core.errors import ManifestError
from render.core.recipe import SEED_MAX
from render.manifest.read import read_manifest
from render.manifest.stored import read_stored

pytest_plugins = ["manifest_tables"]


def test_images_are_consecutive_seeds(path: Path) -> None:
    manifest = csv(path, f"prompt,seed,images\na,7,3\nb,{SEED_MAX - 1},2\nc,1,1\n")
    assert [(w.name, w.keyframes[0].seed, w.keyframes[0].row) for w in manifest.walks()] == [
        ("still-000001-0000", 7, 1),
        ("still-000001-0001", 8, 1),
        ("still-000001-0002", 9, 1),
        ("still-000002-0000", SEED_MAX - 1, 2),
        ("still-000002-0001", SEED_MAX, 2),
        ("still-000003", 1, 3),
    ]


def test_a_million_images_are_not_built_at_once(path: Path) -> None:
    walks = csv(path, "prompt,seed,images\na,0,1000000\n").walks()
    assert next(walks).name == "still-000001-0000"


def test_the_fingerprint_sees_every_cell_and_label(path: Path) -> None:
    changes: Cells = {"prompt": "x", "seed": 9, "rank": 3, "kind": "x", "score": 0.0, "good": False, "scheduler": "lms"}
    prints = {parquet(path, TABLE).fingerprint}
    for name, value in changes.items():
        prints.add(parquet(path, {**TABLE, name: [value, *TABLE[name][1:]]}).fingerprint)
    prints.add(parquet(path, variant(rank=pa.int32())).fingerprint)
    prints.add(parquet(path, pa.table(TABLE).rename_columns({"rank": "place"})).fingerprint)
    prints.add(parquet(path, pa.table(TABLE).slice(0, 3)).fingerprint)
    assert len(prints) == len(changes) + 4


def test_the_fingerprint_is_stable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would refuse to resume what an older version began."""
    expected = "9b400c958a5c403d4409464c15c54b5c9306165d2075fb2d40586de5fd8c936a"
    assert parquet(path, TABLE).fingerprint == expected
    monkeypatch.setattr(render.manifest.stored, "CHUNK", 3)
    assert parquet(path, TABLE).fingerprint == expected


def test_the_fingerprint_depends_on_the_defaults_that_are_used(path: Path) -> None:
    assert csv(path, "prompt\np\n").fingerprint != read_manifest(path, OTHERS, OTHER_MODELS).fingerprint
    full = "walk,prompt,negative_prompt,seed,frames,easing,interpolation,width,height,steps,guidance,scheduler"
    row = "w,p,n,1,2,linear,lerp,64,64,20,1,ddim"
    row = f"{row}\n{row}"
    assert csv(path, f"{full}\n{row}\n").fingerprint == read_manifest(path, OTHERS, OTHER_MODELS).fingerprint


def test_what_another_version_wrote_is_refused(path: Path) -> None:
    target = path.with_name("frozen.parquet")
    csv(path, "prompt\na\n").write(target)
    table = pq.read_table(target)
    pq.write_table(table.drop_columns(["source_row", "fps"]), target)
    with pytest.raises(
        ManifestError, match="required a stored manifest of this version; got one without fps, source_row"
    ):
        read_stored(target)


@pytest.mark.parametrize("negative", ["", "blurry", "two\r\nlines"])
def test_what_is_written_needs_no_defaults(path: Path, negative: str) -> None:
    text = "walk,prompt,negative_prompt,seed,images,kind\nw,a\r\n,,,,1\nw,b,x,5,,\n,c,,,3,2\n,d,,9,,\n"
    path.write_text(text.replace("a\r\n", '"a\r\n"'), newline="")
    manifest = read_manifest(path, replace(DEFAULTS, negative_prompt=negative), MODELS)
    assert [k.negative_prompt for k in keyframes(manifest)][:2] == [negative.replace("\r", ""), "x"]
    assert_frozen(manifest, path.with_name("frozen.parquet"))


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = csv(path, "prompt\na\n")
    target = path.with_name("frozen.parquet")
    manifest.write(target)
    before = target.read_bytes()

    def fail(table: Any, file: Path, **options: Any) -> None:
        file.write_bytes(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        manifest.write(target)
    assert target.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["frozen.parquet", "m.csv"]


def test_rows_beyond_one_chunk(path: Path) -> None:
    count = 10_000
    columns = {"walk": ["long"] * count, "prompt": [f"p{i}" for i in range(count)], "n": list(range(count))}
    (walk,) = parquet(path, columns).walks()
    assert [(k.row, k.prompt, k.labels) for k in walk.keyframes] == [(i + 1, f"p{i}", {"n": i}) for i in range(count)]
    columns["walk"] = [None] * count
    text = "prompt,n\n" + "".join(f"p{i},{i}\n" for i in range(count))
    manifest = csv(path, text)
    assert [walk.keyframes[0].row for walk in manifest.walks()] == list(range(1, count + 1))
    assert manifest.fingerprint == parquet(path, columns).fingerprint


@pytest.mark.parametrize(("column", "value"), [("motion", "wobble"), ("frames", 0), ("walk", "../x"), ("fps", 100.0)])
def test_a_stored_manifest_that_was_changed_is_refused(path: Path, column: str, value: Any) -> None:
    """As a job's input, too: its cells are not read by their rules again."""
    target = path.with_name("stored.parquet")
    csv(path, "walk,prompt,fps\nw,a,24\nw,b,\n").write(target)
    table = pq.read_table(target)
    changed = table.set_column(
        table.column_names.index(column), column, pa.array([value] * 2, table.schema.field(column).type)
    )
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), target)
    with pytest.raises(ManifestError, match="required the stored manifest of a run, as it was written; got one that"):
        read_manifest(target, DEFAULTS, MODELS)


def test_a_stored_rate_has_to_fit_the_new_job(path: Path) -> None:
    target = path.with_name("stored.parquet")
    csv(path, "walk,prompt,fps\nw,a,100\nw,b,\n").write(target)
    assert read_manifest(target, DEFAULTS, MODELS).row_count == 2
    with pytest.raises(ManifestError, match=r"column 'fps': required 0\.1 … 50"):
        read_manifest(target, replace(DEFAULTS, fps_max=50.0), MODELS)
