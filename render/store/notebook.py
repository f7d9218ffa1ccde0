"""Stores and walks as a notebook shows them: HTML without scripts or files of its own, so that it works offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from render.core import StoreError, counted

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["SHOWN_MAX", "THUMBNAILS", "animation_html", "numbers", "readable", "spread", "store_html"]

THUMBNAILS, SIDE = 12, 96  # pictures of a store, and the longer side of each in pixels
SHOWN_SIDE, SHOWN_MAX = 256, 120  # of a walk: the longer side in pixels, and frames that are played
FRAME_MS = 83  # milliseconds a frame: 12 a second
QUALITY = {"quality": 80, "method": 2}


def store_html(facts: Iterable[tuple[str, str]], pictures: Iterable[tuple[str, Image]]) -> str:
    """Return a table of facts, and small pictures with their texts."""
    rows = "".join(
        f'<tr><th style="text-align:left">{escape(name)}</th><td style="text-align:left">{escape(value)}</td></tr>'
        for name, value in facts
    )
    thumbs = "".join(_picture(_encoded(_small(image, SIDE)), text, SIDE) for text, image in pictures)
    return f'<table>{rows}</table><div style="display:flex;flex-wrap:wrap;gap:4px">{thumbs}</div>'


def animation_html(title: str, images: Sequence[Image]) -> str:
    """Return frames as an animated picture that plays by itself, with a title below."""
    small = [_small(image, SHOWN_SIDE) for image in images]
    more: dict[str, Any] = {"save_all": True, "append_images": small[1:], "duration": FRAME_MS, "loop": 0}
    data = _encoded(small[0], **(more if len(small) > 1 else {}))
    return f"<figure>{_picture(data, title, SHOWN_SIDE)}<figcaption>{escape(title)}</figcaption></figure>"


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` places of a sequence, evenly spread, its ends included.

    >>> spread(10, 4), spread(2, 4)
    ([0, 3, 6, 9], [0, 1])
    """
    if count <= most:
        return list(range(count))
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]


def readable(frames: Iterable[Any]) -> Iterable[tuple[str, Image]]:
    """Yield (prompt, picture) of stored frames; damaged pictures are left out."""
    for frame in frames:
        try:
            yield str(frame.row["prompt"]), frame.image()
        except StoreError:
            continue


def numbers(walks: int, stills: int) -> str:
    """Return the numbers of walks and stills in words."""
    return f"{counted(walks, 'walk')}, {counted(stills, 'still')}"


def _small(image: Image, side: int) -> Image:
    small = image.copy()
    small.thumbnail((side, side))
    return small


def _encoded(image: Image, **more: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **QUALITY, **more)
    return base64.b64encode(buffer.getvalue()).decode()


def _picture(data: str, text: str, side: int) -> str:
    style = f"max-width:{side}px;max-height:{side}px"
    return f'<img src="data:image/webp;base64,{data}" alt="{escape(text)}" title="{escape(text)}" style="{style}">'
