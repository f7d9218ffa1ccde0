"""Rules between the rows of a manifest, and between its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import COLUMNS, LCM_STEPS_MAX, SEED_MAX, column_names, file_name_key
from render.manifest.cells import Cells, CheckedTable
from render.manifest.problems import show
from render.plan import MOTIONS

__all__ = [
    "check_counts",
    "check_held",
    "check_images",
    "check_keyframes",
    "check_motions",
    "check_seeds",
    "check_steps",
    "check_times",
    "check_unused",
    "check_walks",
    "first_rows",
    "takers",
]

IDENTICAL = (
    "walk",
    "model",
    "width",
    "height",
    "audio",
    "audio_sha256",
)  # of walks, in all rows or by rules of their own
SETTINGS = set(column_names("walk")) - set(IDENTICAL)  # of walks: in the first row, later ones repeat it or are empty
PREDICTS_CLEAN = ("ddim", "euler", "euler_a", "heun", "lms")  # schedulers whose steps give `pred_original_sample`


def first_rows(walk: Cells) -> npt.NDArray[np.int64]:
    """Return [N] the position of the first row of each row's walk; a still's is its own."""
    positions = np.arange(len(walk.codes))
    start = ~walk.given
    start[0] = True
    start[1:] |= walk.codes[1:] != walk.codes[:-1]
    first: npt.NDArray[np.int64] = np.maximum.accumulate(np.where(start, positions, 0))
    return first


def check_walks(checked: CheckedTable, walk: Cells, first_row: npt.NDArray[np.int64]) -> None:
    """Refuse walks in pieces, and walks whose names are one file's."""
    codes, firsts = np.unique(walk.codes, return_index=True)
    first = dict(zip(codes.tolist(), firsts.tolist(), strict=True))  # position of each distinct name
    again = walk.given & ~walk.bad & (first_row == np.arange(len(first_row)))
    again[firsts] = False
    checked.refuse(
        "walk",
        np.flatnonzero(again),
        lambda i: (
            f"the keyframes of a walk on consecutive rows (its first is row {checked.raw.rows[first[walk.codes[i]]]})",
            show(walk.values[i]),
        ),
    )
    seen: dict[str, str] = {}
    twins = {}  # by position, the name that came first
    for position in sorted(first.values()):
        name = walk.values[position]
        if name is not None and seen.setdefault(file_name_key(name), name) != name:
            twins[position] = seen[file_name_key(name)]
    checked.refuse(
        "walk",
        np.array(sorted(twins), np.int64),
        lambda i: (
            f"a name that differs from {show(twins[i])} by more than case or Unicode form",
            show(walk.values[i]),
        ),
    )


def check_held(checked: CheckedTable, name: str, walk: Cells, first_row: npt.NDArray[np.int64], cells: Cells) -> None:
    """Refuse a model, width or height that changes within a walk."""
    held = cells.values
    checked.refuse(
        name,
        np.flatnonzero((held != held[first_row]) & ~cells.bad & ~cells.bad[first_row]),
        lambda i: (f"{held[first_row[i]]}, as the first keyframe of {show(walk.values[i])} has", str(held[i])),
    )


def check_counts(checked: CheckedTable, still: npt.NDArray[np.bool_], cells: dict[str, Cells]) -> None:
    """Refuse a count where it has no meaning."""
    images, frames = cells["images"], cells["frames"]
    odd = ~still & images.given & ~images.bad & (images.values != 1)
    _refuse(checked, "images", odd, "1 or an empty cell in a walk", images)
    odd = still & frames.given & ~frames.bad & (frames.values != 1)
    _refuse(checked, "frames", odd, "1 or an empty cell on a row without a walk", frames)


def check_steps(checked: CheckedTable, steps: Cells, scheduler: Cells) -> None:
    """Refuse more steps than lcm can take."""
    many = (scheduler.values == "lcm") & (steps.values > LCM_STEPS_MAX) & ~steps.bad & ~scheduler.bad
    checked.refuse(
        "steps",
        np.flatnonzero(many),
        lambda i: (
            f"at most {LCM_STEPS_MAX} with scheduler lcm",
            f"{steps.values[i]}{'' if steps.given[i] else ', the default'}",
        ),
    )


