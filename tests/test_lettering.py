"""Text that fits: measured against Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from render.lettering import INK, legible, lettering

BODY = lettering(14)


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("3d dog face", "3d dog face"),
        ("two\n lines\t ", "two lines"),
        ("45° … ±1", "45° … ±1"),
        ("café, cafe\u0301, Übung", "cafe, cafe, Ubung"),  # composed or not
        ("8×8 − 2 → 3", "8x8 - 2 -> 3"),
        ("σ_max, η", "sigma_max, eta"),
        ("½ Ⅳ ¨", "1⁄2 IV"),
        ("日本 ❤\ufe0f", "?? ?"),  # the heart's variation selector is nothing by itself
        ("\x00", "?"),
        ("", ""),
    ],
)
def test_legible(text: str, drawn: str) -> None:
    assert legible(text) == drawn


@given(st.text(max_size=30))
def test_legible_text_stays_as_it_is(text: str) -> None:
    assert legible(legible(text)) == legible(text)


def test_shorten() -> None:
    text = "a photograph of an astronaut"
    full = BODY.width(text)
    assert BODY.shorten(text, full) == text
    short = BODY.shorten(text, full - 1)
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert BODY.width(text[: len(short)] + "…") > full - 1  # one letter more would not have fitted
    assert BODY.shorten("iiiiiiiiiiWWWW", BODY.width("iiiiiiiiiiW…")) == "iiiiiiiiiiW…"  # letters differ in width
    assert BODY.shorten(text, 3) == BODY.shorten(text, -5) == ""


def test_wrap() -> None:
    text = "flat sailboat on a green background"
    width = BODY.width("flat sailboat on")
    assert BODY.wrap(text, width, 3) == ["flat sailboat on", "a green", "background"]
    first, second = BODY.wrap(text, width, 2)
    assert (first, second[-1]) == ("flat sailboat on", "…")
    assert BODY.wrap("extraordinarily-long-name b", BODY.width("extra…"), 2) == ["extra…", "b"]
    assert BODY.wrap(" \n", width, 3) == []


@given(text=st.text(max_size=80), width=st.integers(0, 200), lines=st.integers(1, 4))
def test_wrapped_text_fits(text: str, width: int, lines: int) -> None:
    wrapped = BODY.wrap(text, width, lines)
    assert len(wrapped) <= lines
    assert all(BODY.width(line) <= width for line in wrapped)


@pytest.mark.parametrize("align", "lmr")
def test_write(align: str) -> None:
    canvas = Image.new("RGB", (240, 60), "white")
    lines = ["fjord", "Ångström gauge"]
    BODY.write(canvas, (120, 10), align, lines)
    dark = np.asarray(canvas.convert("L")) < 250
    assert np.asarray(canvas).min() >= min(INK)
    for number, line in enumerate(lines):
        top = 10 + number * BODY.line_px
        columns = np.flatnonzero(dark[top : top + BODY.line_px].any(axis=0))
        left = 120 - {"l": 0, "m": BODY.width(line) / 2, "r": BODY.width(line)}[align]
        assert abs(columns[0] - left) <= 3
        assert abs(columns[-1] - (left + BODY.width(line))) <= 3
    assert not dark[:10].any()
    assert not dark[10 + 2 * BODY.line_px :].any()
