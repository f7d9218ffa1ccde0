"""The conditioning of a batch, stacked once for as long as the batch has the same members."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from render.engine.denoise import Row
from render.models import Conditioning

__all__ = ["ConditioningStacks"]

Members = tuple[int, ...]  # ids of the rows' conditioning, in the rows' order


class ConditioningStacks:
    """The stacked conditioning of the last batch, whole or, where threads share a batch, in its parts.

    A frame keeps its conditioning for all of its steps, so the members of a batch change only when a frame begins or ends,
    or when frames take turns because not all of them fit.
    """

    def __init__(self) -> None:
        self._members: Members = ()  # of the last batch
        self._stacks: dict[Members, tuple[list[Conditioning], Conditioning]] = {}  # of its parts: (rows', stacked)

    def begin(self, rows: Sequence[Row]) -> None:
        """Note the rows of the next batch. If they are not those of the last one, forget what that one had."""
        members = _members(rows)
        if members != self._members:
            self._members, self._stacks = members, {}

    def stacked(self, rows: Sequence[Row]) -> Conditioning:
        """Return the conditioning of some rows of the batch, each tensor `[rows, …]`. Threads may call it side by side."""
        members, stacks = _members(rows), self._stacks
        if members not in stacks:
            own = [row.conditioning for row in rows]
            stacks[members] = own, {name: torch.stack([one[name] for one in own]) for name in own[0]}
        return stacks[members][1]

    def clear(self) -> None:
        """Forget the last batch."""
        self._members, self._stacks = (), {}


def _members(rows: Sequence[Row]) -> Members:
    """Return the ids of the rows' conditioning. While stacks are held, so are those, and no other object has their ids."""
    return tuple(id(row.conditioning) for row in rows)
