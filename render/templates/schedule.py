"""Keyframes in JSON, as of Deforum, AnimateDiff and prompt travel → the rows of a walk.

`{"0": "a cat --neg dull", "30": "a dog"}`: a frame and its prompt, with a negative prompt behind `--neg`. The walk has
the frames from the first keyframe to the last, both included.
"""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from render.manifest import Problems, RawTable, show
from render.templates.flags import has_flags
from render.templates.lines import read_lines

__all__ = ["EXAMPLE", "is_schedule", "nearly_schedule", "read_schedule"]

EXAMPLE = '{"0": "a cat", "30": "a dog --neg dull"}'
FRAME = re.compile(r"[0-9]{1,9}")
NEGATIVE = re.compile(r"\s*--neg(?:ative)?(?:_prompt)?(?:\s+|=|$)")
HOLDERS = ("prompts", "prompt_map", "animation_prompts", "n_prompt_map")  # keys of settings that hold keyframes
Pairs = list[tuple[str, Any]]


def is_schedule(text: str) -> bool:
    """Tell keyframes in JSON from a list of prompts: an object all of whose keys are frames."""
    try:
        found = _parse(text)
    except ValueError:
        return False
    return isinstance(found, _Object) and bool(found.pairs) and all(FRAME.fullmatch(key) for key, _ in found.pairs)


def nearly_schedule(entries: list[str]) -> bool:
    """Tell lines that all begin with a frame, from 0 on, such as `30: a dog`: keyframes, but no JSON."""
    frames = [re.match(r"\s*[{]?\s*[\"']?([0-9]{1,9})[\"']?\s*:\s*\S", entry) for entry in entries]
    return len(entries) > 1 and all(frames) and frames[0] is not None and int(frames[0][1]) == 0


def read_schedule(path: Path, problems: Problems) -> RawTable:
    """Return a walk with the name of the file: columns walk, prompt, negative_prompt, frames. Adds what is wrong."""
    try:
        found = _parse("\n".join(read_lines(path)))
    except (OSError, ValueError, RecursionError) as error:
        hint = " (a comma too many, or a frame without double quotes?)" if "property name" in str(error) else ""
        problems.fatal(f"keyframes in JSON, such as {EXAMPLE}", f"{error}{hint}")
    if not isinstance(found, _Object):
        problems.fatal(f"keyframes in JSON, such as {EXAMPLE}", _what_else(found))
    for key, value in found.pairs:
        if key in HOLDERS and isinstance(value, _Object):
            required = (
                f"keyframes alone: copy what {key!r} holds into a file of its own, the rest into columns or a job"
            )
            problems.fatal(required, f"settings with the keys {show([key for key, _ in found.pairs])}")
    frames, prompts, negatives = _keyframes(found.pairs, problems)
    problems.raise_any()
    order = np.argsort(frames)
    legs = [*(str(b - a) for a, b in pairwise(sorted(frames))), ""]
    columns = {
        "walk": [path.name.removesuffix(path.suffix)] * len(order),
        "prompt": [prompts[number] for number in order],
        "negative_prompt": [negatives[number] for number in order],
        "frames": legs,
    }
    chunked = {name: pa.chunked_array([pa.array(cells, pa.large_string())]) for name, cells in columns.items()}
    return RawTable(chunked, np.arange(1, len(order) + 1), csv=True)


class _Object:
    """A JSON object with all its keys, those that are there twice included."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = pairs


def _parse(text: str) -> Any:
    """Parse JSON; braces around the pairs may be missing, as in ComfyUI's fields. Raises ValueError."""
    text = text.strip()
    if text.startswith('"'):
        text = "{" + text.removesuffix(",") + "}"
    return json.loads(text, object_pairs_hook=_Object)


def _what_else(found: Any) -> str:
    if isinstance(found, list) and found and isinstance(found[0], _Object):
        keys = {key for key, _ in found[0].pairs}
        hint = (
            "styles? Give them as --styles" if "name" in keys else "prompts? One object a line, as .jsonl, is a table"
        )
        return f"a list of objects ({hint})"
    return f"no JSON object: {show(found)}"


def _keyframes(pairs: Pairs, problems: Problems) -> tuple[list[int], list[str], list[str]]:
    """Return frames, prompts and negative prompts in the file's order; what is wrong is added as of rows from 1."""
    frames: list[int] = []
    prompts: list[str] = []
    negatives: list[str] = []
    for row, (key, value) in enumerate(pairs, start=1):
        if not FRAME.fullmatch(key.strip()):
            problems.add("a frame, 0 or more, in front of each prompt", f"{show(key)} (formulas are not read)", row=row)
            continue
        if int(key) in frames:
            problems.add("every frame once", f"{show(key)} again", row=row)
        if not isinstance(value, str):
            problems.add(f"a text at frame {key}", show(value if not isinstance(value, _Object) else {}), row=row)
            continue
        prompt, *others = NEGATIVE.split(value)
        negative = "".join(others).strip()
        if not prompt.strip():
            problems.add(f"a prompt at frame {key}", show(value), row=row)
        if len(others) > 1 or has_flags(prompt) or has_flags(negative):
            problems.add(f"no flag but one --neg at frame {key}", show(value), row=row)
        if re.search(r"[{}]|`", value):
            problems.add(f"a prompt without braces and formulas at frame {key}", show(value), row=row)
        frames.append(int(key))
        prompts.append(prompt.strip())
        negatives.append(negative)
    if len(pairs) < 2:
        problems.add("two keyframes or more", str(len(pairs)))
    elif frames and min(frames) > 0:
        problems.add("a keyframe at frame 0", f"the first one at {min(frames)}")
    return frames, prompts, negatives
