"""Check a job and plan it: models, manifest, counts, units, warnings. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from render.core import (
    FPS_MAX,
    GIF_FPS_MAX,
    MAIN,
    PIXELS_VERSION,
    ModelError,
    Target,
    Walk,
)
from render.job import JobConfig, ModelConfig, Workforce, choose_workforce, uses_gpu
from render.manifest import Defaults, Manifest, ModelRules, Naming, SizeRule, TableLike, read_manifest
from render.models import Changes, Model, SamplingDefaults, resolve_model
from render.plan import (
    BYTES_PER_PIXEL,
    Counts,
    Limits,
    Plan,
    count_alike,
    evaluations_with_cuts,
    legs,
    make_plan,
    motion_of,
    steps_of,
)

__all__ = ["Prepared", "largest_bytes", "plan_counts", "prepare", "resolve_models"]

WARNINGS_MAX = 20
TEXT_MAX = 120  # signs of a text in a warning
CHUNK = 10_000  # rows whose texts are checked at a time


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

    @property
    def expected_bytes(self) -> int:
        """Estimated size of the store in bytes, for photographs; flat pictures take less."""
        return int(self.counts.pixels * BYTES_PER_PIXEL[self.job.store.format])


def prepare(job: JobConfig, weights: bool = True, table: TableLike | None = None, rows_before: int = 0) -> Prepared:
    """Check everything that can be checked without rendering, and plan.

    `weights` asks for the weights of the models in use to be there, and fingerprints them. `table` is the manifest if that
    is in memory, and no file. Its rows are numbered as if `rows_before` others stood before them. Raises JobError,
    ModelError or ManifestError.
    """
    known = resolve_models(job, job.all_models, weights=False)
    rules = {name: _rules(job, model) for name, model in known.items()}
    naming = Naming(job.labels, job.columns)
    source = job.manifest if table is None else table
    manifest = read_manifest(source, _defaults(job), rules, job.sweep, naming, rows_before)
    models = resolve_models(job, manifest.models, weights)
    targets = {
        name: Target(model.fingerprint if weights else "", model.facts.guidance_embeds, job.all_models[name].tile_above)
        for name, model in models.items()
    }
    found = Warnings()
    found.add(*manifest.warnings, *_hive_warnings(job))
    counts = count_alike(_watched(manifest, found), targets)
    found.add(*_text_warnings(models, manifest))
    plan = plan_counts(job, counts, targets, _fingerprint(job, manifest, targets))
    counts = replace(counts, evaluations=evaluations_with_cuts(counts, plan))
    workforce = choose_workforce(job, largest_bytes(models), plan.units)
    plan = replace(plan, threads=workforce.threads, rows=manifest.row_count)
    return Prepared(
        job=job,
        models=models,
        manifest=manifest,
        counts=counts,
        workforce=workforce,
        plan=plan,
        warnings=found.lines,
    )


def plan_counts(job: JobConfig, counts: Counts, targets: dict[str, Target], fingerprint: dict[str, str]) -> Plan:
    """Fix batch sizes and units for counted walks, within the limits that the job and this machine set."""
    limits = Limits(job.workers.batch_rows, job.store.unit_frames, uses_gpu(job), job.store.format)
    return make_plan(counts, limits, fingerprint, targets)


def resolve_models(job: JobConfig, names: Iterable[str], weights: bool) -> dict[str, Model]:
    """Find and check some of the job's models. Raises ModelError with everything that is wrong with them."""
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


def largest_bytes(models: dict[str, Model]) -> int:
    """Return the size in bytes of the largest model's weights."""
    return max(model.weights_bytes for model in models.values())


def _changes(config: ModelConfig) -> Changes:
    return Changes(config.clip_skip, tuple((lora.path, lora.weight) for lora in config.loras))


def _defaults(job: JobConfig) -> Defaults:
    own = job.sampling
    return Defaults(
        negative_prompt=own.negative_prompt,
        frames=own.frames,
        easing=own.easing,
        interpolation=own.interpolation,
        seed=job.seed,
        media=job.media_root,
        fps=job.animation.fps,
        fps_max=GIF_FPS_MAX if "gif" in job.animation.formats else FPS_MAX,
    )


