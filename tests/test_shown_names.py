"""Names and prompts of a table wherever they are shown: never a path, never markup, never code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from render import ManifestError, plan_job
from render.card import write_card
from render.core.walk import Keyframe, Walk
from render.export import plain
from render.output.animate import Animation
from render.output.captions import captions, description
from render.output.subtitles import write_subtitles

SIGNS = "=cmd|'x'!A1 \"); import os # <img onerror=x> [a](b) `c` $d *e* {\\an8} ﬁ"


@pytest.mark.parametrize(
    "name", ["../up", "/etc/x", "a/b", "..", ".", ".x", "a\\b", "a\nb", "a\0b", "a\u2028b", "x" * 121]
)
def test_a_walks_name_is_no_path(tmp_path: Path, name: str) -> None:
    file = tmp_path / "m.jsonl"
    file.write_text("".join(json.dumps({"walk": name, "prompt": text}) + "\n" for text in "ab"))
    with pytest.raises(ManifestError, match="column 'walk': required a file name"):
        plan_job(file, f"output={tmp_path / 'out'}")


def test_the_card(tmp_path: Path) -> None:
    """Names of files, of the output folder and of a walk stand in Markdown, in Python and in SQL."""
    name = SIGNS.replace("\\", "")
    table = tmp_path / f"{name}.jsonl"
    table.write_text("".join(json.dumps({"walk": name, "prompt": text}) + "\n" for text in "ab"))
    out = tmp_path / name
    (out / ".run").mkdir(parents=True)
    write_card(plan_job(table, "model.id=starter", "output=" + json.dumps(str(out))))
    text = (out / "README.md").read_text()
    python = re.search(r"```python\n(.*?)```\n```sql\n", text, re.DOTALL)
    assert python
    strings = [node.value for node in ast.walk(ast.parse(python[1])) if isinstance(node, ast.Constant)]
    assert strings.count(name) == 1  # of the walk: the folder is that of the card
    imports = [node for node in ast.walk(ast.parse(python[1])) if isinstance(node, ast.Import)]
    assert [alias.name for node in imports for alias in node.names] == ["render"]
    (query,) = re.findall(r"from ('.*');\n", text)
    assert query[1:-1].replace("''", "").count("'") == 0
    outside = text.replace(python[1], "").replace(query, "")
    assert "<img" not in outside
    assert "[a](b)" not in outside
    assert "&lt;img" in outside


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("first.csv", "first.csv"),
        ("my_first_table.csv", "my_first_table.csv"),
        ("_a_ **b**", r"\_a\_ \*\*b\*\*"),
        ("<script>", "&lt;script&gt;"),
        ("[x](y)", r"\[x\](y)"),
        ("a\n# b", r"a \# b"),
        ("a|b`c`", r"a\|b\`c\`"),
        ("http://x", r"http\://x"),
        ("&lt;", "&amp;lt;"),
    ],
)
def test_markdown(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_subtitles_and_the_comment_of_an_animation(tmp_path: Path) -> None:
    prompts = ("<b>x</b> {\\an8}", "a\n\n9\n00:00:00,000 --> 00:00:09,000\nb")
    keys = tuple(Keyframe(1, prompt, "", 7, 2, "linear", "slerp", 4, 1.0, "ddim") for prompt in prompts)
    walk = Walk("w", keys, 8, 8)
    write_subtitles(tmp_path / "w.srt", captions(walk), Animation(fps=1, loop="none"))
    blocks = (tmp_path / "w.srt").read_text().strip().split("\n\n")
    assert len(blocks) == 3
    assert all(len(block.splitlines()) == 3 and block.count("-->") == 1 for block in blocks)
    assert not re.search(r"<[/a-z]|\{\\", "".join(blocks))
    comment = description(walk, {"model": {"id": "starter"}})
    assert json.loads(comment)["prompts"] == list(prompts)
    assert "\n" not in comment
