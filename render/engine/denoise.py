"""Denoising: one frame's sampling as a generator, and the loop that packs the frames' network inputs into batches.

Each frame has its own scheduler, so frames with different steps, guidance and schedulers share a batch. The batch size
that the network sees never changes: the output for a row does not depend on the other rows, and so neither do pixels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from render.core import Blend, Leaf, Recipe, Seed, leaves
from render.engine.interpolate import evaluate
from render.engine.transfers import STILL, numbers_on_cpu
from render.models import Conditioning, copy_to

__all__ = [
    "FrameGenerator",
    "NoiseSource",
    "Row",
    "SamplerState",
    "denoise",
    "initial_state",
    "latents_to_decode",
    "pack_rows",
]

ENDING_BATCHES = 4  # batches that the frames in flight fill at the end of a job
ENDING_ROWS = 64  # or the network inputs that they ask for at once, where that is more
# Schedulers whose steps draw no noise. Drawing from a frame's own seeds costs all others 0.1 ms a step.
QUIET = frozenset(STILL | {"UniPCMultistepScheduler"}) - {
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "LCMScheduler",
}

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Row:
    """One input of the network."""

    latents: Tensor  # [1, C, H, W], scaled as the scheduler asks
    timestep: Tensor  # scalar on the CPU
    conditioning: Conditioning
    left: int = 1  # network calls that the frame's sampling still needs one after the other, this one included


FrameGenerator: TypeAlias = Generator[list[Row], list[Tensor], Tensor]  # yields rows, is sent outputs, returns latents


class NoiseSource(TorchFunctionMode):
    """Standard normal noise of one frame; inside `with source`, `torch.randn` draws from it.

    Each seed of the blend has a CPU generator of its own, and every draw is the blend of the seeds' draws. Three things
    follow: a seed gives the same noise on every device, the step noise of ancestral and SDE samplers moves along a walk as
    the initial noise does, and at a keyframe both are exactly the noise of a plain render with its seed.
    """

    def __init__(self, blend: Blend, device: torch.device = CPU) -> None:
        super().__init__()
        self._blend, self._device = blend, device
        self.draws = 0  # so far
        self._generators = {seed: torch.Generator().manual_seed(seed) for seed in map(_seed, leaves(blend))}

    def draw(self, shape: Sequence[int]) -> Tensor:
        """Return the next draw, float32 on the device of the source."""
        self.draws += 1
        draws = {seed: torch.randn(shape, generator=generator) for seed, generator in self._generators.items()}
        return copy_to(evaluate(self._blend, lambda leaf: draws[_seed(leaf)]), self._device)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:  # torch switches the mode off inside this method, so `draw` reaches the real randn
            return self.draw(args[0]).to(dtype=kwargs.get("dtype"))
        return func(*args, **kwargs)


def _seed(leaf: Leaf) -> int:
    if not isinstance(leaf, Seed):
        raise TypeError(f"noise: required seeds, got {leaf}")
    return leaf.value


@dataclass(frozen=True, slots=True)
class SamplerState:
    """Sampling of a frame after some of its steps, from which other frames may continue."""

    latents: Tensor  # [1, C, H, W]
    scheduler: Any  # with the history that multistep samplers keep
    timesteps_taken: int  # of the scheduler's timesteps, skipped ones included
    noise_draws: int = 0  # taken from the frame's noise by these steps
    predicted_clean: Tensor | None = None  # x̂₀ of the last step, from schedulers that return `pred_original_sample`


def denoise(
    recipe: Recipe, conditioning: tuple[Conditioning, Conditioning], start: SamplerState, noise: NoiseSource
) -> Generator[list[Row], list[Tensor], SamplerState]:
    """Take a recipe's steps from `start` on, with classifier-free guidance (Ho & Salimans 2022) at a scale above 1.

    `conditioning` is that of the prompt and that of the negative prompt. The steps change the scheduler of `start`, so
    hand over a copy to keep it. Latents stay in float32, whatever dtype the network computes in. Nothing here waits for
    the device of the latents: the scheduler's own numbers are on the CPU.
    """
    positive, negative = conditioning
    x, scheduler, predicted_clean = start.latents, start.scheduler, start.predicted_clean
    first = start.timesteps_taken
    stop = max(first, _stop_index(recipe, scheduler))
    kind = type(scheduler).__name__
    seeded: AbstractContextManager[Any] = nullcontext() if kind in QUIET else noise
    numbers = nullcontext() if kind in STILL else numbers_on_cpu(x.device)
    for left, t in zip(range(stop - first, 0, -1), scheduler.timesteps[first:stop], strict=True):
        scaled = _scale_for_network(scheduler, x, t)
        if recipe.guided:
            away, towards = yield [Row(scaled, t, negative, left), Row(scaled, t, positive, left)]
            output = away + recipe.guidance * (towards - away)
        else:
            (output,) = yield [Row(scaled, t, positive, left)]
        with seeded, numbers:
            step = scheduler.step(output, t, x)
        x, predicted_clean = step.prev_sample, getattr(step, "pred_original_sample", None)
    return SamplerState(x, scheduler, stop, noise.draws, predicted_clean)


def _stop_index(recipe: Recipe, scheduler: Any) -> int:
    """Return the number of timesteps after which the recipe stops, skipped ones included."""
    last = len(scheduler.timesteps)
    return last if recipe.stop is None else min(last, (recipe.skipped_steps + recipe.stop) * scheduler.order)


def initial_state(
    recipe: Recipe,
    scheduler: Any,
    shape: tuple[int, ...],
    encode_image: Callable[[Tensor], Tensor] | None,
    noise: NoiseSource,
) -> SamplerState:
    """Return the state before the first step: noise of `shape`, or a start image with noise added.

    `scheduler` has its timesteps set. `encode_image` takes standard normal noise of `shape` and returns a sample of the
    start image's latents; None means that there is no start image.
    """
    if encode_image is None:
        sigma = getattr(scheduler, "init_noise_sigma", 1.0)
        return SamplerState(noise.draw(shape) * sigma, scheduler, 0)
    x = encode_image(noise.draw(shape))
    if recipe.skipped_steps == recipe.steps:  # the image unchanged; not by the index below: PNDM has an extra timestep
        return SamplerState(x, scheduler, len(scheduler.timesteps))
    first = recipe.skipped_steps * scheduler.order
    return SamplerState(_add_noise(scheduler, first, x, noise.draw(shape)), scheduler, first)


def latents_to_decode(recipe: Recipe, end: SamplerState) -> Tensor:
    """Return the latents `[1, C, H, W]` that a frame shows.

    After all steps they are the final latents. After an early stop they are the predicted clean image x̂₀ if the recipe
    asks for it, else the noisy latents scaled to variance 1, as the network would take them.
    """
    if recipe.clean:
        assert end.predicted_clean is not None  # the manifest's checks refuse other schedulers
        return end.predicted_clean
    timesteps, taken = end.scheduler.timesteps, end.timesteps_taken
    return end.latents if taken == len(timesteps) else _scale_for_network(end.scheduler, end.latents, timesteps[taken])


def _scale_for_network(scheduler: Any, x: Tensor, t: Tensor) -> Tensor:
    """Return latents as the network takes them: of variance 1 for schedulers whose own latents grow with sigma."""
    scaled: Tensor = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
    return scaled


def _add_noise(scheduler: Any, first: int, latents: Tensor, noise: Tensor) -> Tensor:
    """Return image latents with the noise of timestep number `first` (Meng et al. 2022, arXiv:2108.01073)."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    add = scheduler.scale_noise if hasattr(scheduler, "scale_noise") else None
    timestep = scheduler.timesteps[first : first + 1]
    with numbers_on_cpu(latents.device):
        noised: Tensor = add(latents, timestep, noise) if add else scheduler.add_noise(latents, noise, timestep)
    return noised


