"""Braces that are no template: refused, as the library would take them away in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.core.errors import ManifestError
from render.templates.expand import Expansion, expand_templates
from render.templates.grammar import TemplateError, parse_template


@pytest.mark.parametrize(
    ("template", "hint", "got"),
    [
        ("{a cat}", "", "'{a cat}'"),
        ("a {2::cat} b", "", "'{cat}'"),
        ("{a|{b}}", "", "'{b}'"),
        ("{a {b|c}}", "", "'{a}'"),
        ("${c={red}} ${c}", "", "'{red}'"),
        ("{'a custom extension block'} portrait", "", "{'a custom extension block'}"),
        ('{"prompt": "a cat", "style": "oil"}', " (JSON? A table of one object a line is .jsonl)", "oil"),
        ("a photo of {prompt}", " (a style? Its file is for --styles)", "{prompt}"),
    ],
)
def test_braces_around_a_single_text_are_refused(template: str, hint: str, got: str) -> None:
    with pytest.raises(TemplateError) as caught:
        parse_template(template)
    assert caught.value.required == f"options in braces, such as {{red|blue}}{hint}"
    assert got in caught.value.got


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{a|b}} {|c}", ["a", "a c", "b", "b c"]),
        ("{${c:red}} cat", ["red cat"]),
        ("${c={red|blue}} {${c}}", ["red", "blue"]),
    ],
)
def test_braces_around_more_than_text_are_templates(tmp_path: Path, template: str, expected: list[str]) -> None:
    (tmp_path / "t.txt").write_text(template)
    assert expand_templates(tmp_path / "t.txt", tmp_path / "m.csv", Expansion("combinatorial")) == len(expected)
    rows = (tmp_path / "m.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0].strip('"') for row in rows] == expected


def test_a_list_of_json_is_refused_by_line(tmp_path: Path) -> None:
    (tmp_path / "json_prompts.txt").write_text(
        '{"prompt": "a cat", "style": "oil"}\n{\'a custom extension block\'} portrait\na plain prompt\n'
    )  # json_prompts.txt of the cases
    with pytest.raises(ManifestError) as caught:
        expand_templates(tmp_path / "json_prompts.txt", tmp_path / "m.csv", Expansion())
    heading, *lines = str(caught.value).split("\n")
    assert heading.endswith("json_prompts.txt: 2 errors")
    assert ["row 1," in lines[0], "row 2," in lines[1]] == [True, True]
    assert not (tmp_path / "m.csv").exists()
