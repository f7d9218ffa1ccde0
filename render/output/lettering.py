"""Measure, wrap, shorten and draw text on images, in characters that some font has.

The font is the one that Pillow carries. A word with characters that it lacks takes the first of the system's fonts, in
fontconfig's order, that has them. Characters that no font has are replaced by plainer ones.
"""

from __future__ import annotations

import math
import subprocess
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Lettering", "legible", "lettering"]

INK = (32, 32, 32)
SIZE = 32  # font size in pixels at which fonts are searched for characters
FONTS_MAX = 50  # fonts of the system that are searched
# Beyond ASCII, Pillow's font has only © « ° ± ´ · » ‘ ’ “ ” … ‹ › ⁄ ™
STAND_INS = str.maketrans({"×": "x", "−": "-", "–": "-", "—": "-", "→": "->", "≤": "<=", "≥": ">="})
INVISIBLE = {"Mn", "Me", "Cf"}  # Unicode categories of accents and format controls


@dataclass(frozen=True, slots=True)
class Lettering:
    """Font at one size. Widths are in pixels; texts are measured and drawn as `legible` returns them."""

    font: ImageFont.FreeTypeFont

    @property
    def line_px(self) -> int:
        """Height of a line in pixels."""
        return sum(self.font.getmetrics())

    def width(self, text: str) -> int:
        return math.ceil(sum(font.getlength(run) for font, run in self._runs(legible(text))))

    def shorten(self, text: str, width: int) -> str:
        """Return the text, or as much of its beginning as fits with an ellipsis; "" if not even the ellipsis fits."""
        width = max(width, 0)
        text = legible(text)[: width + 1]  # no letter is narrower than a pixel
        if self.width(text) <= width:
            return text
        cuts = ["", *(text[:kept].rstrip() + "…" for kept in range(len(text)))]
        return cuts[bisect_right(cuts, width, key=self.width) - 1]

    def wrap(self, text: str, width: int, lines: int) -> list[str]:
        """Wrap to at most `lines` lines of whole words. The last line is shortened to fit, and so is a long word."""
        words = legible(text).split()
        wrapped: list[str] = []
        while words and len(wrapped) < lines - 1:
            count = 1
            while count < len(words) and self.width(" ".join(words[: count + 1])) <= width:
                count += 1
            wrapped.append(self.shorten(" ".join(words[:count]), width))
            words = words[count:]
        return [*wrapped, self.shorten(" ".join(words), width)] if words else wrapped

    def write(self, canvas: Image.Image, place: tuple[int, int], align: str, lines: Sequence[str]) -> None:
        """Draw lines downwards from `place`, the upper left (`align` l), middle (m) or right (r) point of the first."""
        draw = ImageDraw.Draw(canvas)
        before = {"l": 0.0, "m": 0.5, "r": 1.0}[align]
        for number, line in enumerate(lines):
            x = place[0] - round(before * self.width(line))
            baseline = place[1] + number * self.line_px + self.font.getmetrics()[0]
            for font, run in self._runs(legible(line)):
                draw.text((x, baseline), run, fill=INK, font=font, anchor="ls")
                x += round(font.getlength(run))

    def _runs(self, text: str) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
        """Split a legible text into runs of words in one font, each with the space behind it."""
        if text.isascii():
            yield self.font, text
            return
        for number, words in groupby(text.split(" "), key=_face):
            run = " ".join(words)
            yield _sized(number, self.font.size) if number else self.font, run if text.endswith(run) else f"{run} "


@cache
def lettering(size: float) -> Lettering:
    """Return Pillow's own font at a size in pixels."""
    return Lettering(_own(size))


@cache
def _own(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("text on images: required a Pillow with FreeType, got one without")
    return font


@cache
def _faces() -> tuple[ImageFont.FreeTypeFont, ...]:
    """List Pillow's own font, then the system's fonts that can be opened."""
    return (_own(SIZE), *_system_fonts())


def _system_fonts() -> Iterator[ImageFont.FreeTypeFont]:
    command = ["fc-match", "--sort", "--format=%{file}\n", "sans-serif"]
    try:
        files = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return  # no fontconfig
    for file in list(dict.fromkeys(files.splitlines()))[:FONTS_MAX]:
        try:
            yield ImageFont.truetype(file, SIZE)
        except OSError:  # bitmaps of one size, as in emoji fonts
            continue


@cache
def _sized(number: int, size: float) -> ImageFont.FreeTypeFont:
    return _faces()[number].font_variant(size=size)


@cache
def _face(word: str) -> int:
    """Return the number of the first font that has all of a word's characters, or else the most of them."""
    if all(_has(character) for character in word):
        return 0  # without a search through the system's fonts
    counts = [sum(_has(character, number) for character in word) for number in range(len(_faces()))]
    return counts.index(max(counts))


def legible(text: str) -> str:
    """Put a text on one line, and replace what no font has: by the letter without accent, a Greek name, or else `?`.

    >>> legible("45°   × 2")
    '45° x 2'
    """
    line = " ".join(text.split())
    if line.isascii() and line.isprintable():
        return line
    composed = unicodedata.normalize("NFC", line).translate(STAND_INS)
    drawn = " ".join(map(_legible_word, composed.split()))
    return " ".join(drawn.split())  # a lone accent leaves a space behind


def _legible_word(word: str) -> str:
    face = _face(word)
    return "".join(character if _has(character, face) else _plain(character, face) for character in word)


def _plain(character: str, face: int) -> str:
    parts = unicodedata.normalize("NFKD", character)
    shown = [part for part in parts if unicodedata.category(part) not in INVISIBLE]
    return "".join(part if _has(part, face) else _named(part) for part in shown)


def _named(character: str) -> str:
    """Spell a Greek letter by its name, as schedulers do with sigma and eta; any other character becomes `?`."""
    name = unicodedata.name(character, "")
    return name.split()[-1].lower() if name.startswith("GREEK") and " LETTER " in name else "?"


@cache
def _has(character: str, face: int = 0) -> bool:
    """Check that a font draws the character, by comparison with a character that no font has."""
    font = _faces()[face] if face else _own(SIZE)
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))
