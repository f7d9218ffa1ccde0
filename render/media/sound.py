"""Sound files: check them, read their samples, and encode them into an MP4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.error import FFmpegError

__all__ = ["Sound", "SoundTrack", "read_samples", "sound_fault", "sound_seconds"]

SECONDS_MAX = 4 * 3600  # length of a sound file
RATES = (44100, 48000)  # samples per second kept in an MP4; other rates are resampled to the last
BIT_RATE = 192_000
CODEC = "aac"
FRAME = 1024  # samples of one AAC frame


@dataclass(frozen=True, slots=True)
class Sound:
    """Sound of a walk's animation."""

    path: Path
    start_s: float = 0.0  # time in the file at which the walk begins


def sound_fault(file: Path) -> tuple[str, str] | None:
    """Return (required, got) for a file that does not decode to sound of an accepted length, else None."""
    try:
        seconds = sound_seconds(file)
    except (OSError, ValueError, FFmpegError) as error:
        return "a sound file", f"{type(error).__name__}: {error}"
    if 0 < seconds <= SECONDS_MAX:
        return None
    return f"sound of more than 0 and at most {SECONDS_MAX // 3600} hours", "none" if not seconds else "more"


def sound_seconds(file: Path) -> Fraction:
    """Return the length of a file's sound in seconds, by decoding it; decoding stops just past SECONDS_MAX.

    Raises ValueError if the file has no sound stream.
    """
    length = Fraction(0)
    for frame in _decode(file):
        length += Fraction(frame.samples, frame.sample_rate)
        if length > SECONDS_MAX:
            break
    return length


def read_samples(file: Path, rate: int) -> npt.NDArray[np.float32]:
    """Return the sound at `rate` samples per second, its channels mixed to one: [N], about -1 … 1."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    parts = [part.to_ndarray()[0] for frame in _decode(file) for part in resampler.resample(frame)]
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _decode(file: Path) -> Iterator[av.AudioFrame]:
    """Yield the frames of the file's first sound stream. Raises ValueError if there is none."""
    with av.open(file) as container:
        if not container.streams.audio:
            raise ValueError("no sound in it")
        for frame in container.decode(audio=0):
            frame.pts = None  # frames are joined without gaps, whatever the file's timestamps say
            yield frame


class SoundTrack:
    """Sound stream of one MP4, encoded in step with the pictures, so that players find both close together."""

    def __init__(self, container: Any, sound: Sound) -> None:
        rate, layout = _output_format(sound.path)
        self._container = container
        self._stream = container.add_stream(CODEC, rate=rate, layout=layout)
        self._stream.bit_rate = BIT_RATE
        self._frames = _resampled(sound, rate, layout)
        self.written_s = Fraction(0)

    def write_until(self, time_s: Fraction) -> None:
        """Encode the sound up to a time of the animation; past the end of the file there is silence."""
        while self.written_s < time_s and (frame := next(self._frames, None)):
            self._container.mux(self._stream.encode(frame))
            self.written_s += Fraction(frame.samples, frame.sample_rate)

    def close(self) -> None:
        """Write the samples that the encoder still buffers."""
        self._container.mux(self._stream.encode(None))


def _output_format(file: Path) -> tuple[int, str]:
    """Return (samples per second, mono or stereo) for the MP4, as in the file if an MP4 can have it."""
    with av.open(file) as container:
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
    return rate if rate in RATES else RATES[-1], "mono" if channels == 1 else "stereo"


def _resampled(sound: Sound, rate: int, layout: str) -> Iterator[av.AudioFrame]:
    """Yield the sound from `start_s` on, at most FRAME samples at a time."""
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate, frame_size=FRAME)
    skip, written = round(sound.start_s * rate), 0
    for frame in (part for whole in chain(_decode(sound.path), [None]) for part in resampler.resample(whole)):
        samples = np.ascontiguousarray(frame.to_ndarray()[:, skip:], np.float32)
        skip = max(0, skip - frame.samples)
        if samples.shape[1]:
            rest = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            rest.sample_rate, rest.pts, rest.time_base = rate, written, Fraction(1, rate)
            written += samples.shape[1]
            yield rest
