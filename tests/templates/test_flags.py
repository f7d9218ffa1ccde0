"""Lines with flags against AUTOMATIC1111's reader, rebuilt from its rules, and by hand."""

from __future__ import annotations

import shlex
from pathlib import Path

import pyarrow.csv as pacsv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core.errors import ManifestError
from render.templates.expand import Expansion, expand_templates
from render.templates.flags import FLAGS, has_flags, read_flags
from render.templates.grammar import TemplateError


def a1111(line: str) -> dict[str, str]:
    """`cmdargs` of scripts/prompts_from_file.py, without the types: pairs of words, prompts up to the next flag."""
    words, found = shlex.split(line), {}
    while words:
        tag = words.pop(0).removeprefix("--")
        value = [words.pop(0)]
        while "prompt" in tag and words and not words[0].startswith("--"):
            value.append(words.pop(0))
        found[tag] = " ".join(value)
    return found


@pytest.mark.parametrize(
    "line",
    [
        '--prompt "3d sailboat"',
        '--prompt "3d sailboat" --negative_prompt "grey, dull" --width 128 --height 64 --seed 9',
        "--prompt photo of a cat --negative_prompt grey dull --seed 9",
        r'--prompt "a \"big\" cat, it\'s (1.5)" --steps 7',
        "--prompt 'a cat' --steps 7",
        "--prompt a\\ cat",
    ],
)
def test_lines_of_flags_alone(line: str) -> None:
    theirs = {{"prompt": "template"}.get(name, name): value for name, value in a1111(line).items()}
    assert read_flags(line) == theirs


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('--prompt "a" --cfg_scale 7 --sampler_name "DPM++ 2M Karras"', {"guidance": "7", "scheduler": "DPM++ 2M Karras"}),
        ("--prompt a --sampler_name DPM++ 2M Karras --steps=20", {"scheduler": "DPM++ 2M Karras", "steps": "20"}),
        ("--prompt a --batch_size 2", {"images": "2"}),
        ('--prompt "a" --neg "words --seed"', {"negative_prompt": "words --seed"}),
        ("--prompt a --n_iter 3 --batch_size 2", {"images": "6"}),
        ("--prompt a --seed -1", {"seed": ""}),
        ("--prompt a --seed 18446744073709551615", {"seed": "18446744073709551615"}),
        ('--prompt a --negative_prompt ""', {"negative_prompt": ""}),
        ("--prompt a --sd_model xl-2", {"model": "xl-2"}),
        ("--prompt a --restore_faces false --tiling False --subseed_strength 0", {}),
        ('--prompt a --prompt_for_display "hi" --outpath_grids x/y', {"prompt_for_display": "hi", "outpath_grids": "x/y"}),
        ("a --neg", {"negative_prompt": ""}),
        ('a --negative_prompt "grey, dull" --seed 9', {"negative_prompt": "grey, dull", "seed": "9"}),
        ("a --neg it's dull, \"grey\" sky --seed=9", {"negative_prompt": "it's dull, \"grey\" sky", "seed": "9"}),
        (
            "a --n low, bad --w 768 --h 512 --d 1 --l 7.5 --s 28",
            {"negative_prompt": "low, bad", "width": "768", "height": "512", "seed": "1", "guidance": "7.5", "steps": "28"},
        ),
        ("a --scale .5 --num_inference_steps 4", {"guidance": ".5", "steps": "4"}),
    ],
)  # fmt: skip
def test_flags_become_columns(line: str, cells: dict[str, str]) -> None:
    assert has_flags(line)
    assert read_flags(line) == {"template": "a", **cells}


@pytest.mark.parametrize(
    "line", ["a cat", "a cat -- a dog", "well--known", "a cat--b", "---", "a -b", "3 - 4", "x--", "-"]
)
def test_lines_without_flags(line: str) -> None:
    assert not has_flags(line)


