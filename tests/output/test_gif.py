"""GIFs: times, palette and dither, and what they carry beside pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moving_pictures import ONCE, Source, decoded, flat, gif_frames, natural, numbered
from PIL import Image

from render.output import animate
from render.output.animate import Animation, write_animation
from render.output.pixels import Pixels


@pytest.mark.parametrize("still", [False, True], ids=["moving", "still"])
@pytest.mark.parametrize(
    ("fps", "delays_cs"),
    [
        (10, [10, 10, 10, 10]),
        (12, [8, 9, 8, 8]),
        (24, [4, 4, 5, 4]),
        (25, [4, 4, 4, 4]),
        (29.97, [3, 4, 3, 3]),
        (30, [3, 4, 3, 3]),
        (40, [3, 2, 3, 2]),
        (50, [2, 2, 2, 2]),
    ],
)
def test_gif_duration_is_exact(tmp_path: Path, fps: float, delays_cs: list[int], still: bool) -> None:
    for count in (30, 31, 37):  # the last delay matters where the count is not a whole number of rounds
        path = tmp_path / f"{count}.gif"
        write_animation(
            path, Source(count, lambda i: numbered(0 if still else i % 30)), Animation(fps=fps, loop="none")
        )
        delays = [ms for _, ms in gif_frames(path)]
        assert delays[:4] == [10 * cs for cs in delays_cs]
        assert abs(sum(delays) - 1000 * count / fps) <= 5
        assert len(delays) == count


@pytest.mark.parametrize(("loop", "flag"), [("none", None), ("bounce", 0), ("cycle", 0)])  # 0: for ever
@pytest.mark.parametrize("count", [1, 4])
def test_gif_loop_flag(tmp_path: Path, loop: str, flag: int | None, count: int) -> None:
    write_animation(tmp_path / "a.gif", Source(count, numbered), Animation(loop=loop))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info.get("loop") == flag


def test_gif_gradients_have_no_contours(tmp_path: Path) -> None:
    """Over blocks of 8 × 8 the dither averages to the source: a soft grey ramp stays soft."""
    ramp = np.repeat(np.linspace(60, 100, 256).round().astype(np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2)
    write_animation(tmp_path / "a.gif", [ramp], ONCE)
    ((got, _),) = gif_frames(tmp_path / "a.gif")
    blocks = [a.astype(float).reshape(8, 8, 32, 8, 3).mean(axis=(1, 3)) for a in (got, ramp)]
    assert np.abs(blocks[0] - blocks[1]).max() < 1


def test_gif_palette_covers_the_whole_walk(tmp_path: Path) -> None:
    colours = [flat(250, 10, 10), flat(10, 250, 10), flat(10, 10, 250)]
    source = Source(90, lambda i: colours[i // 30])
    write_animation(tmp_path / "a.gif", source, ONCE)
    assert len(source.reads) <= 90 + animate.PALETTE_FRAMES + 1
    for index, (got, _) in enumerate(gif_frames(tmp_path / "a.gif")):
        np.testing.assert_array_equal(got, colours[index // 30])


def test_gif_does_not_flicker(tmp_path: Path) -> None:
    """A still background keeps its pixels, whatever moves in front of it."""
    background = natural(0)

    def frame(index: int) -> Pixels:
        pixels = background.copy()
        pixels[:16, 2 * index : 2 * index + 16] = natural(7 * index)[:16, :16]
        return pixels

    write_animation(tmp_path / "a.gif", Source(30, frame), ONCE)
    for frames in ([f for f, _ in gif_frames(tmp_path / "a.gif")], decoded(tmp_path / "a.gif")):
        assert len(frames) == 30
        for got in frames:
            np.testing.assert_array_equal(got[16:], frames[0][16:])


def test_a_comment_keeps_a_gifs_loop_and_times(tmp_path: Path) -> None:
    for name, comment in (("a", ""), ("b", "hello")):
        write_animation(tmp_path / f"{name}.gif", Source(5, numbered), Animation(fps=24), comment=comment)
    assert [ms for _, ms in gif_frames(tmp_path / "a.gif")] == [ms for _, ms in gif_frames(tmp_path / "b.gif")]
    with Image.open(tmp_path / "b.gif") as image:
        assert image.info["loop"] == 0


def test_a_comment_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk is full")

    (tmp_path / "a.gif").write_bytes(b"old")
    monkeypatch.setattr("render.output.gif.shutil.copyfileobj", fail)
    with pytest.raises(OSError, match="disk is full"):
        write_animation(tmp_path / "a.gif", Source(3, numbered), ONCE, comment="c")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
