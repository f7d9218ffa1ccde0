"""Text that fits: measured against Pillow."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

import render.output.lettering
from render.output.lettering import INK, _face, _has, _sized, _system_fonts, legible, lettering

BODY = lettering(14)


@pytest.fixture
def no_other_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A system without fonts."""
    with monkeypatch.context() as patch:
        patch.setattr(render.output.lettering, "_faces", lambda: (BODY.font,))
        _face.cache_clear()
        yield
    _face.cache_clear()


@pytest.fixture
def two_fonts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Of the system: DejaVu Sans, which has Cyrillic and no Japanese."""
    files = [str(font) for font in Path("/usr/share/fonts").rglob("DejaVuSans.ttf")]
    if not files:
        pytest.skip("no DejaVu Sans")
    with monkeypatch.context() as patch:
        patch.setattr(render.output.lettering, "_faces", lambda: (BODY.font, ImageFont.truetype(files[0], 32)))
        for function in (_face, _has, _sized):
            function.cache_clear()
        yield
    for function in (_face, _has, _sized):
        function.cache_clear()


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
def test_legible(text: str, drawn: str, no_other_fonts: None) -> None:
    assert legible(text) == drawn


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("Ørsted, Łódź", "Ørsted, Łódź"),
        ("кошка 日本 cat", "кошка ?? cat"),
        ("日本кошка", "??кошка"),
        ("8×8 → 3", "8x8 -> 3"),
    ],
)
def test_words_take_a_font_of_the_system(two_fonts: None, text: str, drawn: str) -> None:
    assert legible(text) == drawn


def test_words_of_several_fonts_stand_in_a_line(two_fonts: None) -> None:
    """As wide as each in its own font, the space between them included."""
    own, other = BODY.font, _sized(1, BODY.font.size)
    expected = own.getlength("a cat ") + other.getlength("кошка собака ") + own.getlength("here")
    assert BODY.width("a cat кошка собака here") == math.ceil(expected)
    assert BODY.shorten("кошка собака", BODY.width("кошка с…")) == "кошка с…"
    canvas = Image.new("RGB", (300, 40), "white")
    BODY.write(canvas, (10, 10), "l", ["a cat кошка"])
    columns = np.flatnonzero((np.asarray(canvas.convert("L")) < 250).any(axis=0))
    assert abs(columns[-1] - 10 - BODY.width("a cat кошка")) <= 3
    assert BODY.width("a cat кошка") - BODY.width("a cat ") > 30


def test_without_fontconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert list(_system_fonts()) == []


@pytest.mark.slow
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
