"""What the rows of a manifest must be to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import LCM_STEPS_MAX, OF_WALK, SEED_MAX, file_name_key
from render.manifest.cells import Cells, Sheet
from render.manifest.problems import show

__all__ = [
    "check_circles",
    "check_counts",
    "check_held",
    "check_idle",
    "check_images",
    "check_motions",
    "check_seeds",
    "check_steps",
    "check_times",
    "check_walks",
    "first_keyframes",
]

ONLY: dict[str, tuple[tuple[str, ...], Any]] = {  # the motions that have a use for a column, what others leave it at
    "loop": (("line",), "none"),
    "anchor": (("line",), 0.0),
    "tween": (("line",), 0),
    "step_size": (("drift",), 0.005),
    "direction": (("drift",), "ones"),
    "vary_noise": (("grid",), False),
    "every": (("denoise", "diffuse"), 1),
    "shown": (("denoise",), "latents"),
}
FIRST_ONLY = {  # columns of which the first row's hold for all, in these motions
    **dict.fromkeys(("steps", "scheduler", "interpolation"), ("grid", "circle")),
    **dict.fromkeys(("guidance", "true_guidance", "strength"), ("circle",)),
}
FORETELLING = ("ddim", "euler", "euler_a", "heun", "lms")  # schedulers whose steps tell it
SIDE_MAX = 1000  # of a grid
KEYFRAMES = {"grid": 4, "drift": 1, "circle": 2, "denoise": 1, "diffuse": 1}  # of motions that have a fixed number


def first_keyframes(walk: Cells) -> npt.NDArray[np.int64]:
    """[N] the position of the first keyframe of each row's walk; a still's is its own."""
    positions = np.arange(len(walk.codes))
    start = ~walk.given
    start[0] = True
    start[1:] |= walk.codes[1:] != walk.codes[:-1]
    first: npt.NDArray[np.int64] = np.maximum.accumulate(np.where(start, positions, 0))
    return first


def check_walks(sheet: Sheet, walk: Cells, begin: npt.NDArray[np.int64]) -> None:
    """Refuses walks in pieces, and walks whose names are one file's."""
    codes, firsts = np.unique(walk.codes, return_index=True)
    first = dict(zip(codes.tolist(), firsts.tolist(), strict=True))  # position of each distinct name
    again = walk.given & ~walk.bad & (begin == np.arange(len(begin)))
    again[firsts] = False
    sheet.refuse(
        "walk",
        np.flatnonzero(again),
        lambda i: (
            f"the keyframes of a walk on consecutive rows (its first is row {sheet.raw.rows[first[walk.codes[i]]]})",
            show(walk.values[i]),
        ),
    )
    seen: dict[str, str] = {}
    twins = {}  # by position, the name that came first
    for position in sorted(first.values()):
        name = walk.values[position]
        if name is not None and seen.setdefault(file_name_key(name), name) != name:
            twins[position] = seen[file_name_key(name)]
    sheet.refuse(
        "walk",
        np.array(sorted(twins), np.int64),
        lambda i: (
            f"a name that differs from {show(twins[i])} by more than case or Unicode form",
            show(walk.values[i]),
        ),
    )


def check_held(sheet: Sheet, name: str, walk: Cells, begin: npt.NDArray[np.int64], cells: Cells) -> None:
    """Refuses a model, width or height that changes within a walk."""
    held = cells.values
    sheet.refuse(
        name,
        np.flatnonzero((held != held[begin]) & ~cells.bad & ~cells.bad[begin]),
        lambda i: (f"{held[begin[i]]}, as the first keyframe of {show(walk.values[i])} has", str(held[i])),
    )


def check_counts(sheet: Sheet, still: npt.NDArray[np.bool_], cells: dict[str, Cells]) -> None:
    """Refuses a count where it has no meaning."""
    images, frames = cells["images"], cells["frames"]
    odd = ~still & images.given & ~images.bad & (images.values != 1)
    _refuse(sheet, "images", odd, "1 or nothing in a walk", images)
    odd = still & frames.given & ~frames.bad & (frames.values != 1)
    _refuse(sheet, "frames", odd, "1 or nothing on a row without a walk", frames)


