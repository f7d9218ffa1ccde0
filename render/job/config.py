"""Read a job, one YAML file, and check it key by key. OmegaConf stays in this module; frozen dataclasses leave it."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from render.core import (
    GIF_FPS_MAX,
    MAIN,
    SCHEDULERS,
    TABLE_ENDINGS,
    JobError,
    ObjectPath,
    WebPath,
    any_path,
    expand_home,
    input_path,
    is_folder,
    is_url,
    nearest_schedulers,
    plain_url,
    real_path,
    scheduler_meant,
    shorten,
    table_ending,
    table_name,
    why_no_table,
    without_secrets,
)
from render.job.bounds import BOUNDS, POINTS_MAX
from render.job.columns import parse_columns
from render.job.keys import JobConfig, LoraConfig, ModelConfig
from render.job.settings import hide_signs, is_secret, is_whole, leaves, override, read_yaml, show_signs, shown
from render.job.splits import parse_splits
from render.job.sweep import UNSWEPT, parse_sweep
from render.job.workforce import Site, this_machine, uses_gpu

__all__ = ["load_job", "output_given"]

SWITCHES = {"workers.compile"}  # whose values `on` and `off` YAML reads as true and false
LISTS = {
    "animation.formats": "[gif]",
    "labels": "[kind]",
    "media_urls": "[https://host/folder]",
    "notify": "[json://host/path]",
    "notify_on": "[failed]",
    "sheets.kinds": "[walk]",
    "loras": "[{path: a.safetensors}]",
}  # key: example
KEYS_MAX = 1000  # of a job file
CLUSTER = Site(cores=1, gpus=1.0, memory_bytes=0, is_cluster=True)  # that may have GPUs: it is looked at later
MODELS_KEY, MODEL_NAME = re.compile(r"models\.([^.]*)"), re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def load_job(target: str | Path, overrides: Sequence[str] = (), in_memory: bool = False) -> JobConfig:
    """Read a job file, or take a manifest with all defaults, and apply `key=value` overrides in their order.

    With `in_memory`, `target` is the name of a manifest that is no file. Raises JobError with every unknown key, wrong
    type and value out of range, each with its place.
    """
    target = Path(target) if in_memory else _target(target)
    settings = _settings(target, overrides, in_memory)
    config: DictConfig = OmegaConf.structured(JobConfig)
    errors, sweep = [], UNSWEPT
    for where, key, value in settings:
        try:
            config = _merge(config, key, value)
        except JobError as error:
            errors.append(f"{where}: key {shorten(repr(key))}: {error}")
    sources = {key: where for where, key, _ in settings}
    if "manifest" not in sources:
        errors.append(f"{target}: key 'manifest': required a path, got none")
    errors += _range_errors(config, sources)
    mappings: dict[str, Any] = {"columns": parse_columns(settings, errors), "splits": parse_splits(settings, errors)}
    loras = _parse_loras(config, sources, errors)
    limit = config.sweep_limit if 1 <= config.sweep_limit <= POINTS_MAX else POINTS_MAX
    try:
        sweep = parse_sweep({key: value for _, key, value in settings}.get("sweep"), limit)
    except JobError as error:
        errors.append(f"{sources['sweep']}: {error}")
    errors += _url_errors(config, sources)
    if errors:
        raise JobError("\n".join(errors))
    job = show_signs(OmegaConf.to_object(config))
    assert isinstance(job, JobConfig)
    output = any_path(job.output if "output" in sources else Path("out") / table_name(target))
    return _resolve_paths(replace(job, output=output, sweep=sweep, **mappings), loras, target)


def output_given(target: str | Path, overrides: Sequence[str]) -> Path | None:
    """Return `output` as job file or overrides write it, None for neither. Raises JobError."""
    given = [value for _, key, value in _settings(_target(target), overrides, in_memory=False) if key == "output"]
    return expand_home(any_path(str(given[-1]))) if given else None


def _target(target: str | Path) -> Path:
    """Return the path of a job file or a manifest. Raises JobError for a URL that can't be used."""
    try:
        path = input_path(target)
    except ValueError as error:
        raise JobError(f"target: {error}") from None
    if isinstance(path, WebPath) and path.suffix in {".yaml", ".yml"}:
        raise JobError(f"target: required a job file on this machine, or a manifest; got {path}")
    return expand_home(path)


