"""The whole flow on one page: a job goes in, a store and animations come out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from render.animate import Animation, write_animation
from render.captions import captions, description
from render.card import write_card
from render.config import JobConfig, load_job
from render.ledger import Ledger
from render.manifest import Manifest
from render.motion import closes, frame_count, shown_order
from render.plan import plan_units
from render.prepare import Prepared, frozen_manifest, load_plan, prepare, settle
from render.recipe import Unit, Walk
from render.sheets import write_sheets
from render.store import Frames, ImageStore, open_store
from render.subtitles import write_subtitles
from render.sweep import parse_sweep

__all__ = ["Report", "Summary", "animate_store", "plan_job", "run_job", "sheet_store"]


class Report(Protocol):
    """What is told while a job runs."""

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        """The job is checked and planned; so many frames are in the store already."""

    def frames(self, count: int) -> None:
        """So many more frames are finished."""

    def animating(self, total: int) -> None:
        """All frames are done; so many animations follow."""

    def animation(self, path: Path) -> None:
        """One more animation is written."""


class Silent:
    """Tells nothing."""

    def begin(self, prepared: Prepared, frames_done: int) -> None: ...
    def frames(self, count: int) -> None: ...
    def animating(self, total: int) -> None: ...
    def animation(self, path: Path) -> None: ...


@dataclass(frozen=True, slots=True)
class Summary:
    """What came of a run."""

    out: Path
    frames: int  # in the store
    quarantined: int  # that could not be rendered
    blank: int  # of a single colour
    animations: tuple[Path, ...]
    sheets: tuple[Path, ...]
    seconds: float  # of rendering, from the first unit handed out to the last one committed


def plan_job(target: str | Path, *overrides: str, check_model: bool = False) -> Prepared:
    """What a job would render, without torch or Ray. Raises InputError with all that is wrong.

    `check_model` asks for the weights of its models, and fingerprints them; without, their JSON files are enough.
    """
    return prepare(load_job(Path(target), overrides), weights=check_model)


def run_job(target: str | Path, *overrides: str, report: Report | None = None) -> Summary:
    """Render a job, or what is left of it, into its store and animate its walks.

    `target` is a job file or a manifest, `overrides` are `key=value` strings as on the command line. Raises InputError
    before anything starts where the input is bad, RunError where the run can't go on; what is committed stays.
    """
    report = report or Silent()
    prepared = settle(prepare(load_job(Path(target), overrides)))
    job, ledger = prepared.job, Ledger(prepared.job.output)
    ledger.create()
    with ledger.lock():
        ledger.sweep()
        write_card(prepared)
        report.begin(prepared, sum(receipt.frames for receipt in ledger.receipts()))
        seconds = _render(prepared, ledger, report)
        ledger.sweep()
        animations = _animate(job.output, prepared.manifest, job, report)
        sheets = _sheets(prepared.manifest, job, open_store(job.output))
    receipts = ledger.receipts()
    return Summary(
        out=job.output,
        frames=sum(receipt.frames for receipt in receipts),
        quarantined=sum(len(unit.frames) for unit in ledger.outstanding(_units(prepared))),
        blank=sum(len(receipt.blank) for receipt in receipts),
        animations=animations,
        sheets=sheets,
        seconds=seconds,
    )


def sheet_store(out: str | Path, *overrides: str) -> tuple[Path, ...]:
    """Write the contact sheets of a store anew, with the settings of its job and `sheets.key=value` overrides."""
    out = Path(out)
    load_plan(out)
    return _sheets(frozen_manifest(out), load_job(out / ".run" / "job.yaml", overrides), open_store(out))


def animate_store(out: str | Path, *overrides: str, report: Report | None = None) -> tuple[Path, ...]:
    """Write the animations of a store anew, with the settings of its job and `animation.key=value` overrides."""
    out, report = Path(out), report or Silent()
    load_plan(out)
    job = load_job(out / ".run" / "job.yaml", overrides)
    return _animate(out, frozen_manifest(out), job, report)


def _units(prepared: Prepared) -> Iterator[Unit]:
    return plan_units(prepared.manifest.walks, prepared.plan)


def _render(prepared: Prepared, ledger: Ledger, report: Report) -> float:
    """Render every unit that is not committed. Returns the seconds since the first worker was ready."""
    units = ledger.outstanding(_units(prepared))
    first = next(units, None)
    if first is None:
        return 0.0
    from render.cluster import Cluster
    from render.worker import Setup

    job, force = prepared.job, prepared.workforce
    labels, threads = prepared.manifest.label_schema, prepared.plan.threads
    setup = Setup(
        prepared.models,
        job.output,
        labels,
        job.store.format,
        force.device,
        job.workers.dtype,
        threads,
        job.image_root,
    )
    with Cluster(setup, force, job.workers.address, job.workers.deadline_s) as cluster:
        for _ in cluster.render(chain([first], units), report.frames):
            pass
        return time.monotonic() - (cluster.ready_s or time.monotonic())


class _Pixels:
    """The frames of a walk as arrays `[H, W, 3]`, in the order in which they are shown, decoded as they are asked for."""

    def __init__(self, frames: Frames, order: list[int]) -> None:
        places = {index: place for place, index in enumerate(frames.indices)}
        self.indices = [index for index in order if index in places]
        self._frames, self._order = frames, [places[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return np.asarray(self._frames[self._order[index]].image())


def _animate(out: Path, manifest: Manifest, job: JobConfig, report: Report) -> tuple[Path, ...]:
    """Animate every walk of more than one frame, as far as it is committed. Walks that close play round and round."""
    store, config = open_store(out), job.animation
    walks = [walk for walk in manifest.walks() if not walk.still and walk.name in store and frame_count(walk) > 1]
    for left in (out / "animations").glob(".animation-*"):  # of a run that was killed
        left.unlink(missing_ok=True)
    subtitles = ("srt",) if config.subtitles and "mp4" in config.formats else ()
    suffixes = (*config.formats, *subtitles)
    report.animating(len(walks) * len(suffixes))
    paths = []
    for walk, suffix in product(walks, suffixes):
        path = out / "animations" / f"{walk.name}.{suffix}"
        path.parent.mkdir(exist_ok=True)
        settings = Animation(config.fps, "cycle" if closes(walk) else config.loop, config.crf)
        _write(path, walk, _Pixels(store.frames(walk.name), shown_order(walk)), settings, job)
        report.animation(path)
        paths.append(path)
    return tuple(paths)


def _write(path: Path, walk: Walk, pixels: _Pixels, settings: Animation, job: JobConfig) -> None:
    """One file of a walk. An MP4 takes the subtitles of the one before it away, whose times may be others."""
    if path.suffix == ".srt":
        texts = captions(walk)
        write_subtitles(path, [texts[index] for index in pixels.indices], settings)
        return
    model = job.all_models[walk.keyframes[0].model].id
    write_animation(path, pixels, settings, title=walk.name, comment=description(walk, model))
    if path.suffix == ".mp4":
        path.with_suffix(".srt").unlink(missing_ok=True)


def _sheets(manifest: Manifest, job: JobConfig, store: ImageStore) -> tuple[Path, ...]:
    sweep, config = parse_sweep(job.sweep, job.sweep_limit), job.sheets
    return tuple(write_sheets(store, manifest.walks, sweep, config.kinds, config.cell))
