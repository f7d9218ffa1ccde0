"""SRT files, read back with PyAV and held against the frames of their MP4."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from moving_pictures import seconds

from render.job.bounds import ANIMATION_LOOPS
from render.output import subtitles
from render.output.animate import Animation, write_animation
from render.output.subtitles import cues, write_subtitles


def read_srt(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    """(start, end, text) of every cue, in seconds, by ffmpeg's reader."""
    with av.open(path) as container:
        packets = [packet for packet in container.demux() if packet.size]
        return [
            (
                seconds(p.pts, p.time_base),
                seconds(p.pts, p.time_base) + seconds(p.duration, p.time_base),
                bytes(p).decode(),
            )
            for p in packets
            if p.pts is not None
        ]


@pytest.mark.parametrize(
    ("texts", "rate", "told"),
    [
        ([], 12, []),
        (["a"], 12, [(0, 83, "a")]),
        (["a", "b", "b", "a"], 24, [(0, 41, "a"), (41, 125, "b"), (125, 166, "a")]),
        (["a", "b"], Fraction(30000, 1001), [(0, 33, "a"), (33, 66, "b")]),
        (["a"] * 3, Fraction(1, 10), [(0, 30000, "a")]),
    ],
)
def test_cues(texts: list[str], rate: Fraction, told: list[tuple[int, int, str]]) -> None:
    assert list(cues(texts, Fraction(rate))) == told


@pytest.mark.parametrize("loop", ANIMATION_LOOPS)
@pytest.mark.parametrize("fps", [12, 24, 29.97, 240000 / 1001, 0.5])
def test_every_frame_of_the_mp4_lies_in_its_cue(tmp_path: Path, fps: float, loop: str) -> None:
    """By the frames as they are decoded: their grey level tells which text is theirs."""
    settings, texts = Animation(fps=fps, loop=loop), [f"p{n // 3} → ü  t = {n // 3}" for n in range(14)]
    write_animation(tmp_path / "a.mp4", [np.full((16, 16, 3), 16 * (n + 1), np.uint8) for n in range(14)], settings)
    write_subtitles(tmp_path / "a.srt", texts, settings)
    found = read_srt(tmp_path / "a.srt")
    with av.open(tmp_path / "a.mp4") as container:
        frames = [(seconds(f.pts, f.time_base), f.to_ndarray(format="rgb24").mean()) for f in container.decode(video=0)]
    for time, grey in frames:
        (text,) = [text for start, end, text in found if start <= time < end]
        assert text == texts[round(grey / 16) - 1]
    assert found[-1][1] == Fraction(int(1000 * len(frames) / settings.rate), 1000)
    assert all(before[1] == after[0] for before, after in pairwise(found))
    assert all(before[2] != after[2] for before, after in pairwise(found))


def test_the_file(tmp_path: Path) -> None:
    write_subtitles(tmp_path / "a.srt", ["dog", "dog → cat  t = 0.50", "cat"], Animation(fps=0.5))
    assert (tmp_path / "a.srt").read_bytes().decode() == (
        "1\n00:00:00,000 --> 00:00:02,000\ndog\n\n"
        "2\n00:00:02,000 --> 00:00:04,000\ndog → cat  t = 0.50\n\n"
        "3\n00:00:04,000 --> 00:00:06,000\ncat\n\n"
        "4\n00:00:06,000 --> 00:00:08,000\ndog → cat  t = 0.50\n"
    )


def test_texts_that_look_like_srt(tmp_path: Path) -> None:
    texts = ["1", "a --> b", "00:00:01,000 --> 00:00:02,000", "-", "<b>2</b>"]
    write_subtitles(tmp_path / "a.srt", texts, Animation(fps=10, loop="none"))
    found = read_srt(tmp_path / "a.srt")
    assert [text for _, _, text in found] == [*(text.replace("-->", "→") for text in texts[:4]), "<\u2060b>2<\u2060/b>"]
    assert [start for start, _, _ in found] == [Fraction(n, 10) for n in range(5)]


def test_long_walks(tmp_path: Path) -> None:
    write_subtitles(tmp_path / "a.srt", [str(n) for n in range(2000)], Animation(fps=0.1, loop="none"))
    assert read_srt(tmp_path / "a.srt")[-1] == (Fraction(19_990), Fraction(20_000), "1999")


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.srt").write_text("old")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("disk is full")))
    with pytest.raises(OSError, match="disk is full"):
        subtitles.write_subtitles(tmp_path / "a.srt", ["a", "b"], Animation())
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