def _rules(job: JobConfig, model: Model) -> ModelRules:
    """Return the rules for rows of one model, with the job's defaults and, for what it leaves open, the model's."""
    own, native, facts = job.sampling, model.sampling, model.facts
    return ModelRules(
        sizes=SizeRule(facts.size_multiple, facts.size_min, facts.size_max),
        schedulers=facts.schedulers,
        guidance_embeds=facts.guidance_embeds,
        defaults=SamplingDefaults(
            width=own.width or native.width,
            height=own.height or native.height,
            steps=own.steps or native.steps,
            guidance=native.guidance if own.guidance is None else own.guidance,
            scheduler=own.scheduler or native.scheduler,
        ),
    )


def _fingerprint(job: JobConfig, manifest: Manifest, targets: dict[str, Target]) -> dict[str, str]:
    """Return everything that a store's content depends on, by the names that a refusal shows."""
    models = {"model" if name == MAIN else f"model {name}": target.fingerprint for name, target in targets.items()}
    return {
        "manifest": manifest.fingerprint,
        **models,
        "workers.dtype": job.workers.dtype,
        "store.format": job.store.format,
        "pixels version": str(PIXELS_VERSION),
    }


class Warnings:
    """The warnings of a plan: the first WARNINGS_MAX, and the number of the others."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._more = 0

    def add(self, *texts: str) -> None:
        for text in texts:
            if len(self._kept) < WARNINGS_MAX:
                self._kept.append(text)
            else:
                self._more += 1

    @property
    def lines(self) -> tuple[str, ...]:
        return (*self._kept, *([f"… and {self._more} more warnings"] if self._more else []))


def _hive_warnings(job: JobConfig) -> Iterator[str]:
    """Yield warnings of folders that readers take for columns, as of Hive's partitions."""
    for part in job.output.parts:
        name, equals, value = part.partition("=")
        if name and equals:
            yield f"output: DuckDB and others read the folder {part!r} as a column {name!r} that is {value!r} in every row"


def _watched(manifest: Manifest, found: Warnings) -> Iterator[tuple[Walk, int]]:
    """Yield the walks as they are counted, and add what is to be warned of in them, in the same pass."""
    for walk, times in manifest.alike():
        if not walk.still:
            found.add(*_walk_warnings(walk, manifest))
        yield walk, times


def _walk_warnings(walk: Walk, manifest: Manifest) -> Iterator[str]:
    moves = not {"steps", "scheduler"} & set(motion_of(walk).fixed)
    if moves and len({(keyframe.steps, keyframe.scheduler) for keyframe in walk.keyframes}) > 1:
        where = manifest.where(walk.start.row)
        yield f"{where}: steps or scheduler change within walk {walk.name!r}: expect a jump at the keyframe"
    if walk.anchor and any(leg.stem_steps == steps_of(leg.start) for leg in legs(walk)):
        where = manifest.where(walk.start.row)
        yield f"{where}: anchor leaves the frames of walk {walk.name!r} no step of their own: all will be alike"


def _text_warnings(models: dict[str, Model], manifest: Manifest) -> Iterator[str]:
    """Yield what the text encoders cut off, CHUNK rows at a time."""
    table = manifest.select("model", "prompt", "negative_prompt", "source_row")
    for start in range(0, manifest.row_count, CHUNK):
        texts: dict[str, dict[str, int]] = {name: {} for name in models}  # of each model, text → first row
        columns = (column.to_pylist() for column in table.slice(start, CHUNK).columns)
        for model, prompt, negative, row in zip(*columns, strict=True):
            texts[model].setdefault(prompt, row)
            texts[model].setdefault(negative, row)
        for name, own in texts.items():
            for text, lost in models[name].lost_words(own):
                where = manifest.where(own[text])
                yield f"{where}: prompt over the model's token limit; it will not see: {_ends(lost)!r}"


def _ends(text: str) -> str:
    """Return the beginning and the end of a long text."""
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 30]} … {text[-25:]}"
