"""Templates against dynamicprompts' own generators, itertools and hand-written expectations."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import islice, permutations, product
from pathlib import Path
from random import Random

import pytest
from dynamicprompts.generators import CombinatorialPromptGenerator, RandomPromptGenerator
from dynamicprompts.wildcards import WildcardManager
from hypothesis import given, settings
from hypothesis import strategies as st
from wildcard_files import TEMPLATES

from render.templates.grammar import TemplateError, parse_template
from render.templates.wildcards import MODES, Mode, Wildcards, draw

pytest_plugins = ["wildcard_files"]


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


def test_nothing_is_logged_or_warned(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        prompts("{red|blue} __nested__", "random", folder)
    assert caplog.records == []
