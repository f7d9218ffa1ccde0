"""The job: one YAML file, checked key by key. OmegaConf stays in this module; frozen dataclasses leave it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from render.recipe import EASINGS, FORMATS, INTERPOLATIONS, SCHEDULERS, SEED_MAX, JobError

__all__ = [
    "AnimationConfig",
    "JobConfig",
    "ModelConfig",
    "SamplingConfig",
    "StoreConfig",
    "WorkersConfig",
    "load_job",
    "to_yaml",
]


@dataclass(frozen=True)
class ModelConfig:
    """Which model renders, and how its numbers are held."""

    id: str = "starter"  # `starter`, a diffusers folder (relative to the job file) or a hub id OWNER/NAME
    revision: str | None = None  # branch, tag or commit of a hub model
    dtype: str = "auto"  # auto, float32 or bfloat16; auto is bfloat16 where the device is fast at it
    device: str = "auto"  # auto, cpu or cuda


@dataclass(frozen=True)
class SamplingConfig:
    """What empty manifest cells take; null takes what suits the model."""

    negative_prompt: str = ""
    frames: int = 24  # from a keyframe to the next
    easing: str = "linear"
    interpolation: str = "slerp"
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class WorkersConfig:
    """On what the frames are rendered; null is chosen from the machine."""

    count: int | None = None  # actors
    cpus: int | None = None  # CPU cores a worker, also its torch threads
    gpus: float | None = None  # GPUs a worker
    rows: int | None = None  # rows of the denoiser
    address: str | None = None  # of a Ray cluster (`auto` inside one); null starts a local Ray
    deadline_s: float = 900.0  # a worker that gets nothing done for so long is replaced


@dataclass(frozen=True)
class StoreConfig:
    """How frames are stored."""

    format: str = "png"  # png, webp (lossless) or jpeg (quality 95)
    unit_frames: int | None = None  # frames a shard at most; null: by size and number of the frames


@dataclass(frozen=True)
class AnimationConfig:
    """How walks become files."""

    formats: tuple[str, ...] = ("gif", "mp4")
    fps: float = 12.0
    loop: str = "bounce"  # none, bounce or cycle
    crf: int = 18  # MP4 quality, 0 (best) … 51


@dataclass(frozen=True)
class JobConfig:
    """One job: which manifest, which model, where to, on what."""

    manifest: Path = Path(MISSING)  # relative to the job file
    output: Path = Path(
        MISSING
    )  # relative to the current folder; out/NAME after the job file or manifest where missing
    seed: int = 0  # of walks and stills without one
    model: ModelConfig = field(default_factory=ModelConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    animation: AnimationConfig = field(default_factory=AnimationConfig)


def _among(*choices: str) -> tuple[str, Any]:
    return f"one of {', '.join(choices)}", lambda value: value in choices


def _between(low: float, high: float) -> tuple[str, Any]:
    text = f"a number from {low:g} to {high:g}" if high < math.inf else f"a finite number from {low:g}"
    return text, lambda value: math.isfinite(value) and low <= value <= high


CHECKS: dict[str, tuple[str, Any]] = {
    "output": ("a folder that every worker can reach by this path", lambda value: ":/" not in str(value)),  # no URL
    "seed": (f"0 … {SEED_MAX}", lambda value: 0 <= value <= SEED_MAX),
    "model.dtype": _among("auto", "float32", "bfloat16"),
    "model.device": _among("auto", "cpu", "cuda"),
    "sampling.frames": _between(1, 1_000_000),
    "sampling.easing": _among(*EASINGS),
    "sampling.interpolation": _among(*INTERPOLATIONS),
    "sampling.width": _between(1, 8192),
    "sampling.height": _between(1, 8192),
    "sampling.steps": _between(1, 1000),
    "sampling.guidance": _between(0, math.inf),
    "sampling.scheduler": _among(*SCHEDULERS),
    "workers.count": _between(1, 100_000),
    "workers.cpus": _between(1, 1024),
    "workers.gpus": _between(0, 64),
    "workers.rows": _between(1, 4096),
    "workers.deadline_s": _between(1, math.inf),
    "store.format": _among(*FORMATS),
    "store.unit_frames": _between(1, 100_000),
    "animation.formats": ("a list of gif, mp4", lambda value: set(value) <= {"gif", "mp4"}),
    "animation.fps": _between(0.1, 240),
    "animation.loop": _among("none", "bounce", "cycle"),
    "animation.crf": _between(0, 51),
}


def load_job(target: Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read a job file, or take a manifest with defaults, and apply `key=value` overrides in order.

    Raises JobError that lists every unknown key, wrong type and value out of range, each with where it stands.
    """
    if target.suffix in {".yaml", ".yml"}:
        settings = [(str(target), key, value) for key, value in _leaves(_read_yaml(target))]
    elif target.suffix in {".csv", ".parquet"}:
        settings = [(str(target), "manifest", str(target.absolute()))]
    else:
        raise JobError(f"{target}: required a job (.yaml) or a manifest (.csv, .parquet), got {target.suffix!r}")
    settings += [(f"override {text!r}", *_override(text)) for text in overrides]
    config: DictConfig = OmegaConf.structured(JobConfig)
    errors = []
    for where, key, value in settings:
        try:
            config = _merge(config, key, value)
        except JobError as error:
            errors.append(f"{where}: key {key!r}: {error}")
    if str(config.manifest) == MISSING:
        errors.append(f"{target}: key 'manifest': required a path, got none")
    errors += _range_errors(config, {key: where for where, key, _ in settings})
    if errors:
        raise JobError("\n".join(errors))
    job = OmegaConf.to_object(config)
    assert isinstance(job, JobConfig)
    return _resolve_paths(job, target)


