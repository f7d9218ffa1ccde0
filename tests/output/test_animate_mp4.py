"""MP4s: times, colours by their tags, metadata, and the same bytes again."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from moving_pictures import ONCE, Source, decoded, error, flat, natural, numbered, picture_count, seconds
from PIL import Image

from render.output.animate import Animation, write_animation


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (12, Fraction(12)),
        (24, Fraction(24)),
        (29.97, Fraction(2997, 100)),
        (30000 / 1001, Fraction(30000, 1001)),
        (60, Fraction(60)),
        (240000 / 1001, Fraction(240000, 1001)),  # imageio rounds this one's time base
        (0.5, Fraction(1, 2)),
    ],
)
@pytest.mark.parametrize("count", [1, 2, 37])
def test_mp4_duration_is_exact(tmp_path: Path, fps: float, rate: Fraction, count: int) -> None:
    path = tmp_path / "a.mp4"
    write_animation(path, Source(count, lambda i: numbered(i % 30)), Animation(fps=fps, loop="none"))
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert seconds(stream.duration, stream.time_base) == count / rate
        assert stream.average_rate == rate
        assert stream.frames == count
        assert [seconds(f.pts, f.time_base) for f in container.decode(stream)] == [i / rate for i in range(count)]


@pytest.mark.parametrize(
    ("rgb", "yuv"),  # by ITU-R BT.709, limited range; BT.601 would store red as (81, 90, 240), blue as (41, 240, 110)
    [
        ((255, 0, 0), (63, 102, 240)),
        ((0, 255, 0), (173, 42, 26)),
        ((0, 0, 255), (32, 240, 118)),
        ((255, 255, 255), (235, 128, 128)),
        ((0, 0, 0), (16, 128, 128)),
    ],
)
def test_mp4_saturated_colours(tmp_path: Path, rgb: tuple[int, int, int], yuv: tuple[int, int, int]) -> None:
    write_animation(tmp_path / "a.mp4", [flat(*rgb, size=(32, 32))] * 3, ONCE)
    with av.open(tmp_path / "a.mp4") as container:
        planes = [[bytes(p)[0] for p in frame.planes] for frame in container.decode(video=0)]
    assert np.abs(np.array(planes) - yuv).max() <= 1
    assert np.abs(decoded(tmp_path / "a.mp4")[0].astype(int) - rgb).max() <= 4


def test_mp4_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_animation(path, Source(40, natural), Animation())
    with av.open(path) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        tags = context.color_primaries, context.color_trc, context.colorspace, context.color_range
        assert tags == (1, 1, 1, 1)  # BT.709 three times, limited range
    data, boxes, place = path.read_bytes(), [], 0
    while place < len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        boxes.append(name.decode())
        place += size
    assert boxes.index("moov") < boxes.index("mdat")  # plays before it is loaded
    assert b"colrnclx\x00\x01\x00\x01\x00\x01\x00" in data  # the container says so as well


def test_crf_sets_the_quality(tmp_path: Path) -> None:
    errors = []
    for crf in (8, 40):
        write_animation(tmp_path / "a.mp4", Source(5, natural), Animation(crf=crf))
        errors.append(error(decoded(tmp_path / "a.mp4")[0], natural(0)))
    assert errors[1] > errors[0] + 0.5


COMMENTS = ["{}", '{"prompts":["3d dog’s face","日本の猫 \\"🐈\\""]}', "ü" * 200, "x" * 255, "x" * 510, "long " * 4000]


@pytest.mark.parametrize("comment", COMMENTS, ids=lambda comment: str(len(comment)))
def test_mp4_and_gif_carry_their_comment(tmp_path: Path, comment: str) -> None:
    for kind in ("mp4", "gif"):
        write_animation(tmp_path / f"plain.{kind}", Source(5, natural), ONCE)
        write_animation(tmp_path / f"a.{kind}", Source(5, natural), ONCE, title="dög to cat", comment=comment)
        for got, plain in zip(decoded(tmp_path / f"a.{kind}"), decoded(tmp_path / f"plain.{kind}"), strict=True):
            np.testing.assert_array_equal(got, plain)
    with av.open(tmp_path / "a.mp4") as container:
        assert (container.metadata["title"], container.metadata["comment"]) == ("dög to cat", comment)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["comment"].decode() == comment
        assert picture_count(image) == 5
    with Image.open(tmp_path / "plain.gif") as image:
        assert "comment" not in image.info
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="no ffprobe")
def test_ffprobe_reads_title_and_comment(tmp_path: Path) -> None:
    write_animation(tmp_path / "a.mp4", Source(3, numbered), ONCE, title="dög", comment='{"a":1}')
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", "format_tags", str(tmp_path / "a.mp4")]
    tags = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)["format"]["tags"]
    assert (tags["title"], tags["comment"]) == ("dög", '{"a":1}')


@pytest.mark.slow
def test_what_memory_held_before_is_nowhere_in_an_mp4(tmp_path: Path) -> None:
    """The C library fills new memory with one byte or another; with AVX-512 x264 would read some of it."""
    program = """if True:
        import sys
        from pathlib import Path
        import numpy as np
        from render.output.animate import Animation, write_animation
        frames = [np.random.default_rng(n).integers(0, 255, (32, 48, 3), np.uint8) for n in range(37)]
        write_animation(Path(sys.argv[1]), frames, Animation(loop="none"))
    """
    for byte in ("1", "255"):
        path = tmp_path / f"{byte}.mp4"
        env = {**os.environ, "MALLOC_PERTURB_": byte}
        subprocess.run([sys.executable, "-c", program, path], check=True, env=env, timeout=60)
    assert (tmp_path / "1.mp4").read_bytes() == (tmp_path / "255.mp4").read_bytes()
