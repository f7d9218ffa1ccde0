"""Text on images, in the font that Pillow carries: measured, wrapped, shortened, and in characters that the font has."""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

__all__ = ["Lettering", "legible", "lettering"]

INK = (32, 32, 32)
# The font has ASCII and few characters more: © « ° ± ´ · » ‘ ’ “ ” … ‹ › ⁄ ™
STAND_INS = str.maketrans({"×": "x", "−": "-", "–": "-", "—": "-", "→": "->", "≤": "<=", "≥": ">="})
INVISIBLE = {"Mn", "Me", "Cf"}  # marks on other characters, and control of their form


@dataclass(frozen=True, slots=True)
class Lettering:
    """A size of type. Widths are in pixels; texts are measured and drawn as `legible` makes them."""

    font: ImageFont.FreeTypeFont

    @property
    def line_px(self) -> int:
        """From one line to the next."""
        return sum(self.font.getmetrics())

    def width(self, text: str) -> int:
        return math.ceil(self.font.getlength(legible(text)))

    def shorten(self, text: str, width: int) -> str:
        """The text, or as much of its beginning as fits with an ellipsis; nothing where not even that fits."""
        width = max(width, 0)
        text = legible(text)[: width + 1]  # no letter is narrower than a pixel
        if self.width(text) <= width:
            return text
        cuts = ["", *(text[:kept].rstrip() + "…" for kept in range(len(text)))]
        return cuts[bisect_right(cuts, width, key=self.width) - 1]

    def wrap(self, text: str, width: int, lines: int) -> list[str]:
        """At most `lines` lines of whole words. What is left for the last one is shortened, and so is a long word."""
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
        """Draw lines downwards from `place`: the upper left (`align` l), middle (m) or right (r) of the first."""
        draw = ImageDraw.Draw(canvas)
        for number, line in enumerate(lines):
            corner = place[0], place[1] + number * self.line_px
            draw.text(corner, legible(line), fill=INK, font=self.font, anchor=f"{align}a")


@cache
def lettering(size: float) -> Lettering:
    """The type of a size in pixels."""
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("text on images: required a Pillow with FreeType, got one without")
    return Lettering(font)


def legible(text: str) -> str:
    """The text on one line, without accents, Greek by name; what else the font lacks becomes question marks.

    >>> legible("café   × 2, 45°, η=1, 日本")
    'cafe x 2, 45°, eta=1, ??'
    """
    composed = unicodedata.normalize("NFC", " ".join(text.split())).translate(STAND_INS)
    drawn = "".join(character if _has(character) else _plain(character) for character in composed)
    return " ".join(drawn.split())  # what is no more than an accent leaves a space


def _plain(character: str) -> str:
    parts = unicodedata.normalize("NFKD", character)
    shown = [part for part in parts if unicodedata.category(part) not in INVISIBLE]
    return "".join(part if _has(part) else _named(part) for part in shown)


def _named(character: str) -> str:
    """What schedulers call sigma or eta; `Σ` and `σ` are read alike."""
    name = unicodedata.name(character, "")
    return name.split()[-1].lower() if name.startswith("GREEK") and " LETTER " in name else "?"


@cache
def _has(character: str) -> bool:
    """Whether the font draws the character otherwise than one that it lacks."""
    font = lettering(32).font
    return character == " " or bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))
