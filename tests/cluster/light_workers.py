"""Light workers on Ray: they paint, and misbehave on the frames they are told to. With units for them, and who listens.

Test files import this module first, which pytest would take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import ray
from PIL import Image
from stores import pixels

from render.cluster.progress import Progress
from render.core.blend import Prompt, Seed
from render.core.errors import ModelError, RunError
from render.core.recipe import Recipe
from render.core.unit import Frame, Receipt, Unit
from render.core.walk import Keyframe
from render.job.workforce import Workforce
from render.store.columns import Origin
from render.store.encode import Rendered
from render.store.ledger import Ledger
from render.store.shard import shard_schema, write_shard

ORIGIN = Origin("paint", "", "cpu", "float32", "png")
SILENCE_S = 1000.0  # that pass at once, for the driver and for a painter that falls silent
UNIT_ROWS = 2  # network inputs that most units here ask for
ONE_CPU = Workforce(count=2, threads=1, gpus=0.0, device="cpu")


@dataclass(frozen=True)
class Painting:
    """What a painter is told: where to, and on which frames (numbers) to do what. Stands in for Setup."""

    out: Path
    kills: frozenset[int] = frozenset()  # every time
    kills_once: frozenset[int] = frozenset()
    silences_once: frozenset[int] = frozenset()
    breaks_once: frozenset[int] = frozenset()  # the worker: an error that is no frame's
    disk_full: frozenset[int] = frozenset()
    uncompiled: frozenset[int] = frozenset()
    waits: frozenset[int] = frozenset()  # until a file `go` is there
    last: frozenset[int] = frozenset()  # after the receipt of such a unit its painter dies
    together: int = 0  # painters that the driver knows to be up before any paints
    idles_once: frozenset[int] = frozenset()  # until the unit is cancelled
    cards: dict[str, str] = field(default_factory=dict)  # Ray's id of a machine → its device
    starts: bool = True
    lacks: str = ""  # a model that none of them can load


class Painter:
    """Stands in for the actor."""

    def __init__(self, painting: Painting, model: str) -> None:
        if not painting.starts or model == painting.lacks:
            raise RuntimeError("no such model")
        self._model = model
        (painting.out / f"loaded-{os.getpid()}-{model}").touch(exist_ok=False)
        self._told, self._ledger, self._frames = painting, Ledger(painting.out), 0
        self._ready_s = self._beat_s = time.monotonic()
        self._asked, self._silence_s, self._received = 0, 0.0, 0
        self._queue = list[str]()  # ids of the units in its hands
        self._refuses, self._is_full, self._cancelled = False, False, set[str]()
        self._node = ray.get_runtime_context().get_node_id()

    async def hand_back(self) -> None:
        self._refuses = True

    async def cancel(self, unit: str) -> None:
        self._cancelled.add(unit)

    async def render(self, number: int, unit: Unit) -> Receipt | None:
        while self._received < number:
            await asyncio.sleep(0.02)
        self._received += 1
        self._queue.append(unit.id)
        try:
            while self._queue[0] != unit.id:  # one unit after the other
                if self._refuses or unit.id in self._cancelled:
                    return None
                await asyncio.sleep(0.02)
            return await self._render(unit)
        finally:
            self._queue.remove(unit.id)

    async def _render(self, unit: Unit) -> Receipt | None:
        while len(list(self._told.out.glob("up-*"))) < self._told.together:
            await asyncio.sleep(0.02)
        numbers, (model, _, _) = {frame.index for frame in unit.frames}, unit.group
        if model != self._model:
            if model == self._told.lacks:
                raise ModelError("no such model")
            (self._told.out / f"loaded-{os.getpid()}-{model}").touch(exist_ok=False)  # twice is a failure
            self._model = model
        await asyncio.sleep(0.05)  # no frame is done, or kills, in no time
        if numbers & self._told.kills or self._first(numbers & self._told.kills_once):
            os._exit(1)
        if self._first(numbers & self._told.silences_once):
            self._silence_s = SILENCE_S
            await asyncio.Event().wait()
        self._fail(numbers)
        while numbers & self._told.waits and not (self._told.out / "go").exists():
            await asyncio.sleep(0.02)
            self._beat_s = time.monotonic()
        if self._first(numbers & self._told.idles_once):
            while unit.id not in self._cancelled:
                await asyncio.sleep(0.02)
            return None
        images = [_paint(frame) for frame in unit.frames]
        schema = shard_schema(pa.schema([]).serialize().to_pybytes())
        receipt = write_shard(self._ledger, unit, images, ORIGIN, schema, seconds=0.0)
        if not self._ledger.commit(receipt) and receipt.file:  # another was first
            (self._ledger.folder.data / receipt.file).unlink()
        (self._told.out / f"painted-{unit.id}-{self._node}").touch()
        self._frames, self._beat_s = self._frames + len(images), time.monotonic()
        if numbers & self._told.last:
            asyncio.get_running_loop().call_later(0.5, os._exit, 1)
        return receipt

    def _fail(self, numbers: set[int]) -> None:
        if self._first(numbers & self._told.breaks_once):
            raise RuntimeError("the device is lost")
        self._is_full = self._is_full or bool(numbers & self._told.disk_full)
        if self._is_full:  # it stays so
            raise OSError(28, "No space left on device")
        if numbers & self._told.uncompiled:
            raise RunError("workers.compile: required a network that compiles")

    async def progress(self, heard: int, last: int | None) -> Progress:
        """Report at once: an answer in time is enough, so that the driver asks again and again."""
        await asyncio.sleep(0.02)
        now = time.monotonic()
        self._asked += 1
        if self._asked == 2:  # the first answer, which tells that the worker is up, has reached the driver
            (self._told.out / f"up-{os.getpid()}").touch()
        idle_s = now - self._beat_s + self._silence_s
        unstarted = self._received * UNIT_ROWS - self._frames  # none starts before the one before it is done
        return Progress(
            frames=self._frames,
            up_s=now - self._ready_s,
            idle_s=idle_s,
            units=self._received,
            capacity=2,
            unstarted=max(0, unstarted),
            host=platform.node(),
            card=self._told.cards.get(self._node, "paint"),
            node=self._node,
        )

    def _first(self, numbers: set[int]) -> bool:
        """Whether one of these frames is met for the first time, by any painter."""
        for number in numbers:
            try:
                (self._told.out / f"met-{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            return True
        return False


class Tenant:
    """Somebody else's actor."""

    def stay(self) -> None: ...


