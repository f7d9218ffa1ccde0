"""The rows of an image store → the columns of a manifest, so that a store's frames can be rendered again."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from render.core import StoreError, counted
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable, is_text
from render.manifest.sweeping import SWEPT
from render.store import STORE_COLUMNS, OutputFolder, open_store

__all__ = ["IMAGE", "as_manifest", "is_of_store", "shards_in"]

MARKS = {"walk", "frame", "recipe"}  # columns that only a store's rows have together
RENAMED = {"step": "steps", "cfg": "guidance", "sampler": "scheduler"}
AS_THEY_ARE = ("prompt", "negative_prompt", "seed", "width", "height", "split")
IMAGE = "image"  # the pictures: never read here
NOT_IN_ROWS = ("stem", "towards", "stop", "clean")  # of recipes: what a frame shares with others, or where it ends
SHOWN = 3  # walks that a warning names


def is_of_store(names: Collection[str]) -> bool:
    """Return True for the columns of an image store, with or without its pictures."""
    return MARKS.issubset(names)


def shards_in(folder: Path, problems: Problems) -> list[Path]:
    """Return the shards of an output folder's `data`, the committed ones where its ledger is there; none for others.

    Refuses an output folder itself, which is no table.
    """
    if OutputFolder(folder).run.is_dir():
        got = f"the output folder of a run: {folder / 'data'} has its frames, and {OutputFolder(folder).manifest} its walks"
        problems.fatal("a folder with .csv files, or with a store's shards", got)
    if OutputFolder(folder.parent).commits.is_dir() and OutputFolder(folder.parent).data == folder:
        try:
            return open_store(folder.parent).files
        except StoreError as error:
            problems.fatal("a store that can be read", str(error))
    return sorted(folder.glob("*.parquet"))


def as_manifest(raw: RawTable, problems: Problems) -> RawTable:
    """Return a still for every row of a store that one row of a manifest can say: prompts, seed and image unblended.

    The store's `step`, `cfg` and `sampler` are steps, guidance and scheduler; start image, strength and true_guidance come
    from the recipe. Its technical columns and the other frames of walks are left out; warnings name them. Any other table
    is returned as it is.
    """
    if raw.stored or not is_of_store(raw.columns):
        return raw
    recipes = [_recipe(raw, position, problems) for position in range(len(raw.rows))]
    problems.raise_any()
    kept = np.flatnonzero([_fits_a_row(recipe) for recipe in recipes])
    _warn(raw, recipes, kept, problems)
    if not len(kept):
        problems.fatal("a frame that one row can say", "blends along walks alone")
    taken = raw.columns | {RENAMED[name]: raw.columns[name] for name in RENAMED if name in raw.columns}
    labels = [name for name in raw.columns if name not in (*STORE_COLUMNS, SWEPT)]
    columns = {name: taken[name] for name in (*AS_THEY_ARE, *RENAMED.values(), *labels) if name in taken}
    columns = {name: column.take(pa.array(kept)) for name, column in columns.items()}
    columns |= _of_recipes([recipes[position] for position in kept.tolist()], raw.csv)
    commas = raw.comma_rows[kept] if len(raw.comma_rows) else raw.comma_rows
    broken = raw.broken & columns.keys()
    return replace(raw, columns=columns, rows=raw.rows[kept], comma_rows=commas, broken=broken, of_store=True)


def _recipe(raw: RawTable, position: int, problems: Problems) -> dict[str, Any]:
    """Return the recipe of a row, {} for one that can't be read, which is reported."""
    column = raw.columns["recipe"]
    text = column[position].as_py() if is_text(column.type) else None
    try:
        recipe = json.loads(text or "")
        if isinstance(recipe, dict) and {"prompt", "negative_prompt", "noise", "steps", "guidance"} <= recipe.keys():
            return recipe
    except ValueError:
        pass
    problems.add("the JSON of a store's recipe", show(text), row=int(raw.rows[position]), column="recipe")
    return {}


