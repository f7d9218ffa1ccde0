"""Texts of frames → an SRT file beside their MP4."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path

from render.core import replacing
from render.output.animate import Animation, loop_order

__all__ = ["cues", "write_subtitles"]


def cues(texts: Sequence[str], rate: Fraction) -> Iterator[tuple[int, int, str]]:
    """(start, end, text) of every run of frames with one text, in milliseconds, for `rate` frames per second.

    Times are rounded down, so that a frame never starts before its cue.

    >>> list(cues(["a", "a", "b"], Fraction(12)))
    [(0, 166, 'a'), (166, 250, 'b')]
    """
    for text, run in groupby(range(len(texts)), key=texts.__getitem__):
        frames = list(run)
        yield int(1000 * frames[0] / rate), int(1000 * (frames[-1] + 1) / rate), text


def write_subtitles(path: Path, texts: Sequence[str], settings: Animation) -> None:
    """Write the texts of a walk's frames, one line each, as they are shown; the file appears whole or not at all."""
    shown = [texts[index] for index in loop_order(len(texts), settings.loop)]
    # An arrow of SRT's own in a text could be read as a cue.
    told = enumerate(cues(shown, settings.rate), start=1)
    blocks = [
        f"{number}\n{_clock(start)} --> {_clock(end)}\n{text.replace('-->', '→')}\n"
        for number, (start, end, text) in told
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(blocks), encoding="utf-8", newline="\n")


def _clock(milliseconds: int) -> str:
    """Milliseconds as SRT writes a time.

    >>> _clock(3_723_004)
    '01:02:03,004'
    """
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{rest:03}"