@pytest.mark.parametrize(
    ("line", "required", "got"),
    [
        ("--prompt it's a cat", "quotes that are closed", "no closing quotation"),
        ("--prompt a --steps", "an integer behind --steps", "''"),
        ("--prompt a --steps 20 30", "an integer behind --steps", "'20 30'"),
        ("--prompt a --steps 2.5", "an integer behind --steps", "'2.5'"),
        ("--prompt a --cfg_scale nan", "a number behind --cfg_scale", "'nan'"),
        ("--prompt a --batch_size 0", "an integer of at least 1 behind --batch_size", "'0'"),
        ("--prompt a --sampler_name", "a text behind --sampler_name", "''"),
        ("--prompt a --sd_model v1-5.safetensors [abc]", "the name of a model in the job", "'v1-5.safetensors [abc]'"),
        ("--prompt a --restore_faces true", "false (there is no such thing here) behind", "'true'"),
        ("--prompt a --subseed_strength 0.3", "0 (a walk between two seeds mixes them)", "'0.3'"),
        ("--prompt a --styles oil", "a file of them in --styles", "'oil'"),
        ("--prompt a --seed 1 --seed 2", "every setting once", "--seed 1"),
        ("a --prompt b", "every setting once", "--prompt a"),
        ("a --seed 1 --d 2", "every setting once", "--d 2"),
        ("--prompt a --n_iter 2 --n_iter 3", "every setting once", "--n_iter 2"),
        ("-- a --seed 4", "a flag at the beginning", "'-- a --seed 4'"),
        ("--seed 4", "a prompt", "'--seed 4'"),
        ('--prompt "" --seed 4', "a text behind --prompt", "''"),
        ("a cat --ar 16:9 --v 5", "flags that become columns", "--ar"),
        ("a cat --step 4", "flags that become columns", "--step (nearest: --steps)"),
        ("a cat --s 250", "--steps for steps", "--s in"),
        ("a cat -s 50 -W 512", "flags of two dashes", "'-s 5' in"),
        ("a cat -s50", "flags of two dashes", "'-s5' in"),
    ],
)
def test_lines_that_are_refused(line: str, required: str, got: str) -> None:
    assert has_flags(line)
    with pytest.raises(TemplateError) as caught:
        read_flags(line)
    assert required in caught.value.required
    assert got in caught.value.got


WORDS = [
    "--",
    "-",
    "a",
    "cat's",
    '"',
    "'",
    "--seed",
    "--neg",
    "--steps=",
    "=",
    "7",
    "-1",
    "\\",
    "--batch_size",
    "--n",
    "{a|b}",
    "  ",
]


@given(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join) | st.text(max_size=30))
def test_any_line_is_read_or_refused(line: str) -> None:
    if not has_flags(line):
        return
    try:
        cells = read_flags(line)
    except TemplateError:
        return
    assert cells["template"]
    assert set(cells) <= {column for column, _ in FLAGS.values()}


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1).map(str.strip).filter(bool)


@given(
    TEXT.filter(lambda text: not has_flags(text)), TEXT.filter(lambda text: not has_flags(text)), st.integers(0, 2**64)
)
def test_what_is_quoted_for_a_shell_reads_back(prompt: str, negative: str, seed: int) -> None:
    line = shlex.join(["--prompt", prompt, "--negative_prompt", negative, "--seed", str(seed)])
    expected = [" ".join(text.split(" ")) for text in (prompt, negative)]
    assert list(read_flags(line).values()) == [*expected, str(seed)]


CASE = """--prompt "3d sailboat"
--prompt "3d sailboat" --negative_prompt "grey, dull" --width 128 --height 128 --sampler_name "DPM++ 2M Karras" \
--steps 10 --batch_size 2 --cfg_scale 3 --seed 9
3d castle
""".replace("\\\n", "")  # flags.txt of the cases


