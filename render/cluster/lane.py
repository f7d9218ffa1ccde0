"""Frames of one shape through one renderer: who is in flight, and what becomes of a frame that raises."""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

from render.core import Recipe
from render.engine import FrameGenerator, Row, pack_rows
from render.store import Failure

__all__ = ["FATAL", "OUT_OF_MEMORY", "TRIES", "Lane", "Starter"]

TRIES = 2  # of a frame that raises
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)
FATAL = (*OUT_OF_MEMORY, torch.AcceleratorError)  # no frame's fault; after the last the process is of no more use


class Starter(Protocol):
    """The part of a renderer that a lane needs."""

    def start(self, recipe: Recipe) -> FrameGenerator:
        """A frame as a generator."""

    def forget(self) -> None:
        """No frame is in flight any more."""

    def run(self, rows: Sequence[Row], count: int) -> list[Tensor]:
        """The network's outputs for rows, filled up to `count`."""


Token = TypeVar("Token")


class Lane(Generic[Token]):
    """Renders what `take(wait)` gives: (token, recipe), or None for now; None when asked to wait is the end."""

    def __init__(
        self,
        renderer: Starter,
        rows: int,
        take: Callable[[bool], tuple[Token, Recipe] | None],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """`around` is entered for every batch."""
        self._renderer, self._rows, self._take, self._around = renderer, rows, take, around
        self._flying: dict[Token, Recipe] = {}
        self._suspects: deque[tuple[Token, Recipe]] = deque()  # to be run alone: one of them broke a batch
        self._tries: Counter[Token] = Counter()

    def run(self) -> Iterator[tuple[Token, Tensor | Failure]]:
        """Yield each frame's final latents, or its failure after TRIES tries; the other frames go on.

        An exception of a whole batch is nobody's in particular: each of its frames is run again alone, at the same row
        count and so to the same bits. Raises what is in FATAL, and what `take` raises.
        """
        while True:
            self._renderer.forget()
            alone = bool(self._suspects)
            try:
                for token, result in pack_rows(self._suspect if alone else self._next, self._evaluate, self._rows):
                    recipe = self._flying.pop(token)
                    if not isinstance(result, Exception):
                        yield token, result
                    elif failure := self._judge(token, recipe, result):
                        yield token, failure
            except FATAL:
                raise
            except Exception as error:
                flying, self._flying = self._flying, {}
                if not flying:  # not of a batch, but of `take`
                    raise
                if not alone:
                    self._suspects.extend(flying.items())
                    continue
                for token, recipe in flying.items():
                    if failure := self._judge(token, recipe, error):
                        yield token, failure
            else:
                if not alone and not self._suspects:
                    return

    def _next(self, wait: bool) -> tuple[Token, FrameGenerator] | None:
        return self._launch(self._take(wait and not self._suspects))

    def _suspect(self, wait: bool) -> tuple[Token, FrameGenerator] | None:
        return self._launch(self._suspects.popleft() if wait and self._suspects else None)

    def _launch(self, taken: tuple[Token, Recipe] | None) -> tuple[Token, FrameGenerator] | None:
        if taken is None:
            return None
        token, recipe = taken
        self._flying[token] = recipe
        return token, self._renderer.start(recipe)

    def _evaluate(self, rows: list[Row]) -> list[Tensor]:
        with self._around():
            return self._renderer.run(rows, self._rows)

    def _judge(self, token: Token, recipe: Recipe, error: Exception) -> Failure | None:
        """The failure of a frame that has had its tries; another try, alone, for one that has not."""
        if isinstance(error, FATAL):
            raise error
        self._tries[token] += 1
        if self._tries[token] >= TRIES:
            return Failure("".join(traceback.format_exception(error)))
        self._suspects.append((token, recipe))
        return None