def _settings(target: Path, overrides: Sequence[str], in_memory: bool) -> list[tuple[str, str, Any]]:
    """Return (place, key, value) of everything that target and overrides set, in order. Raises JobError."""
    if target.suffix in {".yaml", ".yml"} and not in_memory:
        settings = [(str(target), key, value) for key, value in leaves(read_yaml(target))]
    elif in_memory or table_ending(target) or is_folder(target):
        settings = [(str(target), "manifest", target.url if isinstance(target, WebPath) else str(target.absolute()))]
    else:
        required = f"a job (.yaml) or a manifest ({', '.join(TABLE_ENDINGS)} or a folder)"
        raise JobError(
            f"{shorten(target)}: required {required}, got {shorten(repr(target.suffix))}{why_no_table(target)}"
        )
    own = [(f"override {shown(text)!r}", *override(text)) for text in overrides]
    if in_memory and any(key == "manifest" for _, key, _ in own):
        raise JobError(f"key 'manifest': required one manifest; got the {target} in memory, too")
    _check_keys(settings, str(target))
    return settings + own


def _check_keys(settings: Sequence[tuple[str, str, Any]], where: str) -> None:
    """Raise JobError for a file with more keys than a job can have, or with one in two spellings (`a: {b: 1}`, `a.b: 1`)."""
    if len(settings) > KEYS_MAX:
        raise JobError(f"{where}: required at most {KEYS_MAX:,} keys, got {len(settings):,}")
    seen = set()
    for _, key, _ in settings:
        if key in seen:
            raise JobError(f"{where}: key {shorten(repr(key))}: required once, got it twice (nested, and with dots)")
        seen.add(key)


def _keys(config: DictConfig, wanted: str) -> list[str]:
    """Return all keys of the config, and the keys of the model that `wanted` belongs to even if that model is new."""
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    known = [key for key, _ in leaves({str(k): v for k, v in plain.items()})]
    if match := MODELS_KEY.match(wanted):
        if not MODEL_NAME.fullmatch(match[1]) or match[1] == MAIN:
            required = f"a name of letters, digits, '-' and '_' that begins with a letter and is not {MAIN!r}"
            raise JobError(f"required {required}; got {shorten(repr(match[1]))}")
        known += [f"{match[0]}.{name}" for name in ModelConfig.__dataclass_fields__]
    return known


def _merge(config: DictConfig, key: str, value: Any) -> DictConfig:
    """Return the config with one key set, except one that has a parser of its own. Raises JobError: required, got."""
    known = _keys(config, key)
    if key.startswith("sweep."):
        raise JobError(f"required a list of groups as the value of 'sweep', got {shorten(repr(key))}")
    if key not in known and not is_whole(key):
        same = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
        near = same or difflib.get_close_matches(key, known, 1, 0.4)
        inside = [name for name in known if name.startswith(f"{key}.")]
        hint = f"keys below it: {', '.join(inside)}" if inside else f"nearest: {near[0]}" if near else "none is near"
        raise JobError(f"required a known key, got {shorten(repr(key))} ({hint})")
    if is_whole(key):
        return config
    if key == "sampling.scheduler" and isinstance(value, str):
        value = scheduler_meant(value) or value
    example = LISTS.get("loras" if key.endswith(".loras") else key)
    got = "…, which is not shown" if is_secret(key) else shorten(repr(value))
    if example and not isinstance(value, list):
        raise JobError(f"required a list such as {example}, got {got}")
    if key in SWITCHES and isinstance(value, bool):
        value = "on" if value else "off"
    nested = hide_signs(value)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    try:
        merged = OmegaConf.merge(config, nested)
    except (OmegaConfBaseException, TypeError) as error:
        if is_secret(key):
            raise JobError(f"required another type, got {got}") from None
        reason = show_signs(str(error).splitlines()[0])
        raise JobError(f"required another type, got {got} ({shorten(reason)})") from error
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
            if key == "sampling.scheduler":
                near = [*nearest_schedulers(str(value), SCHEDULERS)]
            hint = f" (nearest: {near[0]})" if near and required.startswith("one of ") else ""
            got = shorten(without_secrets(repr(value)))
            yield f"{sources.get(key, 'job')}: key {key!r}: required {required}; got {got}{hint}"
    rows = config.workers.batch_rows  # which the threads of a CPU share in equal parts
    site = this_machine() if config.workers.address is None else CLUSTER
    if rows is not None and rows & (rows - 1) and not uses_gpu(cast(JobConfig, config), site):
        where = sources.get("workers.batch_rows", "job")
        yield f"{where}: key 'workers.batch_rows': required a power of two on a CPU; got {rows}"
    animation = config.animation
    if "gif" in animation.formats and animation.fps > GIF_FPS_MAX:
        required = f"at most {GIF_FPS_MAX} for GIF (browsers slow faster ones)"
        yield f"{sources.get('animation.fps', 'job')}: key 'animation.fps': required {required}; got {animation.fps}"


