"""The denoiser: a frame is a generator that asks for network evaluations, a batch is whatever rows are asked for.

A frame owns its scheduler, so frames of other steps, guidance and scheduler share one batch. The network always sees the
same number of rows: what a row's output is does not depend on the rows beside it, so neither do a frame's pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from render.core import Blend, Leaf, Recipe, Seed, leaves
from render.engine.interpolate import evaluate
from render.models import Conditioning

__all__ = ["Evaluations", "NoiseSource", "Row", "Stem", "begin", "denoise", "pack_rows", "shown"]


@dataclass(frozen=True, slots=True)
class Row:
    """One input of the network."""

    latents: Tensor  # [1, C, H, W], scaled as the scheduler asks
    timestep: Tensor  # scalar
    conditioning: Conditioning


Evaluations: TypeAlias = Generator[list[Row], list[Tensor], Tensor]  # asks for rows, is sent outputs, returns latents


class NoiseSource(TorchFunctionMode):
    """The standard normal draws of one frame; while it is entered, `torch.randn` draws from it.

    Each seed of the blend has a CPU generator of its own and every draw is the blend of the seeds' draws. So a seed means
    the same on every device, the noise of ancestral and SDE schedulers moves along a walk as its start does, and at a
    keyframe both are exactly those of a plain render with its seed.
    """

    def __init__(self, blend: Blend) -> None:
        super().__init__()
        self._blend = blend
        self.draws = 0  # so far
        self._generators = {seed: torch.Generator().manual_seed(seed) for seed in map(_seed, leaves(blend))}

    def draw(self, shape: Sequence[int]) -> Tensor:
        """The next draw, float32 on the CPU."""
        self.draws += 1
        draws = {seed: torch.randn(shape, generator=generator) for seed, generator in self._generators.items()}
        return evaluate(self._blend, lambda leaf: draws[_seed(leaf)])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:  # inside this method the mode is off
            return self.draw(args[0]).to(device=kwargs.get("device"), dtype=kwargs.get("dtype"))
        return func(*args, **kwargs)


def _seed(leaf: Leaf) -> int:
    if not isinstance(leaf, Seed):
        raise TypeError(f"noise: required seeds, got {leaf}")
    return leaf.value


@dataclass(frozen=True, slots=True)
class Stem:
    """A frame on its way: what others go on from."""

    latents: Tensor  # [1, C, H, W]
    scheduler: Any  # that has taken the steps
    taken: int  # of the scheduler's timesteps, those that were skipped included
    draws: int = 0  # of noise that the steps have taken
    clean: Tensor | None = None  # what the last step foretold of the end, where the scheduler tells


def denoise(
    recipe: Recipe, conditioning: tuple[Conditioning, Conditioning], start: Stem, noise: NoiseSource
) -> Generator[list[Row], list[Tensor], Stem]:
    """Take the steps of a recipe, with classifier-free guidance (Ho & Salimans 2022) where it is above 1.

    `conditioning` is that of the prompt and of the negative prompt; `start`, of which the scheduler is used up, is where
    the frame goes on from. Latents stay in float32 whatever the network computes in.
    """
    positive, negative = conditioning
    x, scheduler, clean = start.latents, start.scheduler, start.clean
    end = max(start.taken, _end(recipe, scheduler))
    for t in scheduler.timesteps[start.taken : end]:
        scaled = _scaled(scheduler, x, t)
        if recipe.guided:
            away, towards = yield [Row(scaled, t, negative), Row(scaled, t, positive)]
            output = away + recipe.guidance * (towards - away)
        else:
            (output,) = yield [Row(scaled, t, positive)]
        with noise:
            step = scheduler.step(output, t, x)
        x, clean = step.prev_sample, getattr(step, "pred_original_sample", None)
    return Stem(x, scheduler, end, noise.draws, clean)


def _end(recipe: Recipe, scheduler: Any) -> int:
    """How many of the timesteps are taken, those that are skipped included."""
    last = len(scheduler.timesteps)
    return last if recipe.stop is None else min(last, (recipe.skipped_steps + recipe.stop) * scheduler.order)


def begin(
    recipe: Recipe, scheduler: Any, shape: tuple[int, ...], image: Callable[[Tensor], Tensor] | None, noise: NoiseSource
) -> Stem:
    """Noise of `shape`, or a start image with noise on it: `image` gives a draw of its latents from standard normal noise.

    `scheduler` has its timesteps set.
    """
    if image is None:
        return Stem(
            noise.draw(shape).to(scheduler.timesteps.device) * getattr(scheduler, "init_noise_sigma", 1.0), scheduler, 0
        )
    x = image(noise.draw(shape))
    if recipe.skipped_steps == recipe.steps:  # the image as it is; PNDM has a timestep more than steps
        return Stem(x, scheduler, len(scheduler.timesteps))
    first = recipe.skipped_steps * scheduler.order
    return Stem(_noised(scheduler, first, x, noise.draw(shape)), scheduler, first)


def shown(recipe: Recipe, end: Stem) -> Tensor:
    """What is decoded of a frame: where noise is left, latents of variance 1, as the network would take them."""
    if recipe.clean:
        assert end.clean is not None  # no other schedulers are let in
        return end.clean
    timesteps = end.scheduler.timesteps
    return end.latents if end.taken == len(timesteps) else _scaled(end.scheduler, end.latents, timesteps[end.taken])


def _scaled(scheduler: Any, x: Tensor, t: Tensor) -> Tensor:
    """Latents as the network takes them: where a scheduler keeps the noise's variance apart, of variance 1 again."""
    scaled: Tensor = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
    return scaled


