"""Files of templates become manifests: rows, labels, seeds, errors."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from dynamicprompts.generators import RandomPromptGenerator
from wildcard_files import TEMPLATES

from render.core.errors import JobError, ManifestError
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.core.walk import MAIN
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.models.families import SamplingDefaults
from render.templates.expand import Expansion, expand_templates

pytest_plugins = ["wildcard_files"]

DEFAULTS = Defaults("", 24, "linear", "slerp", 0, Path())
MODELS = {MAIN: ModelRules(SizeRule(8, 8, 512), DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 64, 4, 3.0, "ddim"))}


def expand(source: Path, target: Path, **settings: Any) -> list[dict[str, Any]]:
    count = expand_templates(source, target, Expansion(**settings))
    rows: list[dict[str, Any]] = pq.read_table(target).to_pylist()
    assert len(rows) == count
    return rows


def test_a_csv_becomes_a_manifest(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text('template,seed,mood\n"{red|blue} car, fast",5,calm\na __places/sea__,,\n')
    rows = expand(source, tmp_path / "m.parquet", mode="combinatorial", wildcards=folder)
    assert rows == [
        {"prompt": "red car, fast", "template": "{red|blue} car, fast", "seed": "5", "mood": "calm"},
        {"prompt": "blue car, fast", "template": "{red|blue} car, fast", "seed": "5", "mood": "calm"},
        {"prompt": "a reef", "template": "a __places/sea__", "seed": "", "mood": ""},
    ]
    manifest = read_manifest(tmp_path / "m.parquet", DEFAULTS, MODELS)
    keyframes = [walk.keyframes[0] for walk in manifest.walks()]
    assert [(k.prompt, k.labels["template"]) for k in keyframes] == [(row["prompt"], row["template"]) for row in rows]
    assert [k.seed for k in keyframes[:2]] == [5, 5]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_csv_and_parquet_read_alike(tmp_path: Path, ending: str) -> None:
    frame = pd.DataFrame({"template": ['say "{hi|bye}",\nplease'] * 2, "steps": [10, 20], "age": [1.5, None]})
    frame.to_parquet(tmp_path / "t.parquet")
    expand_templates(tmp_path / "t.parquet", tmp_path / f"m.{ending}", Expansion("combinatorial"))
    walks = list(read_manifest(tmp_path / f"m.{ending}", DEFAULTS, MODELS).walks())
    found = [(k.prompt, k.steps, *k.labels.values()) for (k,) in (walk.keyframes for walk in walks)]
    template = 'say "{hi|bye}",\nplease'
    words = ["hi", "bye"]
    ages: list[tuple[int, float | None]] = [(10, 1.5), (20, None)]
    assert found == [(f'say "{word}", please', steps, template, age) for steps, age in ages for word in words]


def test_a_text_file(tmp_path: Path) -> None:
    source = tmp_path / "t.txt"
    source.write_text("\ufeff# colours\n{red|blue} car\n\na #1 cat\n", encoding="utf-8")
    rows = expand(source, tmp_path / "m.parquet", mode="combinatorial")
    assert [row["prompt"] for row in rows] == ["red car", "blue car", "a #1 cat"]


def test_a_row_draws_by_itself(tmp_path: Path) -> None:
    """Neither the order of the rows nor the number of prompts changes what is drawn; equal rows draw anew."""
    lines = ["{a|b|c|d} {e|f|g|h}", "{1|2|3|4} {5|6|7|8}", "{a|b|c|d} {e|f|g|h}"]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    (tmp_path / "back.txt").write_text("\n".join(["x {y|z}", *reversed(lines)]))
    rows = expand(tmp_path / "t.txt", tmp_path / "m.parquet", count=8, seed=3)
    back = expand(tmp_path / "back.txt", tmp_path / "b.parquet", count=5, seed=3)
    of = [[row["prompt"] for row in rows[begin : begin + 8]] for begin in (0, 8, 16)]
    other = [[row["prompt"] for row in back[begin : begin + 5]] for begin in (5, 10, 15)]
    assert other == [of[0][:5], of[1][:5], of[2][:5]]
    assert of[0] != of[2]
    assert of[0] != [row["prompt"] for row in expand(tmp_path / "t.txt", tmp_path / "m.parquet", count=8, seed=4)][:8]
    seed = int.from_bytes(hashlib.sha256(json.dumps([3, lines[0], 0]).encode()).digest())
    assert of[0] == RandomPromptGenerator(seed=seed).generate(lines[0], 8)


@pytest.mark.slow
def test_the_same_in_every_process(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "t.txt").write_text("\n".join(TEMPLATES))
    script = (
        "import sys; from pathlib import Path; from render.templates.expand import *\n"
        "expand_templates(Path('t.txt'), Path(sys.argv[1]), Expansion(count=20, seed=1, wildcards=Path('wildcards')))"
    )
    outputs = []
    for hash_seed in ("1", "2"):
        target = f"{hash_seed}.csv"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        subprocess.run([sys.executable, "-c", script, target], check=True, cwd=tmp_path, env=environment, timeout=120)
        outputs.append((tmp_path / target).read_bytes())
    assert outputs[0] == outputs[1]
    assert len(outputs[0].splitlines()) == 20 * len(TEMPLATES) + 1


def test_all_bad_rows_at_once(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "t.csv"
    source.write_text("template,seed\n{a|b,1\n{a|b},2\n,3\n__no__,4\n{a|b|c|d},5\n")
    with pytest.raises(ManifestError) as caught:
        expand_templates(source, tmp_path / "m.csv", Expansion("combinatorial", limit=3, wildcards=folder))
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{source}: 4 errors"
    assert [line.split("required")[0] for line in lines[1:]] == [
        f"{source}: row {row}, column 'template': " for row in (1, 3, 4, 5)
    ]
    assert f"required a file no.txt in {folder}; got none for the wildcard 'no'" in lines[3]
    assert "required at most 3 prompts of a template, or a higher limit; got more" in lines[4]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("t.csv", "prompt\nx\n", "required a column 'template'; got the columns ['prompt']"),
        ("t.csv", "template,prompt\na,b\n", "column 'prompt': required no column of this name"),
        ("t.txt", "# nothing\n\n", "required at least one template; got none"),
        ("t.txt", None, "required a text file in UTF-8 that can be read"),
        (
            "t.md",
            "x",
            "required a folder, or a name that ends in .csv, .tsv, .jsonl, .ndjson, .txt, .parquet; got 't.md'",
        ),
        ("t.csv", "template\n{3$$a|a|a}\n", "row 1, column 'template': required at least one prompt; got none"),
    ],
)
def test_bad_sources(tmp_path: Path, name: str, text: str | None, error: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError) as caught:
        expand_templates(tmp_path / name, tmp_path / "m.parquet", Expansion("combinatorial"))
    assert error in str(caught.value)


def test_bad_options(tmp_path: Path) -> None:
    numbers = [{name: number} for name in ("count", "limit") for number in (0, 1_000_001)]
    bad: list[dict[str, Any]] = [{"mode": "all"}, *numbers, {"wildcards": tmp_path / "none"}]
    assert Expansion(count=1_000_000, limit=1_000_000)
    for options in bad:
        with pytest.raises(JobError, match=f"{next(iter(options))}: required"):
            Expansion(**options)
    (tmp_path / "t.csv").write_text("template\na\n")
    for target in ("t.csv", "m.txt"):
        with pytest.raises(JobError, match="output: required another file"):
            expand_templates(tmp_path / "t.csv", tmp_path / target, Expansion())


def test_a_place_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is read: the source is bad, too."""
    source = tmp_path / "t.csv"
    source.write_text("x\na\n")
    (tmp_path / "folder.csv").mkdir()
    for target, got in {
        "no/m.csv": f"required the folder {str(tmp_path / 'no')!r}, to write 'm.csv' into; got none",
        "t.csv/m.csv": f"required the folder {str(source)!r}, to write 'm.csv' into; got a file",
        "folder.csv": f"required a file; got the folder {str(tmp_path / 'folder.csv')!r}",
    }.items():
        with pytest.raises(JobError, match=re.escape(f"output: {got}")):
            expand_templates(source, tmp_path / target, Expansion())
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(JobError, match="output: required a folder that can be written to; got"):
        expand_templates(source, tmp_path / "m.csv", Expansion())


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (source := tmp_path / "t.txt").write_text("a\n")
    target = tmp_path / f"{'x' * 300}.csv"  # no file system takes it
    with pytest.raises(JobError, match=f"{target.name}: required a file that can be written; got .*too long"):
        expand_templates(source, target, Expansion())
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]
