"""What happens in a sound: its beats, and how its percussive energy grows. librosa's home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from render.media.sound import read_samples

__all__ = ["Track", "can_listen"]

RATE = 22_050  # samples per second, as librosa's own examples have it
WINDOW = 2_048  # samples a spectrum
HOP = 512  # samples from one spectrum to the next
CHUNK = 2_048  # spectra that are split into harmonic and percussive at a time: 48 s
MARGIN = 32  # spectra on both sides of a chunk that its median filters look at


def can_listen() -> bool:
    """Whether librosa is there; it comes with `nightrender[audio]`."""
    try:
        import librosa  # noqa: F401
    except ImportError:
        return False
    return True


class Track:
    """One sound file, read when first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _samples(self) -> npt.NDArray[np.float32]:
        return read_samples(self._path, RATE)

    @property
    def duration_s(self) -> float:
        return len(self._samples) / RATE

    @cached_property
    def beats(self) -> npt.NDArray[np.float64]:
        """Seconds of each beat, by librosa's dynamic programming (Ellis 2007)."""
        from librosa import power_to_db
        from librosa.beat import beat_track
        from librosa.onset import onset_strength

        bands = np.concatenate([_bands(chunk) for chunk in self._chunks()], axis=1)
        onsets = onset_strength(S=power_to_db(bands), sr=RATE, hop_length=HOP, aggregate=np.median)
        times = beat_track(onset_envelope=onsets, sr=RATE, hop_length=HOP, units="time")[1]
        return np.asarray(times, np.float64)

    def progress(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """How far the percussive energy between the first and the last of some seconds has grown at each: 0 … 1.

        Where there is none it grows evenly. The energy of a moment is the largest of its mel bands' once harmonic sounds
        are taken out, as in stable-diffusion-videos.
        """
        bounds = (np.arange(len(self._energy) + 1) - 0.5) * HOP / RATE
        grown = np.interp(times, bounds, np.append(0.0, np.cumsum(self._energy)))
        span, even = grown[-1] - grown[0], np.linspace(0.0, 1.0, len(times))
        return (grown - grown[0]) / span if span > 0 else even

    @cached_property
    def _energy(self) -> npt.NDArray[np.float64]:
        """Percussive energy of each HOP samples, [N]."""
        return np.concatenate([_percussive(chunk).max(axis=0) for chunk in self._chunks()]).astype(np.float64)

    def _chunks(self) -> Iterator[_Chunk]:
        """The magnitudes of the sound's spectra, piece by piece: together they take eight times the sound's memory."""
        from librosa import stft

        for start in range(0, len(self._samples) // HOP + 1, CHUNK):
            before = min(start, MARGIN)
            samples = self._samples[(start - before) * HOP : (start + CHUNK + MARGIN) * HOP]
            missing = max(0, WINDOW - len(samples))
            yield _Chunk(np.abs(stft(np.pad(samples, (0, missing)), n_fft=WINDOW, hop_length=HOP)), before)


@dataclass(frozen=True, slots=True)
class _Chunk:
    magnitudes: npt.NDArray[np.float32]  # [1 + WINDOW / 2, N], of consecutive spectra
    before: int  # those in front that are only looked at, as are MARGIN behind

    def own(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of values [B, N] those of this chunk."""
        return values[:, self.before : self.before + CHUNK]


def _bands(chunk: _Chunk) -> npt.NDArray[np.float32]:
    """Energy of each mel band, [B, N]."""
    from librosa.feature import melspectrogram

    return chunk.own(melspectrogram(S=chunk.magnitudes**2, sr=RATE))


def _percussive(chunk: _Chunk) -> npt.NDArray[np.float32]:
    """Energy of each mel band once harmonic sounds are taken out, [B, N] (median filtering, Fitzgerald 2010)."""
    from librosa.decompose import hpss
    from librosa.feature import melspectrogram

    percussive = hpss(chunk.magnitudes)[1]
    return chunk.own(melspectrogram(S=percussive**2, sr=RATE))
