"""The job: one YAML file, checked key by key. OmegaConf stays in this module; frozen dataclasses leave it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from render.core import MAIN, JobError
from render.job.bounds import BOUNDS, POINTS_MAX
from render.job.settings import hide_signs, leaves, override, read_yaml, show_signs
from render.job.sweep import parse_sweep

__all__ = [
    "AnimationConfig",
    "JobConfig",
    "LoraConfig",
    "ModelConfig",
    "SamplingConfig",
    "SheetsConfig",
    "StoreConfig",
    "WorkersConfig",
    "load_job",
    "to_yaml",
]


LISTS = {"animation.formats": "[gif]", "sheets.kinds": "[walk]", "loras": "[{path: a.safetensors}]"}  # with examples
MODELS_KEY = re.compile(r"models\.([^.]*)")
MODEL_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class LoraConfig:
    """A change to a model's weights."""

    path: Path = Path()  # a safetensors file, relative to the job file
    weight: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """A model, and how it is used."""

    id: str = "starter"  # `starter`, a diffusers folder (relative to the job file) or a hub id OWNER/NAME
    revision: str | None = None  # branch, tag or commit of a hub model
    loras: tuple[LoraConfig, ...] = ()
    clip_skip: int | None = None  # last layers of the CLIP encoders that are left out
    tile_above: int | None = 2048  # pixels a side, above which the autoencoder works in tiles; null: never


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
    batch_rows: int | None = None  # batch size counted in network inputs: a guided image takes two
    address: str | None = None  # of a Ray cluster (`auto` inside one); null starts a local Ray
    deadline_s: float = 900.0  # a worker that gets nothing done for so long is replaced
    dtype: str = "auto"  # auto, float32 or bfloat16; auto is bfloat16 where the device is fast at it
    device: str = "auto"  # auto, cpu or cuda


@dataclass(frozen=True)
class StoreConfig:
    """How frames are stored."""

    format: str = "png"  # png, webp (lossless) or jpeg (quality 95)
    unit_frames: int | None = None  # frames a shard at most; null: by size and number of the frames


@dataclass(frozen=True)
class AnimationConfig:
    """How walks become files."""

    formats: tuple[str, ...] = ("gif", "mp4")  # and webp, apng: lossless
    subtitles: bool = False  # NAME.srt beside NAME.mp4
    fps: float = 12.0
    loop: str = "bounce"  # none, bounce or cycle
    crf: int = 18  # MP4 quality, 0 (best) … 51


@dataclass(frozen=True)
class SheetsConfig:
    """Which contact sheets are written."""

    kinds: tuple[str, ...] = ("sweep", "grid", "walk")  # and images: all of each row; still: the first
    cell: int = 256  # pixels of an image's longer side; larger ones are reduced


@dataclass(frozen=True)
class JobConfig:
    """One job: which manifest, which models, where to, on what."""

    manifest: Path = Path(MISSING)  # relative to the job file
    output: Path = Path(
        MISSING
    )  # relative to the current folder; out/NAME after the job file or manifest where missing
    media: Path | None = None  # folder of start images and sounds, relative to the job file; the manifest's where null
    seed: int = 0  # of walks and stills without one
    model: ModelConfig = field(default_factory=ModelConfig)
    models: dict[str, ModelConfig] = field(default_factory=dict)  # further ones, for the manifest's column `model`
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    animation: AnimationConfig = field(default_factory=AnimationConfig)
    sheets: SheetsConfig = field(default_factory=SheetsConfig)
    sweep: tuple[Any, ...] = ()  # groups: columns with their values, zipped; the groups are multiplied
    sweep_limit: int = 10_000  # points of the sweep at most

    @property
    def media_root(self) -> Path:
        """The folder that start images and sounds lie in."""
        return self.media or (self.manifest if self.manifest.is_dir() else self.manifest.parent)

    @property
    def all_models(self) -> dict[str, ModelConfig]:
        """Every model by its name in the manifest."""
        return {MAIN: self.model, **self.models}