def check_steps(sheet: Sheet, steps: Cells, scheduler: Cells) -> None:
    """Refuses more steps than lcm can take."""
    many = (scheduler.values == "lcm") & (steps.values > LCM_STEPS_MAX) & ~steps.bad & ~scheduler.bad
    sheet.refuse(
        "steps",
        np.flatnonzero(many),
        lambda i: (
            f"at most {LCM_STEPS_MAX} with scheduler lcm",
            f"{steps.values[i]}{'' if steps.given[i] else ', the default'}",
        ),
    )


def check_motions(
    sheet: Sheet, begin: npt.NDArray[np.int64], still: npt.NDArray[np.bool_], cells: dict[str, Cells]
) -> None:
    """Refuses motions without the keyframes they need, and settings of a motion where they have no meaning."""
    motion = cells["motion"].values[begin]
    first = begin == np.arange(len(begin))
    for name in OF_WALK:
        column = cells[name]
        odd = column.given & ~column.bad & (column.values != column.values[begin])
        _refuse(sheet, name, odd, "what its walk begins with", column)
    for name, (only, usual) in ONLY.items():
        odd = first & ~np.isin(motion, only) & (cells[name].values != usual)
        _refuse(sheet, name, odd, f"nothing, but in a walk of motion {' or '.join(only)}", cells[name])
    _refuse(sheet, "motion", still & (motion != "line"), "line or nothing on a row without a walk", cells["motion"])
    sizes = np.bincount(begin, minlength=len(begin))
    counts = Cells(sizes, sizes.astype(np.int32), still)
    for name, wanted in KEYFRAMES.items():
        odd = first & ~still & (motion == name) & (sizes != wanted)
        _refuse(sheet, "motion", odd, f"{wanted} keyframe{'s' if wanted > 1 else ''} for motion {name}", counts)
    cycle = cells["loop"].values == "cycle"
    _refuse(sheet, "loop", first & (motion == "line") & cycle & (sizes < 2), "2 keyframes or more for a cycle", counts)
    strength = cells["strength"]
    moved = (strength.values != strength.values[begin]) & (cells["anchor"].values[begin] > 0)
    _refuse(sheet, "strength", moved & ~strength.bad, "what its anchored walk begins with", strength)
    hidden = (cells["shown"].values == "clean") & ~np.isin(cells["scheduler"].values, FORETELLING)
    required = f"one that foretells the clean image, {', '.join(FORETELLING)}"
    _refuse(sheet, "scheduler", first & (motion == "denoise") & hidden, required, cells["scheduler"])
    sides = cells["frames"].values
    odd = first & (motion == "grid") & ((sides < 2) | (sides > SIDE_MAX))
    _refuse(sheet, "frames", odd, f"2 … {SIDE_MAX} a side of a grid", cells["frames"])


def check_idle(
    sheet: Sheet,
    begin: npt.NDArray[np.int64],
    still: npt.NDArray[np.bool_],
    cells: Mapping[str, Cells],
    images: Any,
) -> None:
    """Refuses what a row says that would change nothing. `images` are [N]; a frozen manifest says everything."""
    if sheet.raw.frozen:
        return
    motion = cells["motion"].values[begin]
    later = begin != np.arange(len(begin))
    bare = pc.equal(images, "").to_numpy(zero_copy_only=False)

    def refuse(name: str, odd: npt.NDArray[np.bool_], required: str) -> None:
        column = cells[name]
        _refuse(sheet, name, odd & column.given & ~column.bad, required, column)

    refuse("frames", np.isin(motion, ("denoise", "diffuse")), "nothing in a motion whose steps are its frames")
    refuse("frames", later & np.isin(motion, ("grid", "circle")), "nothing but in the first row of a grid or circle")
    refuse("easing", motion != "line", "nothing, but in a walk of motion line")
    refuse("strength", bare, "nothing on a row without an image")
    refuse("strength", motion == "diffuse", "nothing in a walk of motion diffuse")
    for name in ("anchor", "tween"):
        refuse(name, still & (cells[name].values != 0), "nothing on a row without a walk")
    for name, motions in FIRST_ONLY.items():
        other = cells[name].values != cells[name].values[begin]
        refuse(name, later & np.isin(motion, motions) & other, "what its grid or circle begins with")