Handle = TypeVar("Handle")


@dataclass(eq=False)
class _FrameInFlight(Generic[Handle]):
    handle: Handle
    generator: FrameGenerator
    outputs: list[Tensor | None] = field(default_factory=list)  # for the rows yielded last; None until computed

    def advance(self) -> list[Row]:
        """Send the outputs and return the next rows. Raises StopIteration with the latents after the last step."""
        if not self.outputs:
            rows = next(self.generator)
        else:
            rows = self.generator.send([output for output in self.outputs if output is not None])
        self.outputs = [None] * len(rows)
        return rows


_PendingRow: TypeAlias = tuple[_FrameInFlight[Handle], int, Row]  # with its place among those the frame yielded


def pack_rows(
    admit: Callable[[bool], tuple[Handle, FrameGenerator] | None],
    run: Callable[[list[Row]], Sequence[Tensor]],
    capacity: int,
    ending: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[Handle, Tensor | Exception]]:
    """Run many frames in batches of at most `capacity` network inputs; yield each frame's latents as it finishes.

    `admit(wait)` returns the next frame as (handle, generator), or None when there is none yet. With `wait` it may block,
    and None means that no more frames come. `run` returns the network's outputs for a batch. The two rows of a guided
    frame may fall into two batches.

    Once `ending()` is true, more frames are admitted than a batch takes, and those that have the most steps left go
    first: so the last batches are full, too, and the longest frame does not end alone (McNaughton, "Scheduling with
    deadlines and loss functions", 1959: with preemption, total work through rows or the longest job bounds the time).

    A frame that raises is yielded with its exception, and the others go on. What `run` raises ends the iteration. A frame
    that yields no rows waits for another frame's result; it is resumed when a batch has room.
    """
    pending: deque[_PendingRow[Handle]] = deque()
    waiting: deque[_FrameInFlight[Handle]] = deque()
    while True:
        most = max(ENDING_BATCHES * capacity, ENDING_ROWS) if ending() else capacity
        for _ in range(len(waiting)):  # before new frames, since the result they wait for may be there
            if len(pending) < most:
                yield from _advance(waiting.popleft(), pending, waiting)
        while len(pending) < most and (admitted := admit(not pending and not waiting)):
            yield from _advance(_FrameInFlight(*admitted), pending, waiting)
        if not pending and not waiting:
            return
        if ending() and len(pending) > capacity:
            pending = deque(sorted(pending, key=lambda item: -item[2].left))
        batch = [pending.popleft() for _ in range(min(capacity, len(pending)))]
        for (frame, slot, _), output in zip(batch, run([row for _, _, row in batch]) if batch else (), strict=True):
            frame.outputs[slot] = output
            if all(output is not None for output in frame.outputs):
                yield from _advance(frame, pending, waiting)


def _advance(
    frame: _FrameInFlight[Handle],
    pending: deque[_PendingRow[Handle]],
    waiting: deque[_FrameInFlight[Handle]],
) -> Iterator[tuple[Handle, Tensor | Exception]]:
    """Resume a frame and queue its next rows; yield its handle and result if it has finished."""
    try:
        rows = frame.advance()
    except StopIteration as stop:
        yield frame.handle, stop.value
    except Exception as error:  # one frame's error must not stop the others
        yield frame.handle, error
    else:
        pending.extend((frame, slot, row) for slot, row in enumerate(rows))
        waiting.extend([] if rows else [frame])
