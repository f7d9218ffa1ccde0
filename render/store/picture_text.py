"""Describe a picture in the words of other programs: the text `parameters` that A1111's web UI puts into its files."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

from render.core import Blend, Frame, Leaf, Prompt, Recipe, canonical_json
from render.store.columns import Origin, guidance_of, seed_of

__all__ = ["picture_text", "public_name"]

PROMPT_MAX = 200  # signs of each prompt within a blend
SAMPLERS = {  # ours → A1111's
    "ddim": "DDIM",
    "pndm": "PLMS",
    "lms": "LMS",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm++2m": "DPM++ 2M",
    "dpm++2m karras": "DPM++ 2M Karras",
    "dpm++ sde": "DPM++ SDE",
    "unipc": "UniPC",
    "deis": "DEIS",
    "lcm": "LCM",
    "flow-euler": "Euler",
    "flow-heun": "Heun",
    "flow-dpm++2m": "DPM++ 2M",
    "flow-unipc": "UniPC",
}


def picture_text(frame: Frame, origin: Origin) -> str:
    """Return the text `parameters` of a frame: its prompt, `Negative prompt: …`, and a last line of settings.

    Of a blend of prompts it has the prompt of the frame's keyframe, and `Blend` says what is blended, as the recipe's
    JSON does. Values are quoted as A1111's web UI quotes them.
    """
    recipe = frame.recipe
    prompt = _text(recipe.prompt, frame.keyframe.prompt)
    negative = _text(recipe.negative_prompt, frame.keyframe.negative_prompt)
    settings: dict[str, object] = {
        "Steps": recipe.steps,
        "Sampler": SAMPLERS.get(recipe.scheduler, recipe.scheduler),
        "CFG scale": f"{guidance_of(recipe):g}",
        "Seed": seed_of(frame),
        "Size": f"{recipe.width}x{recipe.height}",
        "Model": public_name(origin.model),
    }
    if recipe.image is not None:
        settings["Denoising strength"] = f"{1 - recipe.skipped_steps / recipe.steps:g}"
    if blend := _blend(recipe):
        settings["Blend"] = canonical_json(blend)
    settings |= {"Key": recipe.key, "Version": f"nightrender {_version()}"}
    lines = [prompt] if prompt else []
    lines += [f"Negative prompt: {negative}"] if negative else []
    return "\n".join([*lines, ", ".join(f"{name}: {_quoted(str(value))}" for name, value in settings.items())])


def _text(prompt: Blend, keyframe: str) -> str:
    """Return the text of a prompt; of a blend that of the keyframe."""
    return prompt.text if isinstance(prompt, Prompt) else keyframe


def public_name(model: str) -> str:
    """Return the name of a model that may be shown to anybody: a hub id, or the last part of a folder's path or URL.

    >>> public_name("owner/name"), public_name("/home/ann/models/mine"), public_name("s3://bucket/models/mine")
    ('owner/name', 'mine', 'mine')
    """
    is_place = "://" in model or PurePath(model).is_absolute() or model.startswith(("~", "."))
    return PurePath(model.rstrip("/")).name if is_place else model


def _blend(recipe: Recipe) -> dict[str, Any]:
    """Return what a frame blends, as nested lists; {} for a frame at a keyframe."""
    parts: dict[str, Blend | None] = {
        "prompt": recipe.prompt,
        "negative_prompt": recipe.negative_prompt,
        "noise": recipe.noise,
        "image": recipe.image,
    }
    blends = {name: part for name, part in parts.items() if part is not None and not isinstance(part, Leaf)}
    found: dict[str, Any] = {name: _short(part) for name, part in blends.items()}
    return found | ({"t": recipe.t} if recipe.towards is not None else {})


def _short(blend: Blend) -> list[Any]:
    """Return a blend as nested lists, its prompts shortened: a frame between many keyframes would repeat them all."""

    def cut(part: Any) -> Any:
        if not isinstance(part, list):
            return part
        if part[:1] == ["prompt"] and len(part[1]) > PROMPT_MAX:
            return ["prompt", part[1][:PROMPT_MAX] + "…"]
        return [cut(inner) for inner in part]

    shortened: list[Any] = cut(blend.to_list())
    return shortened


def _quoted(text: str) -> str:
    """Return a value as A1111's web UI writes it: in quotes if it has a sign that ends values."""
    return json.dumps(text, ensure_ascii=False) if any(sign in text for sign in ",:\n") else text


@cache
def _version() -> str:
    try:
        return version("nightrender")
    except PackageNotFoundError:  # a copy that nobody has installed
        return "unknown"