def to_yaml(job: JobConfig) -> str:
    """The whole job as YAML, every default written out."""
    paths = {"manifest": str(job.manifest), "output": str(job.output)}
    return str(OmegaConf.to_yaml({**asdict(job), **paths}))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"{path}: required a job file, got no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise JobError(f"{path}: required a YAML file, got {error}") from error
    if not isinstance(value, dict):
        raise JobError(f"{path}: required a mapping of keys, got {type(value).__name__}")
    return value


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise JobError(f"override {text!r}: required key=value, got no '='")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise JobError(f"override {text!r}: required a YAML value after '=', got {value!r}") from error


def _keys(config: DictConfig) -> list[str]:
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    return [key for key, _ in _leaves({str(k): v for k, v in plain.items()})]


def _merge(config: DictConfig, key: str, value: Any) -> DictConfig:
    """The config with one key set. Raises JobError with what was required and got."""
    known = _keys(config)
    if key not in known:
        near = difflib.get_close_matches(key, known, 1, 0.4)
        inside = [name for name in known if name.startswith(f"{key}.")]
        hint = f"keys below it: {', '.join(inside)}" if inside else f"nearest: {near[0]}" if near else "none is near"
        raise JobError(f"required a known key, got {key!r} ({hint})")
    nested = value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        merged = OmegaConf.merge(config, nested)
    except OmegaConfBaseException as error:
        raise JobError(f"required another type, got {value!r} ({str(error).splitlines()[0]})") from error
    assert isinstance(merged, DictConfig)
    return merged


def _range_errors(config: DictConfig, sources: dict[str, str]) -> Iterable[str]:
    for key, (required, holds) in CHECKS.items():
        value = OmegaConf.select(config, key)
        if value is not None and not holds(value):
            near = difflib.get_close_matches(str(value), required.removeprefix("one of ").split(", "), 1)
            hint = f" (nearest: {near[0]})" if near and required.startswith("one of ") else ""
            yield f"{sources.get(key, 'job')}: key {key!r}: required {required}; got {value!r}{hint}"
    animation = config.animation
    if "gif" in animation.formats and animation.fps > 50:
        where = sources.get("animation.fps", "job")
        yield f"{where}: key 'animation.fps': required at most 50 for GIF (browsers slow faster ones); got {animation.fps}"


def _resolve_paths(job: JobConfig, target: Path) -> JobConfig:
    """Make paths independent of where the job file lies; a model folder wins over a hub id of the same spelling."""
    base = target.parent.absolute()
    local = base / Path(job.model.id).expanduser()
    model = replace(job.model, id=str(local.resolve())) if job.model.id != "starter" and local.is_dir() else job.model
    output = Path("out") / target.stem if str(job.output) == MISSING else job.output
    return replace(job, manifest=(base / job.manifest).resolve(), output=output.absolute(), model=model)
