"""Style files: read as AUTOMATIC1111's web UI does, applied to every prompt of a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.csv as pacsv
import pytest

from render.cli import main
from render.core.errors import JobError, ManifestError
from render.templates.expand import Expansion, expand_templates
from render.templates.styles import Style, read_styles

STYLES = """\ufeffname,prompt,negative_prompt
None,,
oil,"oil painting of {prompt}, brush",photo
------ moods ------,,
dark,"dark,
 moody",
plain,,"grey, {prompt}"
"""


@pytest.fixture
def styles(tmp_path: Path) -> Path:
    path = tmp_path / "styles.csv"
    path.write_text(STYLES, encoding="utf-8")
    return path


def expand(tmp_path: Path, text: str, styles: Path, name: str = "t.txt", **options: Any) -> list[dict[str, Any]]:
    (tmp_path / name).write_text(text)
    expand_templates(tmp_path / name, tmp_path / "m.csv", Expansion(**options, styles=styles))
    rows: list[dict[str, Any]] = pacsv.read_csv(tmp_path / "m.csv").to_pylist()
    return rows


def test_every_prompt_in_every_style(tmp_path: Path, styles: Path) -> None:
    rows = expand(tmp_path, 'a cat\n--prompt "a dog" --neg dull --seed 5\n', styles)
    assert [(row["style"], row["prompt"], row["negative_prompt"], row["seed"]) for row in rows] == [
        ("oil", "oil painting of a cat, brush", "photo", None),
        ("dark", "a cat, dark, moody", "", None),  # behind it, where the style has no {prompt}
        ("plain", "a cat", "grey, ", None),
        ("oil", "oil painting of a dog, brush", "dull, photo", 5),
        ("dark", "a dog, dark, moody", "dull", 5),
        ("plain", "a dog", "grey, dull", 5),
    ]


def test_templates_and_styles_are_drawn_together(tmp_path: Path, styles: Path) -> None:
    styles.write_text("name,prompt\nart,{prompt} in {oil|chalk}\n")
    rows = expand(tmp_path, "a {red|blue} car\n", styles, mode="combinatorial")
    assert {row["prompt"] for row in rows} == {f"a {c} car in {m}" for c in ("red", "blue") for m in ("oil", "chalk")}


def test_a_table_of_templates_keeps_its_columns(tmp_path: Path, styles: Path) -> None:
    rows = expand(tmp_path, "template,kind,negative_prompt\na cat,animal,dull\na car,,\n", styles, "t.csv")
    assert [(row["style"], row["kind"], row["negative_prompt"]) for row in rows[:3]] == [
        ("oil", "animal", "dull, photo"),
        ("dark", "animal", "dull"),
        ("plain", "animal", "grey, dull"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.csv", "name,text\noil,in oil\n"),
        ("s.csv", "name,prompt\noil,in oil\n"),
        ("s.csv", "negative_prompt,name,prompt\n,oil,in oil\n"),
        ("s.json", '[{"name": "oil", "prompt": "in oil"}, {"name": "none", "prompt": ""}]'),
    ],
)
def test_spellings(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_styles(tmp_path / name) == [Style("oil", "in oil", "")]


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        (
            "s.csv",
            "name,prompt,steps\noil,x,5\n",
            "required a style file, with the columns name, prompt, negative_prompt",
        ),
        ("s.csv", "prompt\nx\n", "required a style file"),
        (
            "s.csv",
            "name,prompt\na,x\na,y\n",
            "row 2, column 'name': required a name for every style, each once; got 'a'",
        ),
        ("s.csv", "name,prompt\n,x\n", "row 1, column 'name': required a name for every style"),
        ("s.csv", "name,prompt\nNone,\n", "required at least one style with a text; got none"),
        ("s.json", "{", "required styles, such as"),
        ("s.json", '{"oil": "x"}', "required styles, such as"),
        ("s.json", '[{"name": "a", "prompt": "x", "seed": 3}]', "row 1: required an object of texts with the keys"),
        ("s.json", '["oil"]', "row 1: required an object of texts"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, text: str, error: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_styles(tmp_path / name)
    assert error in str(caught.value)


def test_uses_that_are_refused(tmp_path: Path, styles: Path) -> None:
    with pytest.raises(ManifestError, match="will hold the names of the styles"):
        expand(tmp_path, "template,style\na,b\n", styles, "t.csv")
    with pytest.raises(ManifestError, match="with these styles as --styles FILE; got a style file"):
        expand_templates(styles, tmp_path / "m.csv", Expansion())
    with pytest.raises(ManifestError, match=r"options in braces.*--styles"):
        expand(tmp_path, "a photo of {prompt}\n", styles)
    styles.write_text("name,prompt\noil,{prompt} in {oil}\n")
    with pytest.raises(ManifestError, match=r"row 1, column 'template': required options in braces, .*got '\{oil\}'"):
        expand(tmp_path, "a cat\n", styles)
    with pytest.raises(JobError, match="styles: required a style file"):
        Expansion(styles=tmp_path / "none.csv")


def test_the_command(tmp_path: Path, styles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.txt").write_text("a cat\na dog\n")
    command = ["expand", str(tmp_path / "t.txt"), "-o", str(tmp_path / "m.csv"), "--styles", str(styles)]
    assert main(command) == 0
    assert capsys.readouterr().out.startswith("6 prompts in ")
