"""Lines of prompts with flags, as other programs read them from files → columns of a manifest.

A line that begins with a flag is read as by AUTOMATIC1111's script "Prompts from file or textbox", in shell quotes:
`--prompt "a cat" --negative_prompt "dull, grey" --steps 20 --seed 1`. In a line that begins with its prompt all text up to
the next flag is a value, as in sd-scripts' sample prompts: `a cat's face --n dull, grey --s 20 --d 1`.
"""

from __future__ import annotations

import difflib
import math
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from render.manifest import show
from render.templates.grammar import TemplateError

__all__ = ["has_flags", "read_flags"]

FLAG = re.compile(r"(?:^|\s)--(?=[A-Za-z])")
ONE_DASH = re.compile(r"\s-[sSWHCbn] ?[0-9]")  # of older programs: a cat -s 50 -W 512
MODEL = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")  # names that a job can give
SHORT = frozenset("nwhdls")  # of sd-scripts; other programs have an --s of another meaning


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: what is required, and the cell that it becomes; None for a value that is none."""

    required: str
    cell: Callable[[str], str | None]


def _integer(text: str) -> str | None:
    return text if re.fullmatch(r"[+-]?[0-9]{1,40}", text) else None


def _number(text: str) -> str | None:
    try:
        return text if math.isfinite(float(text)) else None
    except ValueError:
        return None


def _only(*values: str) -> Callable[[str], str | None]:
    return lambda text: "" if text.casefold() in values else None


TEXT = Kind("a text", lambda text: text)
NAME = Kind("a text", lambda text: text or None)
COUNT = Kind("an integer of at least 1", lambda text: text if re.fullmatch(r"0*[1-9][0-9]{0,9}", text) else None)
INTEGER, NUMBER = Kind("an integer", _integer), Kind("a number", _number)
SEED = Kind("an integer", lambda text: "" if text == "-1" else _integer(text))  # -1: any, as for an empty cell
OFF = Kind("false (there is no such thing here)", _only("false", "0", "no"))
NO_SUBSEED = Kind("0 (a walk between two seeds mixes them)", _only("0", "0.0", "-1"))
MODEL_NAME = Kind(
    "the name of a model in the job, of letters, digits, '-' and '_'",
    lambda text: text if MODEL.fullmatch(text) else None,
)
STYLES = Kind("no styles in a line, but a file of them in --styles", _only(""))
FLAGS: dict[str, tuple[str, Kind]] = {  # flag → column, kind; "" is no column: only what changes nothing is allowed
    **dict.fromkeys(("prompt",), ("template", NAME)),
    **dict.fromkeys(("negative_prompt", "negative", "neg", "n"), ("negative_prompt", TEXT)),
    **dict.fromkeys(("seed", "d"), ("seed", SEED)),
    **dict.fromkeys(("steps", "num_inference_steps", "ddim_steps", "s"), ("steps", INTEGER)),
    **dict.fromkeys(("cfg_scale", "cfg", "guidance_scale", "scale", "l"), ("guidance", NUMBER)),
    **dict.fromkeys(("sampler_name", "sampler", "scheduler", "ss"), ("scheduler", NAME)),
    **dict.fromkeys(("width", "w", "W"), ("width", INTEGER)),
    **dict.fromkeys(("height", "h", "H"), ("height", INTEGER)),
    **dict.fromkeys(("n_iter", "batch_size", "num_images_per_prompt", "n_samples"), ("images", COUNT)),
    **dict.fromkeys(("sd_model", "model"), ("model", MODEL_NAME)),
    **{label: (label, TEXT) for label in ("prompt_for_display", "outpath_samples", "outpath_grids")},
    **dict.fromkeys(("restore_faces", "tiling", "do_not_save_samples", "do_not_save_grid"), ("", OFF)),
    **dict.fromkeys(("subseed", "subseed_strength", "seed_resize_from_w", "seed_resize_from_h"), ("", NO_SUBSEED)),
    "styles": ("", STYLES),
}


USUAL = "--prompt, --negative_prompt, --seed, --steps, --cfg_scale, --sampler_name, --width, --height, --batch_size"


def has_flags(line: str) -> bool:
    """Tell a line with flags from a mere prompt: two dashes behind a blank or at the start, and a letter."""
    return bool(FLAG.search(line) or ONE_DASH.search(line))


def read_flags(line: str) -> dict[str, str]:
    """Return column → cell of a line with flags; the prompt is column `template`, as it may be one. Raises TemplateError.

    >>> read_flags('--prompt "a {red|blue} car" --negative_prompt "dull, grey" --cfg_scale 7.5 --batch_size 2 --n_iter 3')
    {'template': 'a {red|blue} car', 'negative_prompt': 'dull, grey', 'guidance': '7.5', 'images': '6'}
    """
    if found := ONE_DASH.search(line):
        raise TemplateError("flags of two dashes, such as --steps 50", f"{show(found[0].strip())} in {show(line)}")
    pairs = list(_shell_pairs(line) if line.lstrip().startswith("--") else _pairs(line))
    flags = [flag for flag, _ in pairs]
    if "s" in flags and not (SHORT - {"s"}) & set(flags):
        raise TemplateError("--steps for steps (--s has other meanings in other programs)", f"--s in {show(line)}")
    cells: dict[str, str] = {}
    for flag, value in pairs:
        column, cell = _cell(flag, value)
        if column == "images" and "images" in cells and flags.count(flag) == 1:
            cells[column] = str(int(cells[column]) * int(cell))  # images of a batch, times batches
        elif column in cells or flags.count(flag) > 1:
            raise TemplateError("every setting once", f"--{flag} {value}, which sets it again")
        elif column:
            cells[column] = cell
    if "template" not in cells:
        raise TemplateError("a prompt: the flag --prompt, or text in front of the flags", show(line))
    return cells


def _cell(flag: str, value: str) -> tuple[str, str]:
    """Return the column of a flag, "" for none, and the cell that its value becomes. Raises TemplateError."""
    if flag not in FLAGS:
        near = difflib.get_close_matches(flag, FLAGS, 1)
        hint = f" (nearest: --{near[0]})" if near else ""
        raise TemplateError(f"flags that become columns ({USUAL})", f"--{flag}{hint}")
    column, kind = FLAGS[flag]
    cell = kind.cell(value)
    if cell is None:
        raise TemplateError(f"{kind.required} behind --{flag}", show(value))
    return column, cell


def _shell_pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield (flag, value) of a line that begins with a flag. Words up to the next flag are one value."""
    try:
        words = shlex.split(line)
    except ValueError as error:
        required = "quotes that are closed (an apostrophe opens one, too, outside of double quotes)"
        raise TemplateError(required, f"{show(line)}: {str(error).lower()}") from None
    starts = [number for number, word in enumerate(words) if FLAG.match(word)]
    if starts[:1] != [0]:
        raise TemplateError("a flag at the beginning, or a prompt", show(line))
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        flag, equals, value = words[start][2:].partition("=")
        yield flag, " ".join([*([value] if equals else []), *words[start + 1 : end]])


def _pairs(line: str) -> Iterator[tuple[str, str]]:
    """Yield (flag, value) of a line that begins with its prompt."""
    prompt, *parts = FLAG.split(line)
    yield "prompt", prompt.strip()
    for part in parts:
        flag = re.match(r"\w+", part)[0]  # type: ignore[index]  # FLAG ends before a letter
        value = part[len(flag) :].strip().removeprefix("=").strip()
        quoted = len(value) > 1 and value[0] == value[-1] in "\"'" and value[0] not in value[1:-1]
        yield flag, value[1:-1] if quoted else value
