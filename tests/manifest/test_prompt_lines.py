"""A .txt of one prompt a line, and what looks like another kind of list."""

from __future__ import annotations

from pathlib import Path

import pytest
from manifest_tables import DEFAULTS, MODELS, keyframes

from render.core.errors import ManifestError
from render.manifest.read import read_manifest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.txt"


def test_a_prompt_a_line(path: Path) -> None:
    """Commas, quotes and braces are text; rows have the numbers of their lines, so that errors and stills show them."""
    path.write_bytes(
        '\ufeff3d dog face, "soft" light\r\n\r\n# a comment\r\n {a custom block} portrait\n3d cat face'.encode()
    )
    manifest = read_manifest(path, DEFAULTS, MODELS)
    assert [(row.row, row.prompt) for row in keyframes(manifest)] == [
        (1, '3d dog face, "soft" light'),
        (4, " {a custom block} portrait"),
        (5, "3d cat face"),
    ]
    assert manifest.warnings == ("m.txt: 1 lines that begin with # are left out, the first is 3",)


FLAGS = '3d castle\n--prompt "3d sailboat"\n3d dog --negative_prompt "grey, dull" --seed 9 --cfg_scale 3\n'
JSON = '{"prompt": "a cat", "style": "oil"}\na plain prompt\n'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (FLAGS, ["row 2: required a prompt", "row 3: required a prompt", "flags: `render expand` reads such lists"]),
        (JSON, ["row 1: required a prompt", "looks like JSON: a file of one object a line is called .jsonl"]),
        ('[\n"a",\n"b"\n]\n', ["row 1: required a prompt", "row 4: required a prompt"]),
        ("prompt,seed\na,1\n", ["looks like the header of a table: call it .csv or .tsv"]),
        ("Prompt\tCategory\na\tb\n", ["looks like the header of a table"]),
        ("prompt\na\n", ["looks like the header of a table"]),
        ("template\n{a|b}\n", ["looks like the header of a table"]),
        ("# nothing\n\n", ["required at least one line with a prompt; got none"]),
        (b"gr\xfcn\n", ["row 1: required text in UTF-8; got b'gr\\xfcn' (Windows-1252? Save it as UTF-8)"]),
    ],
)
def test_other_lists(path: Path, text: str | bytes, found: list[str]) -> None:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, MODELS)
    for part in found:
        assert part in str(caught.value)


@pytest.mark.parametrize("line", ["a cat -- a dog", "rock'n'roll --", "2--3 dogs", "em—dash --ish", "{soft} light"])
def test_dashes_that_are_no_flags(path: Path, line: str) -> None:
    path.write_text(line)
    assert keyframes(read_manifest(path, DEFAULTS, MODELS))[0].prompt == line
