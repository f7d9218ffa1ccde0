"""Sound in and out. The references are libsndfile's reader and writer (soundfile), and the file that was put in."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import render.media.sound
import render.output.animate
from render.media.sound import Sound, read_samples, sound_fault, sound_seconds
from render.output.animate import Animation, write_animation

ONCE = Animation(loop="none")
FRAMES = [np.full((32, 48, 3), 8 * (n % 30), np.uint8) for n in range(37)]  # 3.08 s

Samples = npt.NDArray[np.float64]


def noise(seconds: float, rate: int, channels: int = 1) -> Samples:
    """Noise of falling loudness, so that no two parts of it are alike: [N, channels]."""
    count = int(seconds * rate)
    fade = np.linspace(0.5, 0.1, count)[:, None]
    return np.random.default_rng(0).uniform(-1, 1, (count, channels)) * fade


def lag(heard: npt.NDArray[np.float32], source: npt.NDArray[np.float32]) -> int:
    """By how many samples what is heard comes after its source."""
    size = len(heard) + len(source)
    alike = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(source, size)), size)
    place = int(np.argmax(alike))
    return place if place < size // 2 else place - size


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3"])
def test_samples_are_those_of_libsndfile(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, noise(1.5, 22050), 22050)
    expected = soundfile.read(path, dtype="float32")[0]
    got = read_samples(path, 22050)
    assert abs(len(got) - len(expected)) <= 1152  # of an MP3's last frame
    assert np.abs(got[: len(expected)] - expected[: len(got)]).max() < 2e-4
    assert sound_fault(path) is None


def test_channels_become_one_at_another_rate(tmp_path: Path) -> None:
    path, time = tmp_path / "a.wav", np.arange(48000) / 48000
    soundfile.write(path, np.stack([0.5 * np.sin(2 * np.pi * 440 * time), np.zeros(48000)], axis=1), 48000)
    got = read_samples(path, 22050)
    assert len(got) == 22050
    expected = 0.5**1.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)  # each channel counts for its root half
    assert np.abs(got - expected)[1000:-1000].max() < 1e-3


@pytest.mark.parametrize(
    ("name", "content", "required"),
    [
        ("a.txt", b"no sound", "a sound file"),
        ("a.wav", b"", "a sound file"),
        ("a.wav", None, "a sound file"),
        ("folder", "folder", "a sound file"),
    ],
)
def test_files_that_are_no_sound(tmp_path: Path, name: str, content: object, required: str) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        path.mkdir()
    fault = sound_fault(path)
    assert fault is not None
    assert fault[0] == required


def test_a_film_without_sound_and_sounds_of_odd_lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_animation(tmp_path / "a.mp4", FRAMES, ONCE)
    assert sound_fault(tmp_path / "a.mp4") == ("a sound file", "ValueError: no sound in it")
    soundfile.write(tmp_path / "none.wav", noise(0, 8000), 8000)
    soundfile.write(tmp_path / "long.wav", noise(3, 8000), 8000)
    assert sound_fault(tmp_path / "none.wav") is not None
    monkeypatch.setattr(render.media.sound, "SECONDS_MAX", 2)
    required = "sound of more than 0 and at most 0 hours"
    assert sound_fault(tmp_path / "long.wav") == (required, "more")


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "channels", "kept"), [(44100, 2, 44100), (48000, 1, 48000), (22050, 2, 48000)])
@pytest.mark.parametrize("start_s", [0.0, 1.3])
def test_an_mp4_is_heard_in_time(tmp_path: Path, rate: int, channels: int, kept: int, start_s: float) -> None:
    source, path = tmp_path / "a.flac", tmp_path / "a.mp4"
    soundfile.write(source, noise(6, rate, channels), rate)
    write_animation(path, FRAMES, ONCE, "title", sound=Sound(source, start_s))
    heard = read_samples(path, 22050)
    expected = read_samples(source, 22050)[round(start_s * 22050) :]
    assert abs(lag(heard, expected[: len(heard)])) <= 1  # 1/22050 s
    assert 0 <= len(heard) / 22050 - 37 / 12 < 0.05  # two frames of 1024 samples
    with av.open(path) as film:
        assert (film.streams.audio[0].rate, film.streams.audio[0].channels) == (kept, channels)
        assert sum(1 for _ in film.decode(video=0)) == 37
        assert film.metadata["title"] == "title"


def test_a_sound_that_ends_before_the_film(tmp_path: Path) -> None:
    source, path = tmp_path / "a.wav", tmp_path / "a.mp4"
    soundfile.write(source, noise(1, 44100), 44100)
    write_animation(path, FRAMES, ONCE, sound=Sound(source))
    assert abs(sound_seconds(path) - 1) < Fraction(3, 100)
    write_animation(path, FRAMES, ONCE, sound=Sound(source, 5.0))  # past its end: a silent film
    assert sum(1 for _ in av.open(path).decode(video=0)) == 37


def test_sound_and_pictures_lie_side_by_side(tmp_path: Path) -> None:
    """A player that streams the file need not look far ahead."""
    source, path = tmp_path / "a.wav", tmp_path / "a.mp4"
    soundfile.write(source, noise(20, 44100), 44100)
    write_animation(path, [np.full((32, 32, 3), n % 256, np.uint8) for n in range(240)], ONCE, sound=Sound(source))
    latest = {"audio": 0.0, "video": 0.0}
    with av.open(path) as film:
        for packet in film.demux():
            if packet.pts is not None:
                latest[packet.stream.type] = float(packet.pts * packet.time_base)
                assert abs(latest["audio"] - latest["video"]) < 5


def test_the_same_bytes_again_and_other_formats_without(tmp_path: Path) -> None:
    source = tmp_path / "a.wav"
    soundfile.write(source, noise(4, 44100), 44100)
    for name in ("a.mp4", "b.mp4", "a.gif", "a.webp", "a.apng"):
        write_animation(tmp_path / name, FRAMES, ONCE, sound=Sound(source))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_film_that_lacks_sound_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, path = tmp_path / "a.wav", tmp_path / "a.mp4"
    soundfile.write(source, noise(4, 44100), 44100)
    monkeypatch.setattr("render.output.animate.SoundTrack.close", lambda self: setattr(self, "written_s", Fraction(9)))
    with pytest.raises(RuntimeError, match=r"required 9 s of sound, decoded 3\."):
        write_animation(path, FRAMES, ONCE, sound=Sound(source))
    assert [file.name for file in tmp_path.iterdir()] == ["a.wav"]
