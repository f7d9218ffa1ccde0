"""Write the texts of frames as subtitles: an SRT file beside their MP4."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from render.core import replacing
from render.output.animate import Animation, loop_order

__all__ = ["cues", "write_subtitles"]

TAG = re.compile(r"<(?=[a-zA-Z/!?])|\{(?=\\|[a-zA-Z]:)")  # where one begins


def cues(texts: Sequence[str], rate: Fraction) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, text) in milliseconds of every stretch of frames with the same text, at `rate` frames per second.

    Times are rounded down, so that a frame never starts before its cue.

    >>> list(cues(["a", "a", "b"], Fraction(12)))
    [(0, 166, 'a'), (166, 250, 'b')]
    """
    for text, stretch in groupby(range(len(texts)), key=texts.__getitem__):
        frames = list(stretch)
        yield int(1000 * frames[0] / rate), int(1000 * (frames[-1] + 1) / rate), text


def write_subtitles(path: Path, texts: Sequence[str], settings: Animation) -> None:
    """Write one text for each frame of a walk, in the order of playing; the file appears whole or not at all."""
    shown = [texts[index] for index in loop_order(len(texts), settings.loop)]
    blocks = [
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{_plain(text)}\n"
        for number, (start, end, text) in enumerate(cues(shown, settings.rate), start=1)
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(blocks), encoding="utf-8", newline="\n")


def _plain(text: str) -> str:
    r"""Return a text that no player takes for an arrow of a cue, or for a tag such as `<b>` or `{\an8}`.

    A word joiner, which has no width, parts the sign from what makes a tag of it.
    """
    return TAG.sub("\\g<0>\u2060", text.replace("-->", "→"))


def _clock(milliseconds: int) -> str:
    """Format a time for SRT.

    >>> _clock(3_723_004)
    '01:02:03,004'
    """
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"