def load_job(target: Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read a job file, or take a manifest with defaults, and apply `key=value` overrides in order.

    Raises JobError that lists every unknown key, wrong type and value out of range, each with where it stands.
    """
    if target.suffix in {".yaml", ".yml"}:
        settings = [(str(target), key, value) for key, value in leaves(read_yaml(target))]
    elif target.suffix in {".csv", ".parquet"} or target.is_dir():
        settings = [(str(target), "manifest", str(target.absolute()))]
    else:
        raise JobError(
            f"{target}: required a job (.yaml) or a manifest (.csv, .parquet or a folder), got {target.suffix!r}"
        )
    settings += [(f"override {text!r}", *override(text)) for text in overrides]
    config: DictConfig = OmegaConf.structured(JobConfig)
    errors = []
    for where, key, value in settings:
        try:
            config = _merge(config, key, value)
        except JobError as error:
            errors.append(f"{where}: key {key!r}: {error}")
    sources = {key: where for where, key, _ in settings}
    if "manifest" not in sources:
        errors.append(f"{target}: key 'manifest': required a path, got none")
    errors += [*_range_errors(config, sources), *_lora_errors(config, sources)]
    sweep = {key: value for _, key, value in settings}.get("sweep")
    try:
        parse_sweep(sweep, config.sweep_limit if 1 <= config.sweep_limit <= POINTS_MAX else POINTS_MAX)
    except JobError as error:
        errors.append(f"{sources['sweep']}: {error}")
    if errors:
        raise JobError("\n".join(errors))
    job = show_signs(OmegaConf.to_object(config))
    assert isinstance(job, JobConfig)
    output = job.output if "output" in sources else Path("out") / target.stem
    return _resolve_paths(replace(job, output=output, sweep=tuple(sweep or ())), target)


def to_yaml(job: JobConfig) -> str:
    """The whole job as YAML, every default written out."""

    def plain(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in pairs}

    return yaml.safe_dump(asdict(job, dict_factory=plain), allow_unicode=True, sort_keys=False)


def _keys(config: DictConfig, wanted: str) -> list[str]:
    """Every key of the config, those of a model that `wanted` names for the first time included."""
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    known = [key for key, _ in leaves({str(k): v for k, v in plain.items()})]
    if match := MODELS_KEY.match(wanted):
        if not MODEL_NAME.fullmatch(match[1]) or match[1] == MAIN:
            required = f"a name of letters, digits, '-' and '_' that begins with a letter and is not {MAIN!r}"
            raise JobError(f"required {required}; got {match[1]!r}")
        known += [f"{match[0]}.{name}" for name in ModelConfig.__dataclass_fields__]
    return known


def _merge(config: DictConfig, key: str, value: Any) -> DictConfig:
    """The config with one key set; `sweep`, which may hold anything, is left out. Raises JobError: required, got."""
    known = _keys(config, key)
    if key.startswith("sweep."):
        raise JobError(f"required a list of groups as the value of 'sweep', got {key!r}")
    if key not in known:
        same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = same or difflib.get_close_matches(key, known, 1, 0.4)
        inside = [name for name in known if name.startswith(f"{key}.")]
        hint = f"keys below it: {', '.join(inside)}" if inside else f"nearest: {near[0]}" if near else "none is near"
        raise JobError(f"required a known key, got {key!r} ({hint})")
    if key == "sweep":
        return config
    example = LISTS.get("loras" if key.endswith(".loras") else key)
    if example and not isinstance(value, list):
        raise JobError(f"required a list such as {example}, got {value!r}")
    nested = hide_signs(value)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        merged = OmegaConf.merge(config, nested)
    except (OmegaConfBaseException, TypeError) as error:
        said = show_signs(str(error).splitlines()[0])
        raise JobError(f"required another type, got {value!r} ({said})") from error
    assert isinstance(merged, DictConfig)
    return merged


def _range_errors(config: DictConfig, sources: dict[str, str]) -> Iterator[str]:
    bounds = dict(BOUNDS)
    for name, bound in BOUNDS.items():
        if name.startswith("model."):
            bounds |= {f"models.{model}.{name.removeprefix('model.')}": bound for model in config.models}
    for key, (required, holds) in bounds.items():
        value = OmegaConf.select(config, key)
        value = show_signs([*value] if OmegaConf.is_config(value) else value)
        if value is not None and not holds(value):
            near = difflib.get_close_matches(str(value), required.removeprefix("one of ").split(", "), 1)
            hint = f" (nearest: {near[0]})" if near and required.startswith("one of ") else ""
            yield f"{sources.get(key, 'job')}: key {key!r}: required {required}; got {value!r}{hint}"
    animation = config.animation
    if "gif" in animation.formats and animation.fps > 50:
        where = sources.get("animation.fps", "job")
        yield f"{where}: key 'animation.fps': required at most 50 for GIF (browsers slow faster ones); got {animation.fps}"


def _lora_errors(config: DictConfig, sources: dict[str, str]) -> Iterator[str]:
    for model in ("model", *(f"models.{name}" for name in config.models)):
        key = f"{model}.loras"
        for value in show_signs(OmegaConf.to_container(OmegaConf.select(config, key))):
            try:
                _lora(value)
            except JobError as error:
                yield f"{sources.get(key, 'job')}: key {key!r}: {error}"


def _lora(value: Any) -> LoraConfig:
    """One of a model's `loras`, which come as they were written. Raises JobError."""
    if not isinstance(value, dict):
        raise JobError(f"required path and weight of a LoRA, got {value!r}")
    config: DictConfig = OmegaConf.structured(LoraConfig)
    for name, part in value.items():
        config = _merge(config, str(name), part)
    lora = show_signs(OmegaConf.to_object(config))
    assert isinstance(lora, LoraConfig)
    if lora.path.suffix != ".safetensors":
        raise JobError(f"required the path of a .safetensors file, got {str(value.get('path', ''))!r}")
    if not math.isfinite(lora.weight):
        raise JobError(f"required a finite weight, got {lora.weight}")
    return lora


def _resolve_paths(job: JobConfig, target: Path) -> JobConfig:
    """Make paths independent of where the job file lies."""
    base = target.parent.absolute()
    return replace(
        job,
        manifest=(base / job.manifest).resolve(),
        output=job.output.absolute(),
        media=(base / job.media).resolve() if job.media else None,
        model=_locate(job.model, base),
        models={name: _locate(model, base) for name, model in job.models.items()},
    )


def _locate(model: ModelConfig, base: Path) -> ModelConfig:
    """A folder wins over a hub id of the same spelling."""
    local = base / Path(model.id).expanduser()
    name = str(local.resolve()) if model.id != "starter" and local.is_dir() else model.id
    loras = [_lora(value) for value in model.loras]
    found = tuple(replace(lora, path=(base / lora.path.expanduser()).resolve()) for lora in loras)
    return replace(model, id=name, loras=found)
