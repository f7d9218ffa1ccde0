"""A stand-in for the cluster that paints each frame in a colour of its own, in no time; it stores them as workers do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np

from render.core import Receipt, Recipe, Unit
from render.store import Ledger, Origin, Rendered, rendered, shard_schema, write_shard

if TYPE_CHECKING:
    from render.cluster import Setup
    from render.core import CrewListener
    from render.job import Workforce


class Painter:
    """Stands in for the cluster: no torch, no Ray."""

    ready_s = None

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        self._ledger, self._schema = Ledger(setup.out), shard_schema(setup.labels)
        self._origin = Origin("painter", "", setup.device, "float32", setup.format, False)

    def __enter__(self) -> Painter:
        return self

    def __exit__(self, *_: object) -> None: ...

    def render(self, units: Iterator[Unit], listener: CrewListener) -> Iterator[Receipt]:
        for unit in units:
            results = [paint(frame.recipe) for frame in unit.frames]
            receipt = write_shard(self._ledger, unit, results, self._origin, self._schema, 1.0)
            receipt = replace(receipt, rows=len(results))
            if not self._ledger.commit(receipt) and receipt.file:
                (self._ledger.folder.data / receipt.file).unlink(missing_ok=True)
            listener.frames(receipt.frames)
            yield receipt


def paint(recipe: Recipe) -> Rendered:
    """A picture that is another for every recipe."""
    pixels = np.zeros((recipe.height, recipe.width, 3), np.uint8)
    pixels[: recipe.height // 2] = np.frombuffer(hashlib.sha256(recipe.json.encode()).digest()[:3], np.uint8)
    return rendered(pixels, "png")


@contextmanager
def painting() -> Iterator[None]:
    """Have runs paint while the context lasts."""
    with patch("render.cluster.Cluster", Painter):
        yield
