"""Batches: their sizes, and the places in them that may be filled. Pure values; torch is not needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["Batch", "Batches"]

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Batch:
    """Size of every call of a network, and the places of the call whose outputs are used.

    On a GPU some places of a batch compute in another order than the rest, and give other last bits. If `exact`, all of
    `places` give the same bits. Otherwise no large enough group of such places was found, and `places` holds all of them.

    >>> batch = Batch(4, (1, 2))
    >>> batch.fill(["a"]), batch.take([10, 20, 30, 40], 1)
    (['a', 'a', 'a', 'a'], [20])
    >>> batch.fill(["a", "b"])
    ['b', 'a', 'b', 'b']
    """

    rows: int  # inputs of every call, copies included
    places: tuple[int, ...]  # that may be filled, rising
    exact: bool = True

    def __post_init__(self) -> None:
        places = self.places
        if not places or sorted(set(places)) != list(places) or not 0 <= places[0] <= places[-1] < self.rows:
            raise ValueError(f"places: required rising numbers of 0 … {self.rows - 1}, at least one, got {places}")

    @classmethod
    def full(cls, rows: int) -> Batch:
        """Return a batch whose places are all alike."""
        return cls(rows, tuple(range(rows)))

    @property
    def capacity(self) -> int:
        """Largest number of inputs that one call takes."""
        return len(self.places)

    def fill(self, items: Sequence[Item]) -> list[Item]:
        """Return `rows` inputs: 1 … `capacity` items at the first of `places`, copies of the last item elsewhere."""
        if not 0 < len(items) <= self.capacity:
            raise ValueError(f"batch: required 1 … {self.capacity} inputs, got {len(items)}")
        filled = [items[-1]] * self.rows
        for place, item in zip(self.places, items, strict=False):
            filled[place] = item
        return filled

    def take(self, outputs: Sequence[Item], count: int) -> list[Item]:
        """Return the outputs of the `count` items that `fill` was given, in their order."""
        return [outputs[place] for place in self.places[:count]]


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of one model and image size: of the network, in its inputs (rows), and of the decoder, in images."""

    network: Batch
    decoder: Batch

    @property
    def exact(self) -> bool:
        """True if a frame's bits do not depend on its place in either batch."""
        return self.network.exact and self.decoder.exact
