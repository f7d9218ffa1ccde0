"""WebP files: times, limits of the format, and damage that is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from moving_pictures import ONCE, Source, flat, gif_frames, natural, numbered, picture_count
from PIL import Image

from render.output import webp
from render.output.animate import Animation, write_animation


@pytest.mark.parametrize("still", [False, True], ids=["moving", "still"])
@pytest.mark.parametrize(
    ("fps", "delays_ms"),
    [(12, [83, 84, 83, 83]), (24, [42, 41, 42, 42]), (25, [40] * 4), (30, [33, 34, 33, 33]), (60, [17, 16, 17, 17])],
)
def test_webp_duration_is_exact(tmp_path: Path, fps: float, delays_ms: list[int], still: bool) -> None:
    for count in (1, 30, 31):
        source = Source(count, lambda i: numbered(0 if still else i % 30))
        write_animation(tmp_path / "a.webp", source, Animation(fps=fps, loop="none"))
        with Image.open(tmp_path / "a.webp") as image:
            assert picture_count(image) == count
        delays = [ms for _, ms in gif_frames(tmp_path / "a.webp")] if count > 1 else delays_ms[:1]
        assert delays[:4] == delays_ms[:count]
        assert abs(sum(delays) - 1000 * count / fps) <= 0.5


@pytest.mark.parametrize("size", [(1, 16384), (16384, 1)])
def test_webp_refuses_long_sides(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="required at most 16383 pixels a side for WebP"):
        write_animation(tmp_path / "a.webp", [flat(1, 2, 3, size=size)] * 2, ONCE)
    assert not list(tmp_path.iterdir())


def test_webp_refuses_what_its_header_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webp, "SIZE_MAX", 400)
    with pytest.raises(ValueError, match="required less than 4 GiB for WebP, got more in"):
        write_animation(tmp_path / "a.webp", Source(30, numbered), ONCE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_broken_webp_is_noticed(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.webp"
    write_animation(path, Source(6, natural), ONCE)
    assert len(list(webp.read_webp(path))) == 6
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(OSError, match=r"required the size in its header, \d+ bytes, got \d+ bytes"):
        list(webp.read_webp(path))