def _url_errors(config: DictConfig, sources: dict[str, str]) -> Iterator[str]:
    """Yield what is wrong with URLs of inputs. Those that are stored as they stand have no query."""
    models = ["model", *(f"models.{name}" for name in config.models)]
    for key in ("manifest", "media", "media_urls", *(f"{model}.id" for model in models)):
        value = OmegaConf.select(config, key)
        values = [*value] if key == "media_urls" else [] if value is None else [value]
        for one in (show_signs(str(part)) for part in values):
            try:
                if key == "manifest":
                    input_path(one)
                elif key == "media_urls" or is_url(one):
                    found = plain_url(one)
                    if key.endswith(".id") and not isinstance(found, ObjectPath):
                        raise ValueError(f"required a folder, a bucket's or a hub id, got {without_secrets(one)!r}")
            except ValueError as error:
                yield f"{sources.get(key, 'job')}: key {key!r}: {error}"


def _parse_loras(config: DictConfig, sources: dict[str, str], errors: list[str]) -> dict[str, list[LoraConfig]]:
    """Parse the LoRAs of every model, by its name in the manifest. Adds what is wrong to `errors`."""
    found: dict[str, list[LoraConfig]] = {}
    for name in (MAIN, *config.models):
        key = "model.loras" if name == MAIN else f"models.{name}.loras"
        found[name] = []
        for value in show_signs(OmegaConf.to_container(OmegaConf.select(config, key))):
            try:
                found[name].append(_parse_lora(value))
            except JobError as error:
                errors.append(f"{sources.get(key, 'job')}: key {key!r}: {error}")
    return found


def _parse_lora(value: Any) -> LoraConfig:
    """Parse one entry of a model's `loras`. Raises JobError."""
    if not isinstance(value, dict):
        raise JobError(f"required path and weight of a LoRA, got {shorten(repr(value))}")
    config: DictConfig = OmegaConf.structured(LoraConfig)
    for name, part in value.items():
        config = _merge(config, str(name), part)
    lora = show_signs(OmegaConf.to_object(config))
    assert isinstance(lora, LoraConfig)
    try:
        lora = replace(lora, path=input_path(lora.path))
    except ValueError as error:
        raise JobError(str(error)) from None
    if lora.path.suffix != ".safetensors":
        raise JobError(f"required the path of a .safetensors file, got {shorten(repr(str(value.get('path', ''))))}")
    if not math.isfinite(lora.weight):
        raise JobError(f"required a finite weight, got {lora.weight}")
    return lora


def _resolve_paths(job: JobConfig, loras: dict[str, list[LoraConfig]], target: Path) -> JobConfig:
    """Give the models their LoRAs, and make all paths absolute. Job files have them relative to themselves.

    The job file in an output folder has absolute ones already, also where that lies in a bucket. URLs stay as they are.
    """
    base = Path.cwd() if is_url(target) else target.parent.absolute()
    return replace(
        job,
        manifest=_found(base, job.manifest),
        output=expand_home(job.output).absolute(),
        media=_found(base, job.media) if job.media else None,
        model=_locate(job.model, loras[MAIN], base),
        models={name: _locate(model, loras[name], base) for name, model in job.models.items()},
    )


def _found(base: Path, path: Path) -> Path:
    """Return the path of an input, absolute; relative ones lie below `base`."""
    path = input_path(path)
    return path if is_url(path) else real_path(base / expand_home(path))


def _locate(model: ModelConfig, loras: Iterable[LoraConfig], base: Path) -> ModelConfig:
    """Resolve the paths of a model; an existing folder wins over a hub id of the same spelling."""
    found = tuple(replace(lora, path=_found(base, lora.path)) for lora in loras)
    if is_url(model.id):
        return replace(model, id=str(input_path(model.id)), loras=found)
    local = base / expand_home(model.id)
    name = str(real_path(local)) if model.id != "starter" and is_folder(local) else model.id
    return replace(model, id=name, loras=found)