def test_a_file_of_lines_becomes_a_manifest(tmp_path: Path) -> None:
    source, target = tmp_path / "flags.txt", tmp_path / "m.csv"
    source.write_text(CASE)
    assert expand_templates(source, target, Expansion()) == 3
    nothing = dict.fromkeys(
        ("negative_prompt", "width", "height", "scheduler", "steps", "images", "guidance", "seed"), ""
    )
    settings = ("grey, dull", "128", "128", "DPM++ 2M Karras", "10", "2", "3", "9")
    options = pacsv.ConvertOptions(column_types=dict.fromkeys(nothing, "string"), strings_can_be_null=False)
    assert pacsv.read_csv(target, convert_options=options).to_pylist() == [
        {"prompt": "3d sailboat", "template": "3d sailboat", **nothing},
        {"prompt": "3d sailboat", "template": "3d sailboat", **dict(zip(nothing, settings, strict=True))},
        {"prompt": "3d castle", "template": "3d castle", **nothing},
    ]


def test_prompts_with_flags_are_templates_too(tmp_path: Path) -> None:
    source, target = tmp_path / "t.txt", tmp_path / "m.csv"
    source.write_text('# cars\n--prompt "a {red|blue} car" --seed 5\n{big|small} dog --n cat\n')
    assert expand_templates(source, target, Expansion("combinatorial")) == 4
    rows = pacsv.read_csv(target).to_pylist()
    assert [(row["prompt"], row["negative_prompt"], row["seed"]) for row in rows] == [
        ("a red car", "", 5),
        ("a blue car", "", 5),
        ("big dog", "cat", None),
        ("small dog", "cat", None),
    ]


@pytest.mark.parametrize(
    ("text", "row", "error"),
    [
        ("a cat\nNegative prompt: dull\n", 2, "required a prompt, with flags such as --negative_prompt"),
        ("a cat\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1\n", 2, "required a prompt, with flags"),
        ('["a cat", "a dog"]\n', 1, "required a prompt a line, not JSON"),
        ('[\n"a cat"\n', 1, "required a prompt a line, not JSON; got '['"),
        ("a cat\n],\n", 2, "required a prompt a line, not JSON"),
    ],
)
def test_other_lists_are_refused_by_line(tmp_path: Path, text: str, row: int, error: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(ManifestError) as caught:
        expand_templates(tmp_path / "t.txt", tmp_path / "m.csv", Expansion())
    assert f"row {row}: {error}" in str(caught.value)


@pytest.mark.parametrize("header", ["prompt,seed", "seed;Prompt", "template\tmood"])
def test_a_table_that_is_called_txt_is_refused(tmp_path: Path, header: str) -> None:
    (tmp_path / "t.txt").write_text(f"# a table\n{header}\na cat,3\n")
    with pytest.raises(ManifestError, match=r"required a template, .*\(a table\? Call it \.csv or \.tsv\)"):
        expand_templates(tmp_path / "t.txt", tmp_path / "m.csv", Expansion())


def test_ordinary_lines_with_brackets_are_prompts(tmp_path: Path) -> None:
    lines = ["[cat]", "[1]", "3", "a prompt, please", '"a cat"', "a [b], c", "true", "{[|]} x"]
    (tmp_path / "t.txt").write_text("\n".join(lines))
    assert expand_templates(tmp_path / "t.txt", tmp_path / "m.csv", Expansion()) == len(lines)


def test_every_bad_line_is_reported_with_its_number(tmp_path: Path) -> None:
    source = tmp_path / "t.txt"
    source.write_text("a cat\n\na cat --ar 3:2\n# --no\na dog --seed x\n")
    with pytest.raises(ManifestError) as caught:
        expand_templates(source, tmp_path / "m.csv", Expansion())
    heading, *lines = str(caught.value).split("\n")
    assert heading == f"{source}: 2 errors"
    assert [line.split(": required")[0] for line in lines] == [f"{source}: row 3", f"{source}: row 5"]
