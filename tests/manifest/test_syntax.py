"""Signs of other programs in prompts: each kind is found, and ordinary text is not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_tables import DEFAULTS, MODELS, csv, frame

from render.core.errors import InputError, ManifestError
from render.core.weights import parse_weights
from render.job.sweep import parse_sweep
from render.manifest.read import read_manifest
from render.manifest.syntax import check_weights, literal_signs

pytest_plugins = ["manifest_tables"]

FOUND = {
    "weights": "(3d dog face:1.3) | (a (b) dog:1.3) | (x, (dog:1.2), y) | (dog: 1.3 ) | (dog:2) | (dog:-0.5) | (dog:.5) | "
    "(blade runner 2049:1.2) | (2girls:1.2) | (1990:1.2) | (level 5:1.2) | (v1.5:1.2) | ((dog:1.3)) | (猫:1.2) | "
    "(dog\n:1.3) | (dog (big):1.3) | a (dog)1.3 | (dog)++",
    "double brackets": "((dog)) | a ((dog)) b | (((dog, cat))) | ( (dog) )",
    "square brackets": "[dog] | a [dog] b | [[dog]] | [a dog, cat] | ([dog]) | [style: oil] | [猫]",
    "escaped brackets": r"miku \(vocaloid\) | \[a\]",
    "changes during sampling": "[a:b:0.5] | [cat::0.5] | [:cat:0.5] | [cat:0.5] | [a dog:a cat:10] | a [dog:cat: .25 ] b",
    "parts": "a cat, BREAK, forest | a cat BREAK a dog | a cat\nBREAK\na dog | a cat BREAK | BREAK a cat | "
    "a cat AND a dog | a cat BREAK A dog | BREAK",
    "LoRAs": "<lora:add_detail:0.8> | a<lora:x> | <LORA:x:1> | <lyco:x:1> | a <hypernet:x:1> | withLora(x,0.8)",
    "embeddings": "embedding:easynegative | a, embedding:x.pt",
    "placeholders": "a photo of {prompt}, light | { prompt } | {} | {0} | a {hair color} car | {{prompt}}",
    "templates": "__places/town__ | a __color__ car",
    "flags": 'a cat --neg dog | a cat --ar 16:9 | --prompt x | a cat --v 5 | a cat --steps=20 | 3d cat --n "grey" --d 9',
    "parameters": "a cat\nNegative prompt: bad\nSteps: 20, Sampler: Euler a | a cat Steps: 20, Seed: 5",
    "formulas": "a cat:`where(1)`",
}
ALTERNATING = ["[cat|dog]", "[|cat]", "a [red|green|blue] car"]  # the table above is divided at |
OTHERS = ["{red|blue} car", "a {|big} dog"]
ORDINARY = (
    "a photo (1990) | a photo [1990] | a smile :) and (: | sad :( face | (^_^) | (o_o) | [o_o] | [1] | at (12:30) | "
    "ratio (16:9) | (John 3:16) | [John 3:16] | [12:30] | (scale 1:2.5) | (f/1.8) | a cat (big) on a mat | "
    "a (dog (small) here) | A BREAK in the clouds | PRISON BREAK poster | a BREAK DANCE battle | a sign \"BREAK\" | "
    "ROCK AND ROLL | R AND B | <3 | <b>bold</b> | a < b > c | word embedding: a map | C++ code | well--known | a -- b | "
    "\\o/ yay | a_b__c | `code` | { | } | (happy :3) | :-( | (( | )) | [...] | […] | arr[index] | (8: | (:3) | f((x)) | "
    "((1990)) | dated (5:1) | a man (left) and (right) | sad :(( happy :)) | 50% (half) | (2:1.5) | 10:30 (noon) | "
    "x = [1, 2] | [-] | see (fig. 3) | BREAKFAST and SAND | signs 'AND' and 'BREAK' | --- | a --b"
)  # fmt: skip


def warnings(prompt: str, syntax: str = "plain") -> list[str]:
    return list(literal_signs(frame(prompt=[prompt]), syntax))


@pytest.mark.parametrize(
    ("kind", "prompt"),
    [
        *((kind, prompt) for kind, prompts in FOUND.items() for prompt in prompts.split(" | ")),
        *(("changes during sampling", prompt) for prompt in ALTERNATING),
        *(("templates", prompt) for prompt in OTHERS),
    ],
)
def test_each_kind_is_found(kind: str, prompt: str) -> None:
    (warning,) = warnings(prompt)
    assert warning.startswith(f"dataframe: row 1: {kind} such as ")
    assert " are taken literally (1 row): " in warning


@pytest.mark.parametrize("prompt", ORDINARY.split(" | "))
def test_ordinary_text_is_no_finding(prompt: str) -> None:
    assert warnings(prompt) == []


CASE = """prompt,negative_prompt,seed
"(3d dog face:1.3), [cat|dog]",(blurry:1.4),1
"3d dog face <lora:add_detail:0.8>, BREAK, forest",,2
"a photo of {prompt}, studio light",embedding:easynegative,3
"""  # weights.csv of the cases


def test_once_a_kind_with_the_first_row_and_their_number(path: Path) -> None:
    nothing = "nightrender has nothing like them"
    obey = "sampling.prompt_syntax=weighted obeys them, for Stable Diffusion 1.x and 2.x and SDXL"
    lines = [
        f"m: row 1: weights such as '(3d dog face:1.3)' are taken literally (2 rows): {obey}",
        f"m: row 1: changes during sampling such as '[cat|dog]' are taken literally (1 row): {nothing}",
        f"m: row 2: parts such as 'BREAK' are taken literally (1 row): {nothing}",
        "m: row 2: LoRAs such as '<lora:add_detail:0.8>' are taken literally (1 row): model.loras loads them",
        f"m: row 3: embeddings such as 'embedding:easynegative' are taken literally (1 row): {nothing}",
        "m: row 3: placeholders such as '{prompt}' are taken literally (1 row): "
        "`render expand --styles` fills in {prompt}",
    ]
    manifest = csv(path, CASE + "plain,,4\nplain,(bad:1.2),5\n")
    assert list(literal_signs(manifest, "plain")) == lines
    assert list(literal_signs(manifest, "weighted")) == lines[1:]


def test_the_jobs_negative_prompt_is_searched_too(path: Path) -> None:
    path.write_text("prompt\na\nb\n")
    manifest = read_manifest(path, DEFAULTS.__class__("((bad))", 24, "linear", "slerp", 0, Path()), MODELS)
    (warning,) = literal_signs(manifest, "plain")
    assert "m: row 1: double brackets such as '((bad))' are taken literally (2 rows)" in warning


def test_rows_of_a_sweep_count_once(path: Path) -> None:
    path.write_text("prompt\na\n(dog:1.3)\n")
    manifest = read_manifest(path, DEFAULTS, MODELS, parse_sweep([{"seed": [1, 2, 3]}], 10))
    (warning,) = literal_signs(manifest, "plain")
    assert "m: row 2: weights such as '(dog:1.3)' are taken literally (1 row)" in warning


def test_a_bracket_that_stays_open_is_reported_where_it_acts() -> None:
    (warning,) = warnings(r"a dog :( and \(so\) (on)", "weighted")
    assert "row 1: a bracket that is not closed reaches to the end of" in warning
    assert warnings(r"a dog \( :) (on)", "weighted") == []


def test_too_large_a_weight_is_an_error_of_its_rows(path: Path) -> None:
    manifest = csv(path, "prompt,negative_prompt\n(a:1.2),(b:11)\n((((c:3):3):3):3),\n" + "(" * 30 + "d,(b:11)\n")
    with pytest.raises(ManifestError) as caught:
        check_weights(manifest, "m.csv")
    assert str(caught.value).split("\n") == [
        "m.csv: 4 errors",
        "m.csv: row 1, column 'negative_prompt': required weights of -10 … 10; got 11 for 'b'",
        "m.csv: row 2, column 'prompt': required weights of -10 … 10; got 81 for 'c'",
        "m.csv: row 3, column 'prompt': required weights of -10 … 10; got 17.4494 for 'd'",
        "m.csv: row 3, column 'negative_prompt': required weights of -10 … 10; got 11 for 'b'",
    ]


def test_errors_and_warnings_name_the_file_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\nx\ny\n")
    (tmp_path / "b.csv").write_text("prompt\nx\n(z:11.5)\n")
    manifest = read_manifest(tmp_path, DEFAULTS, MODELS)
    with pytest.raises(ManifestError, match=r"b\.csv: row 2, column 'prompt': required weights"):
        check_weights(manifest, str(tmp_path))
    (warning,) = literal_signs(manifest, "plain")
    assert "b.csv: row 2: weights such as '(z:11.5)'" in warning


PIECES = ["(", ")", "[", "]", ":", "1.9", ":1.9)", ":5)", ": 12 )", "a", "))", "((", "\\"]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1, max_size=25).map("".join), min_size=1, max_size=5))
def test_no_weight_that_is_too_large_slips_through(prompts: list[str]) -> None:
    manifest = read_manifest(pd.DataFrame({"prompt": pa.array(prompts)}), DEFAULTS, MODELS)
    refused = sum(_refused(prompt) for prompt in prompts)
    if refused:
        with pytest.raises(ManifestError, match=f"^m: {refused} error"):
            check_weights(manifest, "m")
    else:
        check_weights(manifest, "m")


def _refused(prompt: str) -> bool:
    try:
        parse_weights(prompt)
    except InputError:
        return True
    return False
