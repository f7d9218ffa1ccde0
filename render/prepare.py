"""From a job to everything that is known before the first frame: model, manifest, plan, warnings. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from render.config import JobConfig, to_yaml
from render.ledger import Ledger, write_atomically
from render.machine import Workforce, choose_workforce, uses_gpu
from render.manifest import Defaults, Manifest, SizeRule, read_manifest
from render.model import SIZE_MAX, Model, resolve_model
from render.plan import BYTES_PER_PIXEL, Counts, Limits, Plan, count_walks, make_plan
from render.recipe import PIXELS_VERSION, StoreError

__all__ = ["Prepared", "frozen_manifest", "load_plan", "prepare", "settle"]

WARNINGS_MAX = 20
CHUNK = 10_000  # walks checked at a time


@dataclass(frozen=True)
class Prepared:
    """A job that can be rendered."""

    job: JobConfig
    model: Model
    manifest: Manifest
    counts: Counts
    workforce: Workforce
    plan: Plan
    warnings: tuple[str, ...]

    @property
    def expected_bytes(self) -> int:
        """A guess at the store's size, for photographs; flat pictures take less."""
        return int(self.counts.pixels * BYTES_PER_PIXEL[self.job.store.format])


def prepare(job: JobConfig, weights: bool = True) -> Prepared:
    """Check everything that can be checked without rendering, and plan.

    `weights` asks for the model's weights to be there, and fingerprints them. Raises JobError, ModelError or
    ManifestError.
    """
    model = resolve_model(job.model.id, job.model.revision, Path.cwd(), weights)
    manifest = read_manifest(
        job.manifest, _defaults(job, model), SizeRule(model.size_multiple, model.size_min, SIZE_MAX)
    )
    counts = count_walks(manifest.walks())
    limits = Limits(job.workers.rows, job.store.unit_frames, uses_gpu(job), job.store.format)
    fingerprint = {
        "manifest": manifest.fingerprint,
        "model": model.fingerprint if weights else "",
        "model.dtype": job.model.dtype,
        "store.format": job.store.format,
        "pixels version": str(PIXELS_VERSION),
    }
    plan = make_plan(counts, limits, fingerprint)
    workforce = choose_workforce(job, model, plan.units)
    plan = replace(plan, threads=workforce.threads)
    return Prepared(job, model, manifest, counts, workforce, plan, tuple(_warnings(model, manifest)))


def _defaults(job: JobConfig, model: Model) -> Defaults:
    own, native = job.sampling, model.sampling
    return Defaults(
        negative_prompt=own.negative_prompt,
        frames=own.frames,
        easing=own.easing,
        interpolation=own.interpolation,
        width=own.width or native.width,
        height=own.height or native.height,
        steps=own.steps or native.steps,
        guidance=native.guidance if own.guidance is None else own.guidance,
        scheduler=own.scheduler or native.scheduler,
        seed=job.seed,
    )


def _warnings(model: Model, manifest: Manifest) -> Iterator[str]:
    """What will surprise but does not stop the start: at most WARNINGS_MAX lines of it."""
    found = _surprises(model, manifest)
    yield from islice(found, WARNINGS_MAX)
    if more := sum(1 for _ in found):
        yield f"… and {more} more warnings"


def _surprises(model: Model, manifest: Manifest) -> Iterator[str]:
    walks = manifest.walks()
    while chunk := list(islice(walks, CHUNK)):
        texts: dict[str, int] = {}  # text → first row
        for walk in chunk:
            for frame in walk.keyframes:
                texts.setdefault(frame.prompt, frame.row)
                texts.setdefault(frame.negative_prompt, frame.row)
            if len({(frame.steps, frame.scheduler) for frame in walk.keyframes}) > 1:
                where = f"{manifest.name}: row {walk.keyframes[0].row}"
                yield f"{where}: steps or scheduler change within walk {walk.name!r}: expect a jump at the keyframe"
        for text, lost in model.lost_words(texts):
            yield f"{manifest.name}: row {texts[text]}: prompt over the model's token limit; it will not see: {lost!r}"


def settle(prepared: Prepared) -> Prepared:
    """With the plan of the output folder: the one recorded there, or from now on this one.

    Rows, unit sizes and threads that the job leaves open are those of the first run, so that a resume gives the same
    bits on another machine. Raises StoreError with the fields that differ, and for a folder with other things in it.
    """
    job, ledger = prepared.job, Ledger(prepared.job.output)
    if not (ledger.run / "plan.json").exists():
        if job.output.exists() and any(path.name != ".run" for path in job.output.iterdir()):
            raise StoreError(f"{job.output}: required a new or empty folder, or one of a run; got one with other files")
        ledger.run.mkdir(parents=True, exist_ok=True)
        prepared.manifest.write(ledger.run / "manifest.parquet")
        write_atomically(ledger.run / "job.yaml", to_yaml(job).encode())
        write_atomically(ledger.run / "plan.json", json.dumps(prepared.plan.to_dict(), indent=1).encode())
        return prepared
    recorded = load_plan(job.output)
    if differing := list(_differences(recorded, prepared)):
        raise StoreError(
            f"{job.output}: required the job that the folder was begun with, got another:\n  "
            + "\n  ".join(differing)
            + "\nGive it another output=FOLDER, or finish the first job as it was."
        )
    like_then = replace(job, workers=replace(job.workers, cpus=recorded.threads))
    workforce = choose_workforce(like_then, prepared.model, recorded.units)
    return replace(prepared, plan=recorded, workforce=workforce)


def load_plan(out: Path) -> Plan:
    """The recorded plan of an output folder. Raises StoreError where there is none."""
    try:
        return Plan.from_dict(json.loads((out / ".run" / "plan.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise StoreError(f"{out}: required the output folder of a run, got one without .run/plan.json") from None


def frozen_manifest(out: Path) -> Manifest:
    """The manifest of an output folder, every default filled in."""
    blank = Defaults("", 1, "linear", "slerp", 1, 1, 1, 1.0, "ddim", 0)  # nothing is left to be filled in
    return read_manifest(out / ".run" / "manifest.parquet", blank, SizeRule(1, 1, SIZE_MAX))


def _differences(recorded: Plan, prepared: Prepared) -> Iterator[str]:
    now, job = prepared.plan, prepared.job
    for name, value in now.fingerprint.items():
        if recorded.fingerprint.get(name) != value:
            yield f"{name}: {recorded.fingerprint.get(name)} then, {value} now"
    for name, asked, then, wanted in (
        ("workers.rows", job.workers.rows, recorded.rows, now.rows),
        ("workers.cpus", job.workers.cpus, recorded.threads, now.threads),
        ("store.unit_frames", job.store.unit_frames, recorded.unit_frames, now.unit_frames),
    ):
        if asked is not None and then != wanted:
            yield f"{name}: {then} then, {wanted} now"
