"""Beats are librosa's own; the energy is held against the formula of stable-diffusion-videos, on drums made here."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

import render.media.onsets
from render.core.user_cache import cache_lock, user_cache
from render.media.onsets import Track, can_listen

pytestmark = pytest.mark.slow

RATE = 22050
BEAT_S = 0.5


def drums(seconds: float) -> npt.NDArray[np.float64]:
    """Two held notes, and a burst of noise every half second."""
    time = np.arange(int(seconds * RATE)) / RATE
    tones = 0.1 * np.sin(2 * np.pi * 220 * time) + 0.1 * np.sin(2 * np.pi * 330 * time)
    bursts = np.random.default_rng(0).standard_normal(len(time)) * np.exp(-((time + 0.25) % BEAT_S) / 0.02)
    return tones + 0.3 * bursts


@pytest.fixture(scope="module")
def librosa() -> Any:
    """The library, compiled by no other process at the same time."""
    assert can_listen()
    with cache_lock(user_cache("numba") / "librosa"):
        import librosa
        import librosa.beat
        import librosa.decompose
    return librosa


@pytest.fixture
def track(tmp_path: Path) -> Track:
    soundfile.write(tmp_path / "a.flac", drums(12), RATE)
    return Track(tmp_path / "a.flac")


def test_beats_are_those_of_librosa(track: Track, tmp_path: Path, librosa: Any) -> None:
    samples = soundfile.read(tmp_path / "a.flac", dtype="float32")[0]
    assert track.beats.tolist() == librosa.beat.beat_track(y=samples, sr=RATE, units="time")[1].tolist()
    assert len(track.beats) >= 20
    assert np.abs(np.diff(track.beats) - BEAT_S).max() < 0.05
    assert track.duration_s == 12


def test_progress_is_that_of_stable_diffusion_videos(track: Track, tmp_path: Path, librosa: Any) -> None:
    """There the percussive part is made audible again before its bands are summed; the rest is the same."""
    samples = soundfile.read(tmp_path / "a.flac", dtype="float32")[0]
    percussive = librosa.istft(librosa.decompose.hpss(librosa.stft(samples))[1], length=len(samples))
    energy = librosa.feature.melspectrogram(y=percussive, sr=RATE).max(axis=0)
    grown = np.cumsum(energy) / energy.sum()
    times = (np.arange(len(energy)) + 0.5) * 512 / RATE
    got = track.progress(np.concatenate([[0.0], times, [12.0]]))
    assert (got[0], got[-1]) == (0.0, 1.0)
    assert np.abs(got[1:-1] - grown).max() < 0.005


def test_progress_leaps_with_the_drums(track: Track) -> None:
    at = track.progress(np.array([0.5, 0.65, 0.85, 1.2, 1.35, 1.5]))
    assert at[1] < 0.1  # before the first burst, at 0.75 s
    assert abs(at[2] - 0.5) < 0.1
    assert at[3] - at[2] < 0.02
    assert at[4] > 0.95


@pytest.mark.parametrize("chunk", [40, 100])
def test_chunks_do_not_show(track: Track, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    times = np.linspace(0, 12, 200)
    whole, beats = track.progress(times), track.beats
    monkeypatch.setattr(render.media.onsets, "CHUNK", chunk)
    again = Track(tmp_path / "a.flac")
    assert np.abs(again.progress(times) - whole).max() < 1e-6
    assert again.beats.tolist() == beats.tolist()


@pytest.mark.parametrize("seconds", [0.01, 3.0])
def test_silence_goes_on_evenly(tmp_path: Path, seconds: float) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(int(seconds * RATE)), RATE)
    track = Track(tmp_path / "a.wav")
    assert track.progress(np.linspace(0, seconds, 5)).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert len(track.beats) == 0


def test_one_process_listens_at_a_time(track: Track) -> None:
    """Functions that two compile at once may crash."""
    listening = threading.Thread(target=lambda: track.beats)
    with cache_lock(user_cache("numba") / "librosa"):
        listening.start()
        listening.join(0.5)
        assert listening.is_alive()
    listening.join(60)
    assert not listening.is_alive()
    assert len(track.beats) >= 20