def check_circles(sheet: Sheet, begin: npt.NDArray[np.int64], motion: Cells, columns: Mapping[str, Any]) -> None:
    """Refuses circles of two prompts or of one seed. The columns are [N], with their defaults."""
    second = (motion.values[begin] == "circle") & (begin != np.arange(len(begin)))
    for position in np.flatnonzero(second).tolist():
        row, start = int(sheet.raw.rows[position]), int(begin[position])
        for name in ("prompt", "negative_prompt"):
            own = columns[name][position].as_py()
            if own != columns[name][start].as_py():
                sheet.problems.add(f"the {name} that its circle begins with", show(own), row=row, column=name)
        seed = columns["seed"][position]
        if seed == columns["seed"][start]:
            sheet.problems.add("another seed than its circle begins with", str(seed), row=row, column="seed")


def check_images(sheet: Sheet, begin: npt.NDArray[np.int64], motion: Cells, images: Any) -> None:
    """Refuses walks some of whose keyframes start from an image and some not. `images` are [N]."""
    given = pc.not_equal(images, "").to_numpy(zero_copy_only=False)
    sheet.refuse(
        "image",
        np.flatnonzero(given != given[begin]),
        lambda i: (f"{'an' if given[begin[i]] else 'no'} image, as its walk begins with", show(images[i].as_py())),
    )
    other = pc.not_equal(images, images.take(pa.array(begin))).to_numpy(zero_copy_only=False)
    sheet.refuse(
        "image",
        np.flatnonzero(given & given[begin] & other & (motion.values[begin] == "circle")),
        lambda i: ("the image that its circle begins with", show(images[i].as_py())),
    )
    bare = np.flatnonzero((motion.values[begin] == "diffuse") & ~given)
    sheet.refuse("image", bare, lambda i: ("a start image for motion diffuse", show("")), bare * 0)  # noqa: ARG005


def check_times(
    sheet: Sheet,
    begin: npt.NDArray[np.int64],
    still: npt.NDArray[np.bool_],
    cells: Mapping[str, Cells],
    audio: npt.NDArray[Any],
) -> None:
    """Refuses times, sounds and onsets where they have no meaning. `audio` are paths, [N], "" where there is none."""
    silent, line = audio[begin] == "", ~still & (cells["motion"].values[begin] == "line")
    timed = cells["time_s"].given | cells["beat"].given
    paced = line & (cells["easing"].values == "onsets")
    first, hasty, moved = begin == np.arange(len(begin)), np.zeros(len(begin), np.bool_), np.zeros(len(begin), np.bool_)
    hasty[begin[paced]] = True
    moved[begin[paced | timed]] = True
    beside = cells["beat"].given & cells["time_s"].given
    for name in ("time_s", "beat"):
        _refuse(sheet, name, cells[name].given & ~line, "nothing, but in a walk of motion line", cells[name])
    _refuse(sheet, "beat", beside, "nothing beside a time_s", cells["beat"])
    _refuse(sheet, "beat", cells["beat"].given & line & silent, "nothing in a walk without audio", cells["beat"])
    _refuse(sheet, "easing", paced & silent, "another one in a walk without audio", cells["easing"])
    _refuse(sheet, "fps", cells["fps"].given & still, "nothing on a row without a walk", cells["fps"])
    smooth, tween = cells["audio_smooth"], cells["tween"]
    odd = first & ~hasty & smooth.given
    _refuse(sheet, "audio_smooth", odd, "nothing, but in a walk of easing onsets", smooth)
    odd = first & moved & (tween.values > 0)
    _refuse(sheet, "tween", odd, "0 in a walk with times or of easing onsets", tween)
    paths = replace(cells["motion"], values=audio)
    _refuse(sheet, "audio", still & (audio != ""), "nothing on a row without a walk", paths)
    _refuse(sheet, "audio", ~still & (audio != "") & (audio != audio[begin]), "what its walk begins with", paths)


def check_seeds(
    sheet: Sheet, seeds: npt.NDArray[np.int64], more: npt.NDArray[np.int64], bad: npt.NDArray[np.bool_]
) -> None:
    """Refuses seeds that leave no room for `more` that follow them."""
    sheet.refuse(
        "seed",
        np.flatnonzero(~bad & (seeds > SEED_MAX - more)),
        lambda i: (
            f"at most {SEED_MAX - more[i]}, for {more[i] + 1} images with seeds up to {SEED_MAX}",
            str(seeds[i]),
        ),
    )


def _refuse(sheet: Sheet, name: str, odd: npt.NDArray[np.bool_], required: str, column: Cells) -> None:
    """An error for every odd row, which got what the column has there."""
    positions = np.flatnonzero(odd)
    sheet.refuse(name, positions, lambda i: (required, str(column.values[i])), column.values[positions])
