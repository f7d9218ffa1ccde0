"""Keyframes in JSON: the walk that they become, frame by frame, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.core.errors import ManifestError
from render.core.recipe import Target
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.core.walk import MAIN, Walk
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.models.families import SamplingDefaults
from render.plan.motions import frames_of
from render.templates.expand import Expansion, expand_templates
from render.templates.schedule import is_schedule

DEFAULTS = Defaults("", 24, "linear", "slerp", 0, Path())
MODELS = {MAIN: ModelRules(SizeRule(8, 8, 512), DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 64, 4, 3.0, "ddim"))}
CASE = """{
  "0": "3d dog face on a blue background --neg blurry",
  "30": "3d cat face on a blue background --neg",
  "60": "3d fox face, evening light --neg text, frame",
  "90": "3d bear face"
}
"""  # keyframes.json of the cases


def walk_of(tmp_path: Path, text: str, name: str = "keyframes.json") -> Walk:
    (tmp_path / name).write_text(text, encoding="utf-8")
    expand_templates(tmp_path / name, tmp_path / "m.csv", Expansion())
    (walk,) = read_manifest(tmp_path / "m.csv", DEFAULTS, MODELS).walks()
    return walk


def test_a_walk_with_every_keyframe_at_its_frame(tmp_path: Path) -> None:
    walk = walk_of(tmp_path, CASE)
    assert walk.name == "keyframes"
    assert [(k.prompt, k.negative_prompt) for k in walk.keyframes] == [
        ("3d dog face on a blue background", "blurry"),
        ("3d cat face on a blue background", ""),
        ("3d fox face, evening light", "text, frame"),
        ("3d bear face", ""),
    ]
    frames = list(frames_of(walk, Target("m")))
    assert len(frames) == 91
    for number, keyframe in zip((0, 30, 60, 90), walk.keyframes, strict=True):
        prompts = frames[number].recipe.prompt, frames[number].recipe.negative_prompt
        assert [prompt.to_list() for prompt in prompts] == [
            ["prompt", keyframe.prompt],
            ["prompt", keyframe.negative_prompt],
        ]
    assert frames[45].recipe.prompt.to_list()[3] == 0.5


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ('{"30": "b", "0": "a", "100": "c --neg d"}', "k.json"),  # by frame, not by place
        ('\ufeff{"0": "a",\r\n"30": "b",\r\n"100": "c   --neg   d "}', "k.json"),
        ('"0": "a",\n"30": "b",\n"100": "c --negative_prompt=d",\n', "k.json"),  # without braces, as ComfyUI's fields
        ('{"0": "a", "30": "b", "100": "c --neg d"}\n', "k.txt"),
        ('{"00": "a", "030": "b", "100": "c --neg d"}', "k.JSON"),
    ],
)
def test_spellings(tmp_path: Path, text: str, name: str) -> None:
    walk = walk_of(tmp_path, text, name)
    found = [(k.prompt, k.negative_prompt, k.frames) for k in walk.keyframes]
    assert walk.name == "k"
    assert found[:2] == [("a", "", 30), ("b", "", 70)]
    assert found[2][:2] == ("c", "d")


@pytest.mark.parametrize(
    ("text", "errors"),
    [
        ("", ["required keyframes in JSON, such as"]),
        ('{"0": "a", "30": "b",}', ["(a comma too many, or a frame without double quotes?)"]),
        ("{0: 'a', 30: 'b'}", ["(a comma too many, or a frame without double quotes?)"]),
        ("[" * 3000, ["required keyframes in JSON"]),
        ("3", ["got no JSON object: 3"]),
        ("[]", ["got no JSON object: []"]),
        ('[{"name": "x", "prompt": "{prompt}"}]', ["got a list of objects (styles? Give them as --styles)"]),
        ('[{"prompt": "a cat"}]', ["got a list of objects (prompts? One object a line, as .jsonl, is a table)"]),
        ("{}", ["required two keyframes or more; got 0"]),
        ('{"0": "a cat"}', ["required two keyframes or more; got 1"]),
        ('{"5": "a", "9": "b"}', ["required a keyframe at frame 0; got the first one at 5"]),
        ('{"0": "a", "max_f/2": "b"}', ["row 2: required a frame, 0 or more, in front of each prompt; got 'max_f/2'"]),
        ('{"0": "a", "-3": "b"}', ["row 2: required a frame, 0 or more"]),
        ('{"0": "a", "0": "b"}', ["row 2: required every frame once; got '0' again"]),
        ('{"0": "a", "00": "b"}', ["row 2: required every frame once; got '00' again"]),
        ('{"0": "a", "9": 3}', ["row 2: required a text at frame 9; got 3"]),
        ('{"0": {"a": 1}, "9": null}', ["row 1: required a text at frame 0", "row 2: required a text at frame 9"]),
        ('{"0": "a", "9": " --neg b"}', ["row 2: required a prompt at frame 9"]),
        ('{"0": "a --neg b --neg c", "9": "b"}', ["row 1: required no flag but one --neg at frame 0"]),
        ('{"0": "a --neg b --w 512", "9": "b"}', ["row 1: required no flag but one --neg at frame 0"]),
        ('{"0": "a --seed 3", "9": "b"}', ["row 1: required no flag but one --neg at frame 0"]),
        ('{"0": "{a|b}", "9": "b:`sin(t)`"}', ["row 1: required a prompt without braces", "row 2: required a prompt"]),
        ('{"prompts": {"0": "a", "9": "b"}, "W": 512}', ["copy what 'prompts' holds into a file of its own"]),
        ('{"name": "x", "prompt_map": {"0": "a"}}', ["copy what 'prompt_map' holds into a file of its own"]),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, text: str, errors: list[str]) -> None:
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(ManifestError) as caught:
        expand_templates(tmp_path / "k.json", tmp_path / "m.csv", Expansion())
    _, *lines = str(caught.value).split("\n")
    assert len(lines) == len(errors)
    for line, error in zip(lines, errors, strict=True):
        assert error in line


def test_a_file_that_is_not_there_and_styles_for_a_walk(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="required keyframes in JSON"):
        expand_templates(tmp_path / "none.json", tmp_path / "m.csv", Expansion())
    (tmp_path / "k.json").write_text(CASE)
    (tmp_path / "s.csv").write_text("name,prompt,negative_prompt\noil,{prompt} in oil,\n")
    with pytest.raises(ManifestError, match="required templates or prompts, for --styles; got keyframes"):
        expand_templates(tmp_path / "k.json", tmp_path / "m.csv", Expansion(styles=tmp_path / "s.csv"))


@pytest.mark.parametrize(
    "text", ["a cat", '{"prompt": "a"}', "{red|blue} car", '"a cat"', "{}", "{", '["0"]', "0: a", ""]
)
def test_lists_of_prompts_are_no_keyframes(text: str) -> None:
    assert not is_schedule(text)


@pytest.mark.parametrize(
    "text", ["0: a cat\n30: a dog\n", "\"0\": 'a'\n\"9\": 'b'\n", "{0: 'a',\n 9: 'b'\n", "0 : a\n# b\n\n9:b"]
)
def test_lines_that_are_nearly_keyframes_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(ManifestError, match="required a prompt a line; got keyframes, which are read as JSON"):
        expand_templates(tmp_path / "t.txt", tmp_path / "m.csv", Expansion())


@pytest.mark.parametrize("text", ["0: a cat\n", "3: a cat\n4: a dog\n", "0: a cat\na dog\n", "16:9 photo\n4:3 photo\n"])
def test_lines_that_begin_with_numbers_are_prompts(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.txt").write_text(text)
    assert expand_templates(tmp_path / "t.txt", tmp_path / "m.csv", Expansion()) == text.count("\n")


PROMPT = st.text(st.characters(exclude_characters="{}`-", exclude_categories=["C", "Z"]), min_size=1)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.integers(1, 300), st.tuples(PROMPT, st.just("") | PROMPT), min_size=1, max_size=6), PROMPT)
def test_any_keyframes_read_back(
    tmp_path_factory: pytest.TempPathFactory, later: dict[int, tuple[str, str]], first: str
) -> None:
    keyframes = {0: (first, ""), **later}
    text = json.dumps({str(at): f"{own} --neg {other}" if other else own for at, (own, other) in keyframes.items()})
    walk = walk_of(tmp_path_factory.mktemp("k"), text)
    places = [0]
    for keyframe in walk.keyframes[:-1]:
        places.append(places[-1] + keyframe.frames)
    found = {at: (k.prompt, k.negative_prompt) for at, k in zip(places, walk.keyframes, strict=True)}
    assert found == keyframes
