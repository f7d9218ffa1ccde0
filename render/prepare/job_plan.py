"""Check a job and plan it: models, manifest, counts, units, warnings. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from render.core import (
    FPS_MAX,
    GIF_FPS_MAX,
    MAIN,
    PIXELS_VERSION,
    TRAIN,
    JobError,
    ModelError,
    Target,
    plain_url,
)
from render.job import JobConfig, ModelConfig, Site, Workforce, choose_workforce, expected_workers, uses_gpu
from render.manifest import (
    Defaults,
    Manifest,
    ModelRules,
    Naming,
    SizeRule,
    TableLike,
    check_weights,
    literal_signs,
    read_manifest,
)
from render.models import Changes, Model, SamplingDefaults, resolve_model
from render.plan import (
    BYTES_PER_PIXEL,
    Counts,
    Limits,
    Plan,
    count_alike,
    evaluations_with_cuts,
    make_plan,
)
from render.prepare.balance import Balance, balance_of
from render.prepare.compiling import decide_compile
from render.prepare.site import look_at
from render.prepare.surprises import Warnings, hive_warnings, metrics_warnings, text_warnings, watched

__all__ = ["Prepared", "largest_bytes", "plan_counts", "prepare", "resolve_models"]


@dataclass(frozen=True)
class Prepared:
    """A job that can be rendered."""

    job: JobConfig
    models: dict[str, Model]  # that the manifest uses, by their names in the job, in the order of their first rows
    manifest: Manifest
    counts: Counts
    site: Site  # where the workers run
    workforce: Workforce
    plan: Plan
    compile_reason: str  # why the plan compiles the networks, or does not
    warnings: tuple[str, ...]
    command: str = ""  # that goes on with the job in a shell, without secrets; "" where there is none

    @cached_property
    def balance(self) -> tuple[Balance, ...]:
        """Frames by the values of each label that has few, and of the splits if there are several."""
        return balance_of(self.manifest)

    @property
    def expected_bytes(self) -> int:
        """Estimated size of the store in bytes, for photographs; flat pictures take less."""
        return int(self.counts.pixels * BYTES_PER_PIXEL[self.job.store.format])


def prepare(
    job: JobConfig,
    weights: bool = True,
    check_files: bool = False,
    table: TableLike | None = None,
    rows_before: int = 0,
    site: Site | None = None,
) -> Prepared:
    """Check everything that can be checked without rendering, and plan.

    `weights` asks for the weights of the models in use to be there, and fingerprints them; with `check_files` every byte of
    them is read, else known digests are used, and the networks are built without weights and compared with the files.
    `table` is the manifest if that is in memory, and no file. Its rows are numbered as if `rows_before` others stood before
    them. `site` is where the workers run, if that is known; otherwise this machine, or the cluster at the job's address, is
    looked at. Raises JobError, ModelError or ManifestError.
    """
    known = resolve_models(job, job.all_models, weights=False)
    rules = {name: _rules(job, model) for name, model in known.items()}
    naming = Naming(job.labels, job.columns)
    source = job.manifest if table is None else table
    manifest = read_manifest(source, _defaults(job), rules, job.sweep, naming, rows_before)
    _check_syntax(job, known, manifest)
    models = resolve_models(job, manifest.models, weights)
    for model in models.values() if check_files else ():
        model.check_files()
        model.check_networks()
    targets = _targets(job, models, weights)
    counts, warnings = _count(job, manifest, models, targets)
    site = _site(job, site)
    plan = plan_counts(job, counts, targets, _fingerprint(job, manifest, targets), largest_bytes(models), site)
    counts = replace(counts, evaluations=evaluations_with_cuts(counts, plan))
    workforce = choose_workforce(job, largest_bytes(models), plan.units, site)
    decision = decide_compile(job, models, counts, workforce)
    plan = replace(plan, threads=workforce.threads, compile=decision.on, rows=manifest.row_count)
    plan = replace(plan, has_splits=manifest.splits != (TRAIN,))
    return Prepared(
        job=job,
        models=models,
        manifest=manifest,
        counts=counts,
        site=site,
        workforce=workforce,
        plan=plan,
        compile_reason=decision.reason,
        warnings=(*filter(None, [decision.warning, _no_gpus(job, site)]), *warnings),
    )


def _site(job: JobConfig, known: Site | None) -> Site:
    """Return where the workers run. Raises JobError for a cluster whose workers, on CPUs, can't share out the batch size."""
    site, rows = known or look_at(job.workers.address), job.workers.batch_rows
    if rows is not None and rows & (rows - 1) and not uses_gpu(job, site):
        raise JobError(f"key 'workers.batch_rows': required a power of two on a CPU; got {rows}")
    return site


def _no_gpus(job: JobConfig, site: Site) -> str:
    """Return the warning that a cluster has no GPU and none was asked for; "" otherwise."""
    if not site.is_cluster or site.gpus or job.workers.device != "auto" or job.workers.gpus is not None:
        return ""
    return "workers: the cluster has no GPU now, so workers run on CPUs; workers.gpus=1 has them wait for one"


def _targets(job: JobConfig, models: dict[str, Model], weights: bool) -> dict[str, Target]:
    """Return the facts about the models that recipes depend on; without weights they have no fingerprints."""
    return {
        name: Target(
            model.fingerprint if weights else "",
            model.facts.guidance_embeds,
            job.all_models[name].tile_above,
            job.sampling.prompt_syntax,
        )
        for name, model in models.items()
    }


def plan_counts(
    job: JobConfig,
    counts: Counts,
    targets: dict[str, Target],
    fingerprint: dict[str, str],
    weights_bytes: int,
    site: Site,
) -> Plan:
    """Fix batch sizes and units for counted walks, within the limits that the job and the site of its workers set.

    `weights_bytes` is the size of the largest model's weights.
    """
    workers = expected_workers(choose_workforce(job, weights_bytes, counts.frames, site), site)
    limits = Limits(job.workers.batch_rows, job.store.unit_frames, uses_gpu(job, site), job.store.format, workers)
    return make_plan(counts, limits, fingerprint, targets)


def _count(
    job: JobConfig, manifest: Manifest, models: dict[str, Model], targets: dict[str, Target]
) -> tuple[Counts, tuple[str, ...]]:
    """Return the counts of a manifest, and what the plan warns of."""
    found = Warnings()
    found.add(*metrics_warnings(job))
    found.add(*manifest.warnings, *hive_warnings(job), *literal_signs(manifest, job.sampling.prompt_syntax))
    counts = count_alike(watched(manifest, found), targets)
    if job.sampling.prompt_syntax != "weighted":  # weighted prompts are read in several windows
        found.add(*text_warnings(models, manifest))
    return counts, found.lines


def _check_syntax(job: JobConfig, models: dict[str, Model], manifest: Manifest) -> None:
    """Raise JobError for weights with a model that has none, or ManifestError for weights that are too large."""
    if job.sampling.prompt_syntax != "weighted":
        return
    for name in manifest.models:
        if not models[name].facts.weighted:
            which = "the model" if name == MAIN else f"model {name!r}"
            required = f"plain with {which} (weighted is for Stable Diffusion 1.x and 2.x and SDXL)"
            raise JobError(f"key 'sampling.prompt_syntax': required {required}, got weighted")
    check_weights(manifest, str(job.manifest))


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
        media_urls=tuple(plain_url(url) for url in job.media_urls),
        fps=job.animation.fps,
        fps_max=GIF_FPS_MAX if "gif" in job.animation.formats else FPS_MAX,
        splits=job.splits,
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