def check_motions(
    checked: CheckedTable, first_row: npt.NDArray[np.int64], still: npt.NDArray[np.bool_], cells: dict[str, Cells]
) -> None:
    """Refuse motions without the keyframes they need, and settings of a motion where they have no meaning."""
    motion = cells["motion"].values[first_row]
    is_first = first_row == np.arange(len(first_row))
    for column in (column for column in COLUMNS if column.name in cells):
        own, motions = cells[column.name], takers(column.name)
        if column.name in SETTINGS:
            odd = own.given & ~own.bad & (own.values != own.values[first_row])
            _refuse(checked, column.name, odd, "the value of its walk's first row, or an empty cell", own)
        if motions:
            used = is_first & (own.values != column.default) if column.of == "walk" else own.given & ~own.bad & ~still
            required = f"an empty cell: only motion {' or '.join(motions)} uses this column"
            _refuse(checked, column.name, ~np.isin(motion, motions) & used, required, own)
    _refuse(
        checked, "motion", still & (motion != "line"), "line or an empty cell on a row without a walk", cells["motion"]
    )
    sizes = np.bincount(first_row, minlength=len(first_row))
    for one in MOTIONS.values():
        named = is_first & ~still & (motion == one.name)
        if wanted := one.keyframes:
            required = f"{wanted} keyframe{'s' if wanted > 1 else ''} for motion {one.name}"
            _refuse(checked, "motion", named & (sizes != wanted), required, sizes)
        if one.frames_range:
            low, high = one.frames_range
            odd = named & ((cells["frames"].values < low) | (cells["frames"].values > high))
            _refuse(checked, "frames", odd, f"{low} … {high} in a walk of motion {one.name}", cells["frames"])
    _refuse_lone_keyframes(checked, is_first & ~still & (motion == "line") & (sizes == 1), cells)
    cycle = is_first & (cells["loop"].values == "cycle") & (sizes < 2)
    _refuse(checked, "loop", cycle & np.isin(motion, takers("loop")), "2 keyframes or more for a cycle", sizes)
    strength = cells["strength"]
    moved = (strength.values != strength.values[first_row]) & (cells["anchor"].values[first_row] > 0)
    _refuse(checked, "strength", moved & ~strength.bad, "the value that its anchored walk begins with", strength)
    hidden = (cells["shown"].values == "clean") & ~np.isin(cells["scheduler"].values, PREDICTS_CLEAN)
    required = f"one that predicts the clean image, {', '.join(PREDICTS_CLEAN)}"
    odd = is_first & hidden & np.isin(motion, takers("shown"))
    _refuse(checked, "scheduler", odd, required, cells["scheduler"])


def _refuse_lone_keyframes(checked: CheckedTable, alone: npt.NDArray[np.bool_], cells: dict[str, Cells]) -> None:
    """Refuse frames of a line that has one keyframe: it would be one frame, without a word."""
    odd = alone & ~cells["motion"].bad & (cells["loop"].values == "none")
    odd = odd & cells["frames"].given & (cells["frames"].values > 1)
    required = "two keyframes for a line of several frames (one alone can drift, circle or denoise: see column motion)"
    _refuse(checked, "frames", odd, required, cells["frames"])


def takers(column: str) -> list[str]:
    """Return the names of the motions that alone use a column; none for a column that all use."""
    return [motion.name for motion in MOTIONS.values() if column in motion.takes]


def check_unused(
    checked: CheckedTable,
    first_row: npt.NDArray[np.int64],
    still: npt.NDArray[np.bool_],
    cells: Mapping[str, Cells],
    images: Any,
) -> None:
    """Refuse what a row says that would change nothing. `images` are [N]."""
    motion = cells["motion"].values[first_row]
    later = first_row != np.arange(len(first_row))
    bare = pc.equal(images, "").to_numpy(zero_copy_only=False)

    def refuse(name: str, odd: npt.NDArray[np.bool_], required: str) -> None:
        column = cells[name]
        _refuse(checked, name, odd & column.given & ~column.bad, required, column)

    refuse("strength", bare, "an empty cell on a row without an image")
    for name in ("anchor", "tween"):
        refuse(name, still & (cells[name].values != 0), "an empty cell on a row without a walk")
    for one in MOTIONS.values():
        here = motion == one.name
        for name in one.ignores:
            refuse(name, here, f"an empty cell in a walk of motion {one.name}")
        for name in one.first_row_only:
            refuse(name, later & here, f"an empty cell after the first row of a {one.name}")
        for name in one.fixed:
            other = cells[name].values != cells[name].values[first_row]
            refuse(name, later & here & other, f"the value that its {one.name} begins with, or an empty cell")


def check_keyframes(
    checked: CheckedTable, first_row: npt.NDArray[np.int64], motion: Cells, columns: Mapping[str, Any]
) -> None:
    """Refuse keyframes that differ, or are alike, where their motion asks for the contrary. The columns are [N]."""
    later = first_row != np.arange(len(first_row))
    for one in MOTIONS.values():
        own = np.flatnonzero(later & (motion.values[first_row] == one.name))
        firsts = first_row[own]
        for name in one.equal if len(own) else ():
            if name == "image":
                continue  # check_images compares them
            values, expected = (columns[name].take(pa.array(rows)).to_pylist() for rows in (own, firsts))
            got = {
                row: value for row, value, first in zip(own.tolist(), values, expected, strict=True) if value != first
            }
            required = f"the {name} that its {one.name} begins with"
            checked.refuse(name, np.array(list(got), np.int64), lambda i: (required, show(got[int(i)])))  # noqa: B023
        for name in one.distinct:
            numbers, required = columns[name], f"another {name} than its {one.name} begins with"
            alike = own[numbers[own] == numbers[firsts]]
            checked.refuse(name, alike, lambda i: (required, str(numbers[i])))  # noqa: B023


