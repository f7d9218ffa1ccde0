"""Keyframes in time and in their walk's sound: seconds and beats become frames, onsets become a pace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from render.core import SOUND_BYTES, local_file, media_path
from render.manifest.cells import Cells, CheckedTable
from render.manifest.checks import check_times, takers
from render.manifest.files import SOUNDS, read_files
from render.manifest.rules import Defaults
from render.media import Track, can_listen

__all__ = ["read_times"]

PACE_DIGITS = 6  # of a frame's place in its leg; machines differ below
TIME_COLUMNS = ("time_s", "beat", "frames", "fps", "easing", "loop", "audio_smooth")  # columns that times are made of
FRAMES_MAX = 1_000_000  # of a leg
LIBROSA = "librosa, which comes with nightrender[audio]"


def read_times(
    checked: CheckedTable,
    first_row: npt.NDArray[np.int64],
    still: npt.NDArray[np.bool_],
    cells: Mapping[str, Cells],
    defaults: Defaults,
) -> dict[str, Any]:
    """Return the columns audio, audio_sha256, fps, time_s, frames and onset_pace, [N]; refuse what can't be.

    `fps` is 0 for the job's, `onset_pace` null but for legs of easing onsets.
    """
    before = checked.problems.total
    audio, hashes = read_files(checked, SOUNDS, defaults)
    columns = {name: cells[name].values.copy() for name in ("time_s", "frames")}
    columns["fps"] = cells["fps"].values[first_row]
    paths = np.array(audio.to_pylist(), object)
    check_times(checked, first_row, still, cells, paths)
    line = ~still & np.isin(cells["motion"].values[first_row], takers("time_s"))
    given = cells["time_s"].given | cells["beat"].given
    timed = line & given
    paced = line & (cells["easing"].values == "onsets")
    if (paced | (line & cells["beat"].given)).any() and not can_listen():
        checked.problems.add(LIBROSA, "none", column="easing" if paced.any() else "beat")
    pace: list[list[float] | None] = [None] * len(first_row)
    if checked.problems.total == before:
        bad = np.logical_or.reduce([given & ~line, *(cells[name].bad for name in TIME_COLUMNS)])
        files = dict(zip(paths, hashes.to_pylist(), strict=True))
        tracks = {
            path: Track(local_file(media_path(defaults.media, path), SOUND_BYTES, sha256))
            for path, sha256 in files.items()
            if path
        }
        bounds = np.append(np.flatnonzero(first_row == np.arange(len(first_row))), len(first_row))
        for first in np.setdiff1d(first_row[timed | paced | (paths != "")], first_row[bad]).tolist():
            end = int(bounds[np.searchsorted(bounds, first) + 1])
            fps = float(cells["fps"].values[first] or defaults.fps)
            _TimedWalk(checked, cells, columns, range(first, end), fps, tracks.get(paths[first])).write(pace)
    own = pa.array(first_row)
    held = {"audio": pa.array(paths, pa.large_string()).take(own), "audio_sha256": hashes.take(own)}
    return {**held, **columns, "onset_pace": pa.array(pace, pa.list_(pa.float64()))}


@dataclass(frozen=True, slots=True)
class _TimedWalk:
    """One walk with times, a sound or onsets: its rows in the manifest and its track."""

    checked: CheckedTable
    cells: Mapping[str, Cells]
    columns: dict[str, Any]
    rows: range
    fps: float
    track: Track | None

    def write(self, pace: list[list[float] | None]) -> None:
        """Fill in the columns at these rows. Keyframes stand on the film's grid of frames, which begins at the first."""
        before = self.checked.problems.total
        asked = [self._given_time_s(row) for row in self.rows]
        origin, start, frames = asked[0] or 0.0, 0, self.columns["frames"]
        self.columns["fps"][self.rows] = self.fps
        for row, time_s in zip(self.rows, asked, strict=True):
            if row > self.rows[0]:
                if time_s is not None:
                    frames[row - 1] = self._frames_until(row, round((time_s - origin) * self.fps) - start)
                start += frames[row - 1]
            self.columns["time_s"][row] = origin + start / self.fps
        if self.checked.problems.total == before:
            for row in self._legs():
                pace[row] = self._pace(row)

    def _given_time_s(self, row: int) -> float | None:
        """Return the second that a keyframe is given, None for one that follows by frames."""
        if self.cells["beat"].given[row]:
            assert self.track is not None
            beats, beat = self.track.beats, self.cells["beat"].values[row]
            if beat <= len(beats) - 1:
                return float(np.interp(beat, np.arange(len(beats)), beats))
            self._refuse("beat", row, f"at most {len(beats) - 1}, the last one that is heard", f"{beat:g}")
        elif self.cells["time_s"].given[row]:
            time_s = float(self.cells["time_s"].values[row])
            if self.track is None or time_s <= self.track.duration_s:
                return time_s
            self._refuse("time_s", row, f"at most {self.track.duration_s:g}, the end of its sound", f"{time_s:g}")
        return None

    def _frames_until(self, row: int, frames: int) -> int:
        """Return the frames of the keyframe before one that is given a time; refuse what can't be."""
        name = "beat" if self.cells["beat"].given[row] else "time_s"
        if not 1 <= frames <= FRAMES_MAX:
            required = f"1 … {FRAMES_MAX} frames of 1/{self.fps:g} s after the keyframe before"
            self._refuse(name, row, required, f"{self.cells[name].values[row]:g}, {frames} frames after it")
            frames = (
                1  # under a sweep an equal error counts once: this walk may still be paced, so its count must be valid
            )
        if self.cells["frames"].given[row - 1]:
            self._refuse("frames", row - 1, f"nothing, for the next keyframe has a {name}", "a number")
        return frames

    def _legs(self) -> list[int]:
        """Return the rows of keyframes at which a leg of easing onsets begins."""
        cycle = self.cells["loop"].values[self.rows[0]] == "cycle"
        starts = self.rows if cycle else self.rows[:-1]
        return [row for row in starts if self.cells["easing"].values[row] == "onsets"]

    def _pace(self, row: int) -> list[float]:
        """Return the places of a leg's frames between its keyframe (0) and the next (1), as the sound's energy adds up."""
        assert self.track is not None
        count, smooth = int(self.columns["frames"][row]), self.cells["audio_smooth"].values[self.rows[0]]
        steps = np.arange(count + 1)
        grown = self.track.progress(self.columns["time_s"][row] + steps / self.fps)
        paced: list[float] = (grown * (1 - smooth) + steps / count * smooth).round(PACE_DIGITS).tolist()
        return paced[:-1]

    def _refuse(self, name: str, row: int, required: str, got: str) -> None:
        self.checked.problems.add(required, got, row=int(self.checked.raw.rows[row]), column=name)
