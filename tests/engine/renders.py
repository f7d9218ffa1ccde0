"""Recipes through one batch loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from render.core.recipe import Recipe
from render.engine.batch import Batch
from render.engine.denoise import Row, pack_rows
from render.engine.renderer import Renderer

ROWS = 5  # odd, so that the two rows of guided frames fall into different batches now and then
MakeRecipe = Callable[..., Recipe]


def render(
    renderer: Renderer, recipes: Sequence[Recipe], rows: int = ROWS, asked: list[int] | None = None
) -> list[Tensor]:
    """Final latents of recipes, all through one batch loop, in the recipes' order. `asked` takes each batch's rows."""
    waiting = iter(enumerate(recipes))

    def admit(wait: bool) -> Any:
        following = next(waiting, None)
        return following and (following[0], renderer.start(following[1]))

    def run(batch: list[Row]) -> list[Tensor]:
        if asked is not None:
            asked.append(len(batch))
        return renderer.run(batch, Batch.full(rows))

    done: dict[int, Tensor] = {}
    for token, result in pack_rows(admit, run, rows):
        assert isinstance(result, Tensor), result
        assert token not in done
        done[token] = result
    return [done[token] for token in range(len(recipes))]
