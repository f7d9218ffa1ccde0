"""Templates against dynamicprompts' own generators, itertools and hand-written expectations."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import subprocess
import sys
from collections import Counter
from itertools import islice, permutations, product
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from dynamicprompts.generators import CombinatorialPromptGenerator, RandomPromptGenerator
from dynamicprompts.wildcards import WildcardManager
from hypothesis import given, settings
from hypothesis import strategies as st

from render.core.errors import JobError, ManifestError
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.core.walk import MAIN
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.models.families import SamplingDefaults
from render.templates.expand import Expansion, expand_templates
from render.templates.grammar import TemplateError, parse_template
from render.templates.wildcards import MODES, Mode, Wildcards, draw

DEFAULTS = Defaults("", 24, "linear", "slerp", 0, Path())
MODELS = {MAIN: ModelRules(SizeRule(8, 8, 512), DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 64, 4, 3.0, "ddim"))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "animals.txt": "# beasts\ncat\ndog\n\n  {big|small} fox  \ncat\n",
        "places/town.txt": "Paris #1\nRome, 100%\n",
        "places/sea.txt": "reef\n",
        "nested.txt": "__animals__ in __places/*__\n",
    }
    for name, text in files.items():
        path = tmp_path / "wildcards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "wildcards"


def prompts(template: str, mode: Mode = "combinatorial", folder: Path | None = None, seed: int = 0) -> list[str]:
    wildcards, command = Wildcards(folder), parse_template(template)
    wildcards.check(command, mode)
    return list(islice(draw(command, wildcards, mode, Random(seed)), 200))  # at most


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a cat", ["a cat"]),
        ("{red|blue} car", ["red car", "blue car"]),
        ("{red|blue} {car|van}", [" ".join(pair) for pair in product(["red", "blue"], ["car", "van"])]),
        ("{2$$a|b|c}", [",".join(pair) for pair in permutations("abc", 2)]),
        ("{2$$ and $$a|b|c}", [" and ".join(pair) for pair in permutations("abc", 2)]),
        ("{1-2$$a|b}", ["a", "b", "a,b", "b,a"]),
        ("a {|big} cat", ["a cat", "a big cat"]),  # single spaces
        ("  {a|\tb }\n c", ["a c", "b c"]),
        ("{9::a|1::b}", ["a", "b"]),  # weights don't count
        ("{a {b|c}|d}", ["a b", "a c", "d"]),
        ("${c={red|blue}}${c} car", ["red car", "blue car"]),
        ("#1 {a|b} // 50% off, $5 /* c */ ://x", ["#1 a // 50% off, $5 /* c */ ://x", "#1 b // 50% off, $5 /* c */ ://x"]),
        ("{a #1|b 5%} {$5|//}", ["a #1 $5", "a #1 //", "b 5% $5", "b 5% //"]),
        ("(sharp:1.2), [soft|hard], <lora:x:0.5>", ["(sharp:1.2), [soft|hard], <lora:x:0.5>"]),
        ("Ü {é|猫}", ["Ü é", "Ü 猫"]),
        (r"miku \(song\) \o/ {a|b\c}", [r"miku \(song\) \o/ a", r"miku \(song\) \o/ b\c"]),
        ("{0::a|1::b} ${x:c} 1::d", ["a c 1::d", "b c 1::d"]),
        ("a | b", ["a | b"]),
        ("%{big … here$${a|b}} %{{… c|d ...}$$e}", ["big a here e c", "big a here d e", "big b here e c", "big b here d e"]),
    ],
)  # fmt: skip
def test_combinations(template: str, expected: list[str]) -> None:
    assert prompts(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("a __animals__", ["a big fox", "a small fox", "a cat", "a dog"]),  # by the files' text, each once
        ("__places/*__", ["Paris #1", "Rome, 100%", "reef"]),
        ("__places/sea__ __places/town__", ["reef Paris #1", "reef Rome, 100%"]),
        ("{2$$__places/town__}", ["Paris #1,Rome, 100%", "Rome, 100%,Paris #1"]),
    ],
)
def test_wildcards(folder: Path, template: str, expected: list[str]) -> None:
    assert sorted(prompts(template, folder=folder)) == sorted(expected)
    assert set(prompts(template, "random", folder)) == set(expected)


TEMPLATES = [
    "{red|blue|green} car",
    "{2$$a|b|c|d} {x|y}",
    "{1-3$$ + $$a|b|c}",
    "{3::a|b|0.5::c}",
    "a __animals__ and a __animals__",
    "${c={red|blue}} ${c}, ${c}",
    "{__animals__|{u|v} __places/sea__}",
    "%{in the ... style$$__places/sea__}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_as_the_library_does(folder: Path, template: str) -> None:
    manager = WildcardManager(folder)
    theirs = RandomPromptGenerator(manager, seed=7, ignore_whitespace=True).generate(template, 200)
    assert prompts(template, "random", folder, seed=7) == theirs
    combined = CombinatorialPromptGenerator(manager, ignore_whitespace=True).generate(template, 200)
    assert prompts(template, folder=folder) == list(combined)


def test_weights_stay_with_their_options() -> None:
    """The library (0.31.0) gives c,a half of what a,c gets; by hand: 2/5 of the first, 2/3 of the second draw."""
    command = parse_template("{2$$2::a|1::b|2::c}")
    found = Counter(islice(draw(command, Wildcards(None), "random", Random(1)), 6000))
    expected = {"a,c": 4 / 15, "c,a": 4 / 15, "a,b": 2 / 15, "c,b": 2 / 15, "b,a": 1 / 10, "b,c": 1 / 10}
    for prompt, share in expected.items():
        assert found[prompt] / 6000 == pytest.approx(share, abs=0.02)


def test_a_variable_drawn_once_is_drawn_for_every_prompt() -> None:
    assert set(prompts("${c=!{red|blue}}${c} and ${c}", "random")) == {"red and red", "blue and blue"}


def test_a_bad_line_of_a_wildcard_whose_name_is_drawn(folder: Path) -> None:
    (folder / "places" / "sea.txt").write_text("reef\na}")
    with pytest.raises(TemplateError, match=r"required a \{ for every \}; got wildcard 'places/sea': one more \}"):
        prompts("__places/{sea|town}__", "random", folder)


def test_a_wildcard_whose_name_is_drawn(folder: Path) -> None:
    assert set(islice(prompts("__places/{sea|town}__", "random", folder), 50)) == {"reef", "Paris #1", "Rome, 100%"}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("template", "required", "got"),
    [
        ("{a|b", "a template whose braces, wildcards and variables are whole", "Expected end of text"),
        ("a__b", "a template whose braces, wildcards and variables are whole", "'a__b'"),
        ("50%{a", "a template whose braces, wildcards and variables are whole", "'50%{a'"),
        ("{" * 3000, "braces in braces, not this deep", "'{{{"),
        ("\ue000", "text without the private characters", "ue000"),
        ("${who}", "a variable that the template sets, as ${who={red|blue}}, or one with a default", "${who}"),
        ("${c} ${d=${c}}", "a variable that the template sets", "${c}"),
        ("{|}", "prompts that are not empty", "one that is"),
        ("a {} cat", "at least one option in braces", "{}"),
        ("a {  } cat", "at least one option in braces", "{}"),
        ("a}", "a { for every }", "one more } in 'a}'"),
        ("{a|b}} #1", "a { for every }", "one more } in '} #1'"),
        ("${x=a}b} ${x}", "a { for every }", "one more } in 'b} '"),
        ("{a|{b|c}} {d}e}", "a { for every }", "one more } in 'e}'"),
        (r"a\{b\}", "no backslash in front of a sign of the grammar", r"\{ in 'a\\{b\\}'"),
        (r"{a\|b}", "no backslash in front of a sign of the grammar", r"\| in"),
        (r"a\__animals__", "no backslash in front of a sign of the grammar", r"\__ in"),
        (r"{3\$$a|b|c}", "no backslash in front of a sign of the grammar", r"\$$ in"),
        ("{-1::red|1::blue} car", "weights as in {3::red|0.5::blue}", "'-1::red'"),
        ("{-1.5::red|2::blue} car", "weights of at least 0", "-1.5"),
        ("{1,5::red|blue}", "weights as in", "'1,5::red'"),
        ("{ 3 :: red|blue}", "weights as in", "'3 :: red'"),
        ("{red::3|blue::1}", "weights as in", "'red::3'"),
        ("{2::1::red|blue}", "weights as in", "'1::red'"),
        ("{{a|b}::3|c}", "weights as in", "'::3'"),
        ("{0::a|0::b}", "at least 1 option of a weight above 0", "0"),
        ("{2$$0::a|1::b}", "at least 2 options of a weight above 0", "1"),
        ("{3$$a|b}", "at most as many of the options as there are, 2", "3$$"),
        ("{2$$a}", "at most as many of the options as there are, 1", "2$$"),
        ("{a|b ${who}}", "a variable that the template sets", "${who}"),
        ("${c={red|blue}} {a|${C}}", "a variable that the template sets", "${C}"),
        ("%{big$$a|b}", "a template whose braces", "Expected end of text"),
        ("%{big$${a|b}}", "… in front of $$, where the text behind it goes", "'big'"),
        ("__stray__", "a { for every }", "wildcard 'stray': one more } in 'a}'"),
        ("__minus__", "no weight in a wildcard file", "'-1::gold'"),
        ("__nothing__", "a file nothing.txt in", "none for the wildcard 'nothing'"),
        ("{a|b {c|__no/such__}}", "a file no/such.txt in", "none for the wildcard 'no/such'"),  # drawn or not
        ("__outer__", "a file nothing.txt in", "none for the wildcard 'nothing'"),
        ("__../secret__", "a file ../secret.txt in", "none for the wildcard '../secret'"),
        ("__empty__", "at least one value in", "none"),
        ("__weights__", "no weight in a wildcard file", "'0.5::gold'"),
        ("__latin__", "a text file in UTF-8", "can't decode"),
        ("__broken__", "a template whose braces, wildcards and variables are whole", "wildcard 'broken': '{a'"),
        ("__dollars__", "a template whose braces, wildcards and variables are whole", "wildcard 'dollars': 'a $$ b'"),
        ("__loop__", "variables and wildcards that come to an end", "a circle of them"),
    ],
)
def test_refused(folder: Path, mode: Mode, template: str, required: str, got: str) -> None:
    texts = {
        "outer": "x\n{y|__nothing__}",
        "empty": "# none",
        "weights": "0.5::gold",
        "broken": "{a",
        "stray": "x\na}",
        "minus": "-1::gold",
        "loop": "a __loop__",
        "dollars": "x\na $$ b",
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text)
    (folder / "latin.txt").write_bytes(b"caf\xe9")
    (folder.parent / "secret.txt").write_text("secret")
    with pytest.raises(TemplateError) as caught:
        prompts(template, mode, folder)
    assert caught.value.required.startswith(required)
    assert got in caught.value.got


@pytest.mark.parametrize(
    ("mode", "template"),
    [
        ("random", "{!a|b}"),
        ("random", "{a|{@b|c}}"),  # would always be b
        ("combinatorial", "{~a|b}"),
        ("combinatorial", "__@animals__"),
        ("combinatorial", "${c=!{a|b}}${c}"),  # would always be a
        ("combinatorial", "__places/{sea|town}__"),  # would never be town
    ],
)
def test_signs_that_lose_prompts(folder: Path, mode: Mode, template: str) -> None:
    with pytest.raises(TemplateError, match=f"in {mode} mode"):
        prompts(template, mode, folder)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([*"ab {}|$#%/!~@:_=", "__", "$$", "${", "%{", "2$$", "::", "..."]), max_size=12).map(
        "".join
    )
)
def test_any_text_is_expanded_or_refused(template: str) -> None:
    for mode in MODES:
        try:
            found = prompts(template, mode)
        except TemplateError:
            continue
        assert all(prompt == " ".join(prompt.split()) and prompt for prompt in found)


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


def test_nothing_is_logged_or_warned(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        prompts("{red|blue} __nested__", "random", folder)
    assert caplog.records == []
