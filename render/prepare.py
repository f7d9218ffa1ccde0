"""Check a job and plan it: models, manifest, counts, units, warnings. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from render.compiling import decide_compile
from render.core import (
    FPS_MAX,
    GIF_FPS_MAX,
    MAIN,
    PIXELS_VERSION,
    JobError,
    ModelError,
    Target,
)
from render.job import JobConfig, ModelConfig, Workforce, choose_workforce, uses_gpu
from render.manifest import (
    Defaults,
    Manifest,
    ModelRules,
    SizeRule,
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
    count_walks,
    evaluations_with_cuts,
    legs,
    make_plan,
    motion_of,
    steps_of,
)

__all__ = ["Prepared", "largest_bytes", "prepare", "resolve_models"]

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
    compile_reason: str  # why the plan compiles the networks, or does not
    warnings: tuple[str, ...]

    @property
    def expected_bytes(self) -> int:
        """Estimated size of the store in bytes, for photographs; flat pictures take less."""
        return int(self.counts.pixels * BYTES_PER_PIXEL[self.job.store.format])


def prepare(job: JobConfig, weights: bool = True, check_files: bool = False) -> Prepared:
    """Check everything that can be checked without rendering, and plan.

    `weights` asks for the weights of the models in use to be there, and fingerprints them; with `check_files` every byte of
    them is read, else known digests are used. Raises JobError, ModelError or ManifestError.
    """
    known = resolve_models(job, job.all_models, weights=False)
    rules = {name: _rules(job, model) for name, model in known.items()}
    manifest = read_manifest(job.manifest, _defaults(job), rules, job.sweep)
    _check_syntax(job, known, manifest)
    models = resolve_models(job, manifest.models, weights)
    for model in models.values() if check_files else ():
        model.check_files()
    targets = {
        name: Target(
            model.fingerprint if weights else "",
            model.facts.guidance_embeds,
            job.all_models[name].tile_above,
            job.sampling.prompt_syntax,
        )
        for name, model in models.items()
    }
    counts = count_walks(manifest.walks(), targets)
    workers = choose_workforce(job, largest_bytes(models), counts.frames).count or 1
    limits = Limits(job.workers.batch_rows, job.store.unit_frames, uses_gpu(job), job.store.format, workers)
    plan = make_plan(counts, limits, _fingerprint(job, manifest, targets), targets)
    counts = replace(counts, evaluations=evaluations_with_cuts(counts, plan))
    workforce = choose_workforce(job, largest_bytes(models), plan.units)
    decision = decide_compile(job, models, counts, workforce)
    plan = replace(plan, threads=workforce.threads, compile=decision.on)
    return Prepared(
        job=job,
        models=models,
        manifest=manifest,
        counts=counts,
        workforce=workforce,
        plan=plan,
        compile_reason=decision.reason,
        warnings=(*filter(None, [decision.warning]), *_warnings(job, models, manifest)),
    )


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


def _warnings(job: JobConfig, models: dict[str, Model], manifest: Manifest) -> Iterator[str]:
    """Yield warnings, at most WARNINGS_MAX lines."""
    found = _all_warnings(job, models, manifest)
    yield from islice(found, WARNINGS_MAX)
    if more := sum(1 for _ in found):
        yield f"… and {more} more warnings"


def _all_warnings(job: JobConfig, models: dict[str, Model], manifest: Manifest) -> Iterator[str]:
    weighted = job.sampling.prompt_syntax == "weighted"
    yield from literal_signs(manifest, job.sampling.prompt_syntax)
    walks = manifest.walks()
    while chunk := list(islice(walks, CHUNK)):
        texts: dict[str, dict[str, int]] = {name: {} for name in models}  # of each model, text → first row
        for walk in chunk:
            own = texts[walk.model]
            for keyframe in walk.keyframes:
                own.setdefault(keyframe.prompt, keyframe.row)
                own.setdefault(keyframe.negative_prompt, keyframe.row)
            moves = not {"steps", "scheduler"} & set(motion_of(walk).fixed)
            if moves and len({(keyframe.steps, keyframe.scheduler) for keyframe in walk.keyframes}) > 1:
                where = manifest.where(walk.start.row)
                yield f"{where}: steps or scheduler change within walk {walk.name!r}: expect a jump at the keyframe"
            if walk.anchor and any(leg.stem_steps == steps_of(leg.start) for leg in legs(walk)):
                where = manifest.where(walk.start.row)
                yield f"{where}: anchor leaves the frames of walk {walk.name!r} no step of their own: all will be alike"
        for name, own in texts.items() if not weighted else ():  # weighted prompts are read in several windows
            for text, lost in models[name].lost_words(own):
                where = manifest.where(own[text])
                yield f"{where}: prompt over the model's token limit; it will not see: {lost!r}"