def _noised(scheduler: Any, first: int, latents: Tensor, noise: Tensor) -> Tensor:
    """Latents of an image with as much noise as there is at the first timestep (Meng et al. 2022, arXiv:2108.01073)."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    add = scheduler.scale_noise if hasattr(scheduler, "scale_noise") else None
    timestep = scheduler.timesteps[first : first + 1]
    noise = noise.to(latents.device)
    noised: Tensor = add(latents, timestep, noise) if add else scheduler.add_noise(latents, noise, timestep)
    return noised


Token = TypeVar("Token")


@dataclass(eq=False)
class _InFlight(Generic[Token]):
    token: Token
    evaluations: Evaluations
    outputs: list[Tensor | None] = field(default_factory=list)

    def advance(self) -> list[Row]:
        """Hand the outputs over; returns the next rows. Raises StopIteration with the latents at the end."""
        if not self.outputs:
            rows = next(self.evaluations)
        else:
            rows = self.evaluations.send([output for output in self.outputs if output is not None])
        self.outputs = [None] * len(rows)
        return rows


def pack_rows(
    admit: Callable[[bool], tuple[Token, Evaluations] | None],
    run: Callable[[list[Row]], Sequence[Tensor]],
    rows: int,
) -> Iterator[tuple[Token, Tensor | Exception]]:
    """Run many frames' evaluations in batches of at most `rows`, and yield each frame's latents as it finishes.

    `admit(wait)` gives the next frame, or None for now; None when asked to wait ends it. A frame that raises is yielded
    with its exception and the others go on; what `run` raises ends the iteration. A frame's rows may fall into two batches.
    One that asks for no rows waits for another frame, and is asked again when there is room in a batch.
    """
    pending: deque[tuple[_InFlight[Token], int, Row]] = deque()
    waiting: deque[_InFlight[Token]] = deque()
    while True:
        for _ in range(len(waiting)):  # first: what they wait for may be there
            if len(pending) < rows:
                yield from _push(waiting.popleft(), pending, waiting)
        while len(pending) < rows and (admitted := admit(not pending and not waiting)):
            yield from _push(_InFlight(*admitted), pending, waiting)
        if not pending and not waiting:
            return
        batch = [pending.popleft() for _ in range(min(rows, len(pending)))]
        for (flight, slot, _), output in zip(batch, run([row for _, _, row in batch]) if batch else (), strict=True):
            flight.outputs[slot] = output
            if all(output is not None for output in flight.outputs):
                yield from _push(flight, pending, waiting)


def _push(
    flight: _InFlight[Token],
    pending: deque[tuple[_InFlight[Token], int, Row]],
    waiting: deque[_InFlight[Token]],
) -> Iterator[tuple[Token, Tensor | Exception]]:
    """Let a frame take its step and queue its next rows; yields it if that was the last."""
    try:
        asked = flight.advance()
    except StopIteration as stop:
        yield flight.token, stop.value
    except Exception as error:  # whatever a frame raises is that frame's affair
        yield flight.token, error
    else:
        pending.extend((flight, slot, row) for slot, row in enumerate(asked))
        waiting.extend([] if asked else [flight])
