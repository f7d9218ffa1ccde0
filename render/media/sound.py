"""Sound files: what they must be, their samples, and their place in an MP4."""

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

SECONDS_MAX = 4 * 3600  # of a sound file
RATES = (44100, 48000)  # samples per second that an MP4 keeps; others become the last
BIT_RATE = 192_000
CODEC = "aac"
FRAME = 1024  # samples that it takes at a time


@dataclass(frozen=True, slots=True)
class Sound:
    """What is heard with a walk."""

    path: Path
    start_s: float = 0.0  # where in the file the walk begins


def sound_fault(file: Path) -> tuple[str, str] | None:
    """(what is required, what was got) of a file that does not decode to sound of a sane length."""
    try:
        seconds = sound_seconds(file)
    except (OSError, ValueError, FFmpegError) as error:
        return "a sound file", f"{type(error).__name__}: {error}"
    if 0 < seconds <= SECONDS_MAX:
        return None
    return f"sound of more than 0 and at most {SECONDS_MAX // 3600} hours", "none" if not seconds else "more"


def sound_seconds(file: Path) -> Fraction:
    """The length of what the file decodes to; decoding ends a little past SECONDS_MAX. Raises ValueError for no sound."""
    length = Fraction(0)
    for frame in _decode(file):
        length += Fraction(frame.samples, frame.sample_rate)
        if length > SECONDS_MAX:
            break
    return length


def read_samples(file: Path, rate: int) -> npt.NDArray[np.float32]:
    """The sound at `rate` samples per second, all channels as one: [N], about -1 … 1."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    parts = [part.to_ndarray()[0] for frame in _decode(file) for part in resampler.resample(frame)]
    parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _decode(file: Path) -> Iterator[av.AudioFrame]:
    """The frames of the file's first sound stream. Raises ValueError where it has none."""
    with av.open(file) as container:
        if not container.streams.audio:
            raise ValueError("no sound in it")
        for frame in container.decode(audio=0):
            frame.pts = None  # samples follow each other, whatever the file's clock says
            yield frame


class SoundTrack:
    """The sound of one MP4, encoded as its pictures come, so that both lie side by side in the file."""

    def __init__(self, container: Any, sound: Sound) -> None:
        rate, layout = _kind_of(sound.path)
        self._container = container
        self._stream = container.add_stream(CODEC, rate=rate, layout=layout)
        self._stream.bit_rate = BIT_RATE
        self._frames = _frames(sound, rate, layout)
        self.written_s = Fraction(0)

    def write_until(self, time_s: Fraction) -> None:
        """Encode up to a time of the film, or to the end of the sound: silence follows."""
        while self.written_s < time_s and (frame := next(self._frames, None)):
            self._container.mux(self._stream.encode(frame))
            self.written_s += Fraction(frame.samples, frame.sample_rate)

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


def _kind_of(file: Path) -> tuple[int, str]:
    """(samples per second, mono or stereo), as the file has it where an MP4 can."""
    with av.open(file) as container:
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.channels
    return rate if rate in RATES else RATES[-1], "mono" if channels == 1 else "stereo"


def _frames(sound: Sound, rate: int, layout: str) -> Iterator[av.AudioFrame]:
    """The sound from its start on, at most FRAME samples at a time."""
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
