"""Recipes whose sampling gives a frame's latents, and which of its results other frames use again."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

from render.core import Recipe

__all__ = ["sampled_recipes", "shared_results", "without_clean"]


def shared_results(recipes: Iterable[Recipe]) -> dict[str, Recipe | None]:
    """Return the results wanted by several frames: key → the earlier recipe of its trajectory to continue from, if any.

    Recipes are of one trajectory if they differ in `stop` only: a later one repeats the steps of an earlier one.
    """
    sampled = [one for recipe in recipes for one in sampled_recipes(recipe)]
    counts = Counter(recipe.key for recipe in sampled)
    shared: dict[str, Recipe | None] = {key: None for key, count in counts.items() if count > 1}
    trajectories: dict[str, dict[int, Recipe]] = defaultdict(dict)  # key of all steps → steps taken → recipe
    for recipe in sampled:
        trajectories[replace(recipe, stop=None).key][recipe.steps if recipe.stop is None else recipe.stop] = recipe
    for trajectory in trajectories.values():
        for earlier, later in pairwise(trajectory[taken] for taken in sorted(trajectory)):
            shared |= {earlier.key: shared.get(earlier.key), later.key: earlier}
    return shared


def sampled_recipes(recipe: Recipe) -> tuple[Recipe, ...]:
    """Return the recipes whose sampling gives a frame's latents: the two ends of a tween, otherwise the frame's own."""
    if recipe.towards is None:
        return (without_clean(recipe),)
    return without_clean(replace(recipe, towards=None, t=0.0)), without_clean(recipe.towards)


def without_clean(recipe: Recipe) -> Recipe:
    """Return the recipe with the same steps that ends in noisy latents: showing x̂₀ needs no sampling of its own."""
    return replace(recipe, clean=False) if recipe.clean else recipe
