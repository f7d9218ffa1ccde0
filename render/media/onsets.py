"""Beats and percussive energy of a sound file. The only module that imports librosa."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from render.core import cache_lock, user_cache
from render.media.sound import read_samples

__all__ = ["Track", "can_listen"]

RATE = 22_050  # samples per second, librosa's default
WINDOW = 2_048  # samples of one spectrum
HOP = 512  # samples from one spectrum to the next
CHUNK = 2_048  # spectra split into harmonic and percussive parts at a time: 48 s
MARGIN = 32  # spectra on both sides of a chunk that its median filters also need


def can_listen() -> bool:
    """Return whether librosa is installed, as the extra `nightrender[audio]` does."""
    try:
        with _alone():
            import librosa  # noqa: F401
    except ImportError:
        return False
    return True


@contextmanager
def _alone() -> Iterator[None]:
    """Let no other process listen meanwhile, and keep the functions that numba compiles for librosa in our own cache.

    When two processes compile a function at once, numba may cache a mixture, which crashes then and later (its issue
    10128).
    """
    cache = user_cache("numba")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))  # numba reads it when librosa imports it
    with cache_lock(cache / "librosa"):
        yield


class Track:
    """A sound file for analysis, decoded on first use."""

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
        """Times of the beats in seconds, by librosa's dynamic programming (Ellis 2007)."""
        with _alone():
            from librosa import power_to_db
            from librosa.beat import beat_track
            from librosa.onset import onset_strength

            bands = np.concatenate([_mel_bands(chunk) for chunk in self._chunks()], axis=1)
            onsets = onset_strength(S=power_to_db(bands), sr=RATE, hop_length=HOP, aggregate=np.median)
            times = beat_track(onset_envelope=onsets, sr=RATE, hop_length=HOP, units="time")[1]
        return np.asarray(times, np.float64)

    def progress(self, times: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the share of percussive energy that has sounded by each time: 0 at the first time … 1 at the last.

        `times` are in seconds and ascend. If there is no percussive energy between them, the share grows linearly. The
        energy at a moment is that of its loudest mel band after harmonic sounds are removed, as in
        stable-diffusion-videos.
        """
        bounds = (np.arange(len(self._energy) + 1) - 0.5) * HOP / RATE
        grown = np.interp(times, bounds, np.append(0.0, np.cumsum(self._energy)))
        span, even = grown[-1] - grown[0], np.linspace(0.0, 1.0, len(times))
        return (grown - grown[0]) / span if span > 0 else even

    @cached_property
    def _energy(self) -> npt.NDArray[np.float64]:
        """Percussive energy of every HOP samples, [N]."""
        with _alone():
            loudest = [_percussive_mel_bands(chunk).max(axis=0) for chunk in self._chunks()]
        return np.concatenate(loudest).astype(np.float64)

    def _chunks(self) -> Iterator[_Chunk]:
        """Yield the sound's spectra in chunks: all at once would take eight times the memory of the samples."""
        from librosa import stft

        for start in range(0, len(self._samples) // HOP + 1, CHUNK):
            margin = min(start, MARGIN)
            samples = self._samples[(start - margin) * HOP : (start + CHUNK + MARGIN) * HOP]
            missing = max(0, WINDOW - len(samples))
            yield _Chunk(np.abs(stft(np.pad(samples, (0, missing)), n_fft=WINDOW, hop_length=HOP)), margin)


@dataclass(frozen=True, slots=True)
class _Chunk:
    magnitudes: npt.NDArray[np.float32]  # [1 + WINDOW / 2, N], consecutive spectra
    margin: int  # spectra in front of the chunk that only its filters need; up to MARGIN more follow it

    def without_margins(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the columns of values [B, N] that belong to this chunk alone."""
        return values[:, self.margin : self.margin + CHUNK]


def _mel_bands(chunk: _Chunk) -> npt.NDArray[np.float32]:
    """Return the energy of each mel band, [B, N]."""
    from librosa.feature import melspectrogram

    return chunk.without_margins(melspectrogram(S=chunk.magnitudes**2, sr=RATE))


def _percussive_mel_bands(chunk: _Chunk) -> npt.NDArray[np.float32]:
    """Return the energy of each mel band without harmonic sounds, [B, N] (median filtering, Fitzgerald 2010)."""
    from librosa.decompose import hpss
    from librosa.feature import melspectrogram

    percussive = hpss(chunk.magnitudes)[1]
    return chunk.without_margins(melspectrogram(S=percussive**2, sr=RATE))