def _paint(frame: Frame) -> Rendered:
    image, file = Image.new("RGB", (8, 8), (frame.index, 0, 0)), io.BytesIO()
    image.save(file, "PNG")
    return Rendered(file.getvalue(), hashlib.sha256(image.tobytes()).hexdigest(), 0.0, blank=False)


def make_units(count: int, frames: int, models: Sequence[str] = ("main",)) -> list[Unit]:
    """`count` units of as many frames, which are numbered through; each model has an equal share, one after the other."""

    def frame(number: int) -> Frame:
        key = Keyframe(1, "a", "", 0, 1, "linear", "slerp", 1, 1.0, "ddim")
        return Frame("w", number, Recipe(Prompt("a"), Prompt(""), Seed(number), 8, 8, 1, 1.0, "ddim", "paint"), key)

    return [
        Unit(
            f"{unit:05d}",
            count,
            tuple(frame(unit * frames + place) for place in range(frames)),
            batch_rows=2,
            model=models[unit * len(models) // count],
        )
        for unit in range(count)
    ]


@dataclass
class Watch:
    """Notes what a driver tells its listener."""

    losses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)  # words about what the run waits for
    counted: int = 0  # frames
    up: list[str] = field(default_factory=list)  # names of workers, in the order in which they were up
    given: list[tuple[str, str]] = field(default_factory=list)  # (unit, worker)
    gone: list[tuple[str, str]] = field(default_factory=list)  # (worker, reason)

    def frames(self, count: int) -> None:
        self.counted += count

    def batches(self, rows: int, padding: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def waiting(self, text: str) -> None:
        self.waits.append(text)

    def lost(self, reason: str) -> None:
        self.losses.append(reason)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def worker_up(self, name: str, host: str, card: str) -> None:
        self.up.append(name)

    def unit_given(self, unit: str, name: str) -> None:
        self.given.append((unit, name))

    def worker_gone(self, name: str, reason: str) -> None:
        self.gone.append((name, reason))


def stored(out: Path) -> list[int]:
    """Numbers of the committed frames."""
    Ledger(out).delete_orphans()
    return sorted(index for _, index, _ in pixels(out))


def tombs(out: Path) -> list[tuple[int, str]]:
    """Number and error of the frames in quarantine."""
    rows = [row for path in sorted(Ledger(out).folder.quarantine.iterdir()) for row in pq.read_table(path).to_pylist()]
    return [(row["frame"], row["error"]) for row in rows]
