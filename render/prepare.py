"""From a job to everything that is known before the first frame: models, manifest, plan, warnings. Loads no torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from render.config import JobConfig, ModelConfig, to_yaml
from render.durable import replacing, write_atomically
from render.families import SamplingDefaults
from render.ledger import Ledger
from render.machine import Workforce, choose_workforce, uses_gpu
from render.manifest import Manifest, read_frozen, read_manifest
from render.model import Changes, Model, resolve_model
from render.motion import legs, steps_of
from render.plan import BYTES_PER_PIXEL, Counts, Limits, Plan, count_walks, evaluations_with_cuts, make_plan
from render.recipe import MAIN, PIXELS_VERSION, ModelError, StoreError, Target
from render.rules import Defaults, ModelRules, SizeRule
from render.sweep import parse_sweep
from render.vocabulary import FPS_MAX, GIF_FPS_MAX

__all__ = ["Prepared", "frozen_manifest", "load_plan", "prepare", "resolve_models", "settle", "sound_path"]

WARNINGS_MAX = 20
CHUNK = 10_000  # walks checked at a time


@dataclass(frozen=True)
class Prepared:
    """A job that can be rendered."""

    job: JobConfig
    models: dict[str, Model]  # that the manifest uses, by their names in the job, in the order of their first rows
    manifest: Manifest
    counts: Counts
    workforce: Workforce
    plan: Plan
    warnings: tuple[str, ...]
    sweep: int = 1  # points

    @property
    def expected_bytes(self) -> int:
        """A guess at the store's size, for photographs; flat pictures take less."""
        return int(self.counts.pixels * BYTES_PER_PIXEL[self.job.store.format])


def prepare(job: JobConfig, weights: bool = True) -> Prepared:
    """Check everything that can be checked without rendering, and plan.

    `weights` asks for the weights of the models in use to be there, and fingerprints them. Raises JobError, ModelError
    or ManifestError.
    """
    known = resolve_models(job, job.all_models, weights=False)
    rules = {name: _rules(job, model) for name, model in known.items()}
    sweep = parse_sweep(job.sweep, job.sweep_limit)
    manifest = read_manifest(job.manifest, _defaults(job), rules, sweep)
    models = resolve_models(job, manifest.models, weights)
    targets = {
        name: Target(model.fingerprint if weights else "", model.facts.distilled, job.all_models[name].tile_above)
        for name, model in models.items()
    }
    counts = count_walks(manifest.walks(), targets)
    limits = Limits(job.workers.rows, job.store.unit_frames, uses_gpu(job), job.store.format)
    plan = make_plan(counts, limits, _fingerprint(job, manifest, targets), targets)
    counts = replace(counts, evaluations=evaluations_with_cuts(counts, plan))
    workforce = choose_workforce(job, models.values(), plan.units)
    plan = replace(plan, threads=workforce.threads)
    return Prepared(job, models, manifest, counts, workforce, plan, tuple(_warnings(models, manifest)), sweep.count)


def resolve_models(job: JobConfig, names: Iterable[str], weights: bool) -> dict[str, Model]:
    """Some of the job's models. Raises ModelError with what is wrong with any of them."""
    found, errors = {}, []
    for name in names:
        config = job.all_models[name]
        try:
            found[name] = resolve_model(config.id, config.revision, Path.cwd(), weights, _changes(config))
        except ModelError as error:
            errors.append(str(error) if name == MAIN else f"models.{name}: {error}")
    if errors:
        raise ModelError("\n".join(errors))
    return found


def _changes(config: ModelConfig) -> Changes:
    return Changes(config.clip_skip, tuple((lora.path, lora.weight) for lora in config.loras))


def _defaults(job: JobConfig) -> Defaults:
    own, fps_max = job.sampling, GIF_FPS_MAX if "gif" in job.animation.formats else FPS_MAX
    still = Defaults(own.negative_prompt, own.frames, own.easing, own.interpolation, job.seed, job.media_root)
    return replace(still, fps=job.animation.fps, fps_max=fps_max)


def _rules(job: JobConfig, model: Model) -> ModelRules:
    """The model's own, where the job says nothing else."""
    own, native, facts = job.sampling, model.sampling, model.facts
    return ModelRules(
        sizes=SizeRule(facts.size_multiple, facts.size_min, facts.size_max),
        schedulers=facts.schedulers,
        distilled=facts.distilled,
        defaults=SamplingDefaults(
            width=own.width or native.width,
            height=own.height or native.height,
            steps=own.steps or native.steps,
            guidance=native.guidance if own.guidance is None else own.guidance,
            scheduler=own.scheduler or native.scheduler,
        ),
    )


def _fingerprint(job: JobConfig, manifest: Manifest, targets: dict[str, Target]) -> dict[str, str]:
    """What a store's content depends on, by the name that a refusal tells."""
    models = {"model" if name == MAIN else f"model {name}": target.fingerprint for name, target in targets.items()}
    return {
        "manifest": manifest.fingerprint,
        **models,
        "workers.dtype": job.workers.dtype,
        "store.format": job.store.format,
        "pixels version": str(PIXELS_VERSION),
    }