def check_images(checked: CheckedTable, first_row: npt.NDArray[np.int64], motion: Cells, images: Any) -> None:
    """Refuse walks some of whose keyframes start from an image and some not, or that need one. `images` are [N]."""
    given = pc.not_equal(images, "").to_numpy(zero_copy_only=False)
    checked.refuse(
        "image",
        np.flatnonzero(given != given[first_row]),
        lambda i: (f"{'an' if given[first_row[i]] else 'no'} image, as its walk begins with", show(images[i].as_py())),
    )
    other = pc.not_equal(images, images.take(pa.array(first_row))).to_numpy(zero_copy_only=False)
    for one in MOTIONS.values():
        here = motion.values[first_row] == one.name
        differing = np.flatnonzero(here & given & given[first_row] & other & ("image" in one.equal))
        required = f"the image that its {one.name} begins with"
        checked.refuse("image", differing, lambda i: (required, show(images[i].as_py())))  # noqa: B023
        bare = np.flatnonzero(here & ~given & one.needs_image)
        needed = f"a start image for motion {one.name}"
        checked.refuse("image", bare, lambda i: (needed, show("")), bare * 0)  # noqa: ARG005, B023


def check_times(
    checked: CheckedTable,
    first_row: npt.NDArray[np.int64],
    still: npt.NDArray[np.bool_],
    cells: Mapping[str, Cells],
    audio: npt.NDArray[Any],
) -> None:
    """Refuse times, sounds and onsets where they have no meaning. `audio` are paths, [N], "" without a sound."""
    silent, line = audio[first_row] == "", ~still & np.isin(cells["motion"].values[first_row], takers("time_s"))
    timed = cells["time_s"].given | cells["beat"].given
    paced = line & (cells["easing"].values == "onsets")
    is_first = first_row == np.arange(len(first_row))
    has_onsets, has_times = np.zeros((2, len(first_row)), np.bool_)
    has_onsets[first_row[paced]] = True
    has_times[first_row[paced | timed]] = True
    both = cells["beat"].given & cells["time_s"].given
    for name in ("time_s", "beat"):
        _refuse(checked, name, cells[name].given & still, "an empty cell on a row without a walk", cells[name])
    _refuse(checked, "beat", both, "an empty cell beside a time_s", cells["beat"])
    _refuse(
        checked, "beat", cells["beat"].given & line & silent, "an empty cell in a walk without audio", cells["beat"]
    )
    _refuse(checked, "easing", paced & silent, "another one in a walk without audio", cells["easing"])
    _refuse(checked, "fps", cells["fps"].given & still, "an empty cell on a row without a walk", cells["fps"])
    smooth, tween = cells["audio_smooth"], cells["tween"]
    odd = is_first & ~has_onsets & smooth.given
    _refuse(checked, "audio_smooth", odd, "an empty cell: only easing onsets uses this column", smooth)
    odd = is_first & has_times & (tween.values > 0)
    _refuse(checked, "tween", odd, "0 in a walk with times or of easing onsets", tween)
    _refuse(checked, "audio", still & (audio != ""), "an empty cell on a row without a walk", audio)
    _refuse(
        checked,
        "audio",
        ~still & (audio != "") & (audio != audio[first_row]),
        "the value of its walk's first row",
        audio,
    )


def check_seeds(
    checked: CheckedTable, seeds: npt.NDArray[np.uint64], more: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_]
) -> None:
    """Refuse seeds that leave no room for `more` that follow them."""
    most = np.uint64(SEED_MAX) - more.astype(np.uint64)
    checked.refuse(
        "seed",
        np.flatnonzero(~bad & (seeds > most)),
        lambda i: (f"at most {most[i]}, for {more[i] + 1} images with seeds up to {SEED_MAX}", str(seeds[i])),
    )


def _refuse(
    checked: CheckedTable, name: str, odd: npt.NDArray[np.bool_], required: str, column: Cells | npt.NDArray[Any]
) -> None:
    """Add an error for every odd row, which shows the column's value there."""
    values = column.values if isinstance(column, Cells) else column
    positions = np.flatnonzero(odd)
    checked.refuse(name, positions, lambda i: (required, str(values[i])), values[positions])