def _fits_a_row(recipe: dict[str, Any]) -> bool:
    """Return True for a frame without blends, which takes all of its steps itself."""
    kinds = [recipe[name][0] for name in ("prompt", "negative_prompt", "noise")]
    image = recipe.get("image")
    whole = all(recipe.get(name) in (None, False) for name in NOT_IN_ROWS)
    return kinds == ["prompt", "prompt", "seed"] and (image is None or image[0] == "image") and whole


def _of_recipes(recipes: list[dict[str, Any]], csv: bool) -> dict[str, Any]:
    """Return the columns that the store has in recipes alone, each only if a row has need of it."""
    images = [recipe.get("image") for recipe in recipes]
    found: dict[str, list[Any]] = {
        "image": [image and image[1] for image in images],
        "image_sha256": [image and image[2] for image in images],
        "strength": [_strength(recipe) if recipe.get("image") else None for recipe in recipes],
        "true_guidance": [_true_guidance(recipe) for recipe in recipes],
    }
    columns = {}
    for name, cells in found.items():
        if any(cell is not None for cell in cells):
            as_text = [None if cell is None else str(cell) for cell in cells]
            numbers = name in ("strength", "true_guidance") and not csv
            columns[name] = pa.chunked_array([pa.array(cells, pa.float64()) if numbers else pa.array(as_text)])
    return columns


def _strength(recipe: dict[str, Any]) -> float:
    """Return a strength that leaves as many steps as the recipe takes (`int(steps * strength)`, as in diffusers).

    >>> [_strength({"steps": 50, "skipped_steps": skipped}) for skipped in (0, 21, 49)]
    [1.0, 0.59, 0.02]
    """
    steps = recipe["steps"]
    taken = steps - recipe.get("skipped_steps", 0)
    strength: float = taken / steps if int(steps * (taken / steps)) == taken else (taken + 0.5) / steps
    return strength


def _true_guidance(recipe: dict[str, Any]) -> float | None:
    """Return the classifier-free guidance beside the one that is an input of the network; None for none."""
    guidance: float = recipe["guidance"]
    return guidance if "embedded_guidance" in recipe and not math.isclose(guidance, 1.0) else None


def _warn(raw: RawTable, recipes: list[dict[str, Any]], kept: Any, problems: Problems) -> None:
    """Say what is left out of the store, and which model its frames are of."""
    used = {*AS_THEY_ARE, *RENAMED}
    left = [name for name in raw.columns if name in (*STORE_COLUMNS, SWEPT) and name not in used]
    left = [*(() if IMAGE in left else (IMAGE,)), *left]
    problems.warn(
        "the rows of a store: step, cfg and sampler are read as steps, guidance and scheduler; left out are "
        + ", ".join(left)
    )
    if models := sorted(set(raw.columns["model"].to_pylist())) if "model" in raw.columns else []:
        ids = ", ".join(show(model) for model in models[:SHOWN]) + (" …" if len(models) > SHOWN else "")
        problems.warn(
            f"the store's frames are of the model{'s' if len(models) > 1 else ''} {ids}; the job's renders them all"
        )
    if any(recipe.get("prompt_syntax", "plain") != "plain" for recipe in recipes):
        problems.warn(
            "the store's prompts were read with sampling.prompt_syntax=weighted; this job has to say so again"
        )
    if lost := len(recipes) - len(kept):
        others = np.setdiff1d(np.arange(len(recipes)), kept)
        walks = list(dict.fromkeys(raw.columns["walk"].take(pa.array(others)).to_pylist()))
        are = "is" if lost == 1 else "are"
        names = ", ".join(show(walk) for walk in walks[:SHOWN]) + (" …" if len(walks) > SHOWN else "")
        problems.warn(
            f"{counted(lost, 'frame')} between the keyframes of walks ({names}) {are} left out: one row can't say them. The "
            "manifest of their output folder, .run/manifest.parquet, has the walks; their other frames become stills"
        )