def _warnings(models: dict[str, Model], manifest: Manifest) -> Iterator[str]:
    """What will surprise but does not stop the start: at most WARNINGS_MAX lines of it."""
    found = _surprises(models, manifest)
    yield from islice(found, WARNINGS_MAX)
    if more := sum(1 for _ in found):
        yield f"… and {more} more warnings"


def _surprises(models: dict[str, Model], manifest: Manifest) -> Iterator[str]:
    walks = manifest.walks()
    while chunk := list(islice(walks, CHUNK)):
        texts: dict[str, dict[str, int]] = {name: {} for name in models}  # of each model, text → first row
        for walk in chunk:
            for frame in walk.keyframes:
                own = texts[frame.model]
                own.setdefault(frame.prompt, frame.row)
                own.setdefault(frame.negative_prompt, frame.row)
            start = walk.keyframes[0]
            if start.motion == "line" and len({(frame.steps, frame.scheduler) for frame in walk.keyframes}) > 1:
                where = manifest.where(start.row)
                yield f"{where}: steps or scheduler change within walk {walk.name!r}: expect a jump at the keyframe"
            if start.anchor and any(leg.stem == steps_of(leg.start) for leg in legs(walk)):
                where = manifest.where(start.row)
                yield f"{where}: anchor leaves the frames of walk {walk.name!r} no step of their own: all will be alike"
        for name, own in texts.items():
            for text, lost in models[name].lost_words(own):
                where = manifest.where(own[text])
                yield f"{where}: prompt over the model's token limit; it will not see: {lost!r}"


def settle(prepared: Prepared) -> Prepared:
    """With the plan of the output folder: the one recorded there, or from now on this one.

    Rows, unit sizes and threads that the job leaves open are those of the first run, so that a resume gives the same
    bits on another machine. Raises StoreError with the fields that differ, and for a folder with other things in it.
    """
    job, ledger = prepared.job, Ledger(prepared.job.output)
    if job.output.is_file():
        raise StoreError(f"{job.output}: required a new or empty folder, or one of a run; got a file")
    if not (ledger.run / "plan.json").exists():
        if job.output.exists() and any(path.name != ".run" for path in job.output.iterdir()):
            raise StoreError(f"{job.output}: required a new or empty folder, or one of a run; got one with other files")
        ledger.run.mkdir(parents=True, exist_ok=True)
        _keep_sounds(job, prepared.manifest)
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
    workforce = choose_workforce(like_then, prepared.models.values(), recorded.units)
    return replace(prepared, plan=recorded, workforce=workforce)


def sound_path(out: Path, audio: str, sha256: str) -> Path:
    """Where an output folder keeps a walk's sound, so that the walk can be animated wherever the folder is."""
    return out / ".run" / "audio" / f"{sha256}{Path(audio).suffix}"


def _keep_sounds(job: JobConfig, manifest: Manifest) -> None:
    for sha256, audio in manifest.sounds.items():
        kept = sound_path(job.output, audio, sha256)
        kept.parent.mkdir(exist_ok=True)
        with replacing(kept) as temporary:
            shutil.copyfile(job.media_root / audio, temporary)


def load_plan(out: Path) -> Plan:
    """The recorded plan of an output folder. Raises StoreError where there is none."""
    try:
        return Plan.from_dict(json.loads((out / ".run" / "plan.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        got = "a file" if out.is_file() else "one without .run/plan.json" if out.is_dir() else "no such folder"
        raise StoreError(f"{out}: required the output folder of a run, got {got}") from None


def frozen_manifest(out: Path) -> Manifest:
    """The manifest of an output folder, every default filled in."""
    return read_frozen(out / ".run" / "manifest.parquet")


def _differences(recorded: Plan, prepared: Prepared) -> Iterator[str]:
    now, job = prepared.plan, prepared.job
    for name in {**recorded.fingerprint, **now.fingerprint}:
        if recorded.fingerprint.get(name) != now.fingerprint.get(name):
            yield f"{name}: {recorded.fingerprint.get(name)} then, {now.fingerprint.get(name)} now"
    for name, target in now.targets.items():
        before = recorded.targets.get(name, target)
        if before.tile_above != target.tile_above:
            key = "model" if name == MAIN else f"models.{name}"
            yield f"{key}.tile_above: {before.tile_above} then, {target.tile_above} now"
    for name, asked, then, wanted in (
        ("workers.rows", job.workers.rows, recorded.rows, now.rows),
        ("workers.cpus", job.workers.cpus, recorded.threads, now.threads),
        ("store.unit_frames", job.store.unit_frames, recorded.unit_frames, now.unit_frames),
    ):
        if asked is not None and then != wanted:
            yield f"{name}: {then} then, {wanted} now"
