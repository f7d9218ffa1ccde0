"""Weights in prompts: what AUTOMATIC1111's own documentation says of them, and properties."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core.errors import InputError
from render.core.weights import WEIGHT_MAX, parse_weights

PIECES = ["(", ")", "[", "]", ":", "|", "\\", "1.3", ":1.3)", ":-.5 )", ":0.5]", " ", "a", "dog, ", "BREAK", "猫", "\n"]
PROMPTS = st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("prompt", "parts"),
    [  # the first eight: docstring of `parse_prompt_attention`, modules/prompt_parser.py
        ("normal text", [("normal text", 1.0)]),
        ("an (important) word", [("an ", 1.0), ("important", 1.1), (" word", 1.0)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1.0)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1.0),
                ("house", 1.5730000000000004),
                (" ", 1.1),
                ("on", 1.0),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.4641000000000006),
                (".", 1.1),
            ],
        ),
        ("(abc:3.12)", [("abc", 3.12)]),
        ("[abc]", [("abc", 1 / 1.1)]),
        ("(dog: 1.3 ) (cat:.5) (ox:2.)", [("dog", 1.3), (" ", 1.0), ("cat", 0.5), (" ", 1.0), ("ox", 2.0)]),
        ("(dog:-1)", [("dog", -1.0)]),
        ("(dog:1.0), cat", [("dog, cat", 1.0)]),
        ("[cat|dog] [a:b:0.5] [a:0.5] [a::3]", [("[cat|dog] [a:b:0.5] [a:0.5] [a::3]", 1.0)]),
        ("([cat|dog]:1.3)", [("[cat|dog]", 1.3)]),
        ("[a:(b:1.5):0.5]", [("[a:", 1.0), ("b", 1.5), (":0.5]", 1.0)]),
        ("at 12:30) x] :1.3)", [("at 12:30) x] :1.3)", 1.0)]),
        ("(ratio 16:9.5.1)", [("ratio 16:9.5.1", 1.1)]),
        (r"a\b \\(c)", [("a\\b \\", 1.0), ("c", 1.1)]),
        ("[unbalanced", [("unbalanced", 1 / 1.1)]),
        ("([x)]", [("x", 1.0)]),
        ("", []),
        ("()[]", []),
    ],
)
def test_parts(prompt: str, parts: list[tuple[str, float]]) -> None:
    found = parse_weights(prompt)
    assert [text for text, _ in found] == [text for text, _ in parts]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in parts])


@pytest.mark.parametrize(("prompt", "got"), [("(a:11)", "11"), ("(b:-10.5)", "-10.5"), ("(" * 30 + "c", "17.4494")])
def test_too_large_a_weight_is_refused(prompt: str, got: str) -> None:
    with pytest.raises(InputError, match=rf"required weights of -10 … 10, got {got} for '[abc]'"):
        parse_weights(prompt)


@given(PROMPTS)
def test_any_text_is_read_or_refused(prompt: str) -> None:
    try:
        parts = parse_weights(prompt)
    except InputError:
        return
    assert all(text for text, _ in parts)
    assert all(abs(weight) <= WEIGHT_MAX for _, weight in parts)
    assert all(a[1] != b[1] for a, b in pairwise(parts))
    left = iter(prompt)
    assert all(sign in left for text, _ in parts for sign in text)  # in order, and none that was not there


@given(st.text().filter(lambda text: not re.search(r"[()\[\]\\]", text)))
def test_text_without_brackets_is_one_part(prompt: str) -> None:
    assert parse_weights(prompt) == (((prompt, 1.0),) if prompt else ())


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(-1000, 1000)), max_size=6))
def test_parts_that_are_written_read_back(parts: list[tuple[str, int]]) -> None:
    """In hundredths; signs of the grammar behind a backslash."""
    escaped = [(re.sub(r"([()\[\]\\])", r"\\\1", text), weight) for text, weight in parts]
    written = "".join(f"({text}:{weight / 100})" for text, weight in escaped)
    merged: list[tuple[str, float]] = []
    for text, weight in parts:
        if merged and merged[-1][1] == weight / 100:
            merged[-1] = merged[-1][0] + text, weight / 100
        else:
            merged.append((text, weight / 100))
    assert parse_weights(written) == tuple(merged)
