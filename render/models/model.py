"""Find a model, check its folder, and read its facts from JSON files. Imports neither torch nor diffusers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from render.core import ModelError, expand_home
from render.models.digests import checked_sha256, known_sha256
from render.models.families import UNUSED, Facts, SamplingDefaults, pipelines, read_facts
from render.models.loras import check_lora_libraries
from render.models.tokens import TokenLimit, read_token_limit
from render.starter import PIPELINE

__all__ = ["Changes", "Model", "resolve_model"]

NETWORKS = ("unet", "transformer")  # component that denoises; a pipeline has one of them
SINGLE_FILES = (
    ".safetensors",
    ".ckpt",
    ".pt",
    ".pth",
    ".bin",
    ".gguf",
)  # endings of what other programs load as a model
LIBRARIES = ("diffusers", "transformers")  # a component of another library would run code from the model folder


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that a job makes to a model."""

    clip_skip: int | None = None  # number of last layers of the CLIP encoders to leave out
    loras: tuple[tuple[Path, float], ...] = ()  # (safetensors file, weight)


@dataclass(frozen=True)
class Model:
    """A diffusers model folder, checked to be complete and safe to load."""

    id: str
    revision: str  # commit of a hub model, "" otherwise
    path: Path
    family: str  # name of a module in render.models.families
    facts: Facts
    changes: Changes
    files: tuple[Path, ...] = field(repr=False)  # that the pixels depend on, relative to path

    @property
    def sampling(self) -> SamplingDefaults:
        """Sampling settings for rows and jobs that give none."""
        return self.facts.sampling

    @cached_property
    def fingerprint(self) -> str:
        """Hash of configs, tokenizers, weights and the job's changes: 16 hexadecimal digits of a SHA-256.

        Weights are not read again where their digests are known: see `known_sha256`.
        """
        return self._hash(known_sha256)

    def check_files(self) -> None:
        """Read all files and compute the fingerprint afresh. Raises ModelError when a hub file is damaged."""
        self.__dict__["fingerprint"] = self._hash(checked_sha256)  # in the place where the property keeps it

    def _hash(self, digest_of: Callable[[Path], str]) -> str:
        total = hashlib.sha256()
        for name in self.files:
            total.update(f"{name.as_posix()} {digest_of(self.path / name)}\n".encode())
        for file, weight in self.changes.loras:
            total.update(f"LoRA {digest_of(file)} {weight!r}\n".encode())
        if self.changes.clip_skip is not None:
            total.update(f"clip_skip {self.changes.clip_skip}\n".encode())
        return total.hexdigest()[:16]

    @property
    def weights_bytes(self) -> int:
        """Size of the weights once loaded in float32, in bytes."""
        return sum(4 * _parameters(self.path / name) for name in self.files if name.suffix == ".safetensors")

    @property
    def network_parameters(self) -> int:
        """Number of the parameters of the denoising network, 0 where its weights are not on this machine."""
        own = [name for name in self.files if name.parts[0] in NETWORKS and name.suffix == ".safetensors"]
        return sum(_parameters(self.path / name) for name in own)

    def resolve_here(self) -> Model:
        """Resolve the same model on the machine this runs on. Raises ModelError if its fingerprint is another there."""
        found = resolve_model(self.id, self.revision or None, Path.cwd(), changes=self.changes)
        if found.fingerprint != self.fingerprint:
            raise ModelError(f"model {self.id}: required fingerprint {self.fingerprint}, got {found.fingerprint} here")
        return found

    def lost_words(self, prompts: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield (prompt, its words that every text encoder cuts off) for the prompts over every encoder's token limit.

        Yields nothing for a model with a tokenizer that only its own library can read.
        """
        lost = dict.fromkeys(prompts, "")
        for number, limit in enumerate(self._token_limits):
            if limit is None:
                return
            found = limit.lost_words(lost)
            lost = {text: words if number == 0 else min(words, lost[text], key=len) for text, words in found.items()}
        yield from lost.items()

    @cached_property
    def _token_limits(self) -> list[TokenLimit | None]:
        return [read_token_limit(self.path / one.tokenizer, one.room) for one in self.facts.encoders]


def resolve_model(
    model_id: str, revision: str | None, base: Path, weights: bool = True, changes: Changes = Changes()
) -> Model:
    """Find and check a model: `starter`, a local diffusers folder (relative to `base`), or a hub id.

    A hub model that is not cached is downloaded, its weights only if `weights`. Raises ModelError if there is no such
    model, or if it is incomplete, unsafe to load or of an unknown pipeline class.
    """
    local = base / expand_home(model_id)
    if model_id == "starter":
        return _read_model(Source(model_id, "", PIPELINE), weights, changes)
    if local.is_dir():
        return _read_model(Source(model_id, "", local), weights, changes)
    if local.suffix.casefold() in SINGLE_FILES:
        there = "" if local.is_file() else ", which is not there"
        raise ModelError(
            f"model.id: required 'starter', a diffusers folder or a hub id OWNER/NAME, got {model_id!r}"
            f"{there} (a checkpoint in one file: diffusers makes a folder of it by"
            " StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER), or the pipeline of its kind)"
        )
    if model_id.count("/") != 1 or model_id.startswith((".", "/", "~")):
        raise ModelError(f"model.id: required 'starter', a diffusers folder or a hub id OWNER/NAME, got {model_id!r}")
    path = _download(model_id, revision, weights)
    return _read_model(Source(model_id, path.name, path), weights, changes)


@dataclass(frozen=True, slots=True)
class Source:
    """A model folder under the id that the job gives it."""

    id: str
    revision: str
    path: Path

    def config(self, component: str) -> dict[str, Any]:
        """Return the JSON configuration of a component, {} if the model has no such component."""
        name = "scheduler_config.json" if component == "scheduler" else "config.json"
        file = self.path / component / name
        return self.json(file) if file.parent.is_dir() else {}

    def json(self, file: Path) -> dict[str, Any]:
        """Return the object in a JSON file. Raises ModelError if it is no JSON object."""
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.error(f"a JSON file {file.relative_to(self.path)}", str(error)) from error
        if not isinstance(value, dict):
            raise self.error(f"a JSON object in {file.relative_to(self.path)}", type(value).__name__)
        return value

    def error(self, required: str, got: str) -> ModelError:
        return ModelError(f"model {self.id}: required {required}, got {got}")


def _download(model_id: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*/*.json", "*/*.txt", "*/*.model"] + (["*/*.safetensors"] if weights else [])
    unused = [*(f"{name}/*" for name in UNUSED), "*.fp16*", "*.non_ema*"]
    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=patterns, ignore_patterns=unused))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model.id: required 'starter', a diffusers folder or a hub model that can be downloaded, got {model_id!r}"
            f" ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def _read_model(source: Source, weights: bool, changes: Changes) -> Model:
    index = source.json(source.path / "model_index.json")
    known = pipelines()
    if (pipeline := index.get("_class_name")) not in known:
        raise source.error(f"a pipeline of {', '.join(known)}", str(pipeline))
    for name, (library, *_) in ((name, part) for name, part in index.items() if isinstance(part, list)):
        if library not in {*LIBRARIES, None}:
            raise source.error(f"components of {' and '.join(LIBRARIES)}", f"{name} of {library!r}")
        if library and name not in UNUSED and not (source.path / name).is_dir():
            raise source.error(f"a folder {name}/ with its configuration", "none")
    family = known[pipeline]
    try:
        facts = read_facts(family, source.config)
    except (KeyError, TypeError, ValueError) as error:
        raise source.error(f"the configuration of a {pipeline}", f"{type(error).__name__}: {error}") from error
    _check_changes(source, facts, changes)
    files = tuple(_component_files(source, facts, weights))
    own = source.path / "sampling.json"
    facts = replace(facts, sampling=replace(facts.sampling, **source.json(own))) if own.exists() else facts
    return Model(source.id, source.revision, source.path, family, facts, changes, files)


def _check_changes(source: Source, facts: Facts, changes: Changes) -> None:
    """Raise ModelError if the model does not allow the changes, or a LoRA file is broken."""
    if changes.loras and not facts.loras:
        raise source.error("a job without model.loras, which its pipeline does not load", "LoRAs")
    if changes.loras:
        check_lora_libraries()
    for file, _ in changes.loras:
        _check_weights(source, file)
    skip, layers = changes.clip_skip, facts.clip_layers
    if skip is not None and not 1 <= skip < layers:
        most = f"of 1 … {layers - 1}" if layers > 1 else "that is empty, since the model has no CLIP layers to skip"
        raise source.error(f"model.clip_skip {most}", str(skip))


def _component_files(source: Source, facts: Facts, weights: bool) -> Iterator[Path]:
    """Yield every file that pixels depend on. Raises ModelError if a component or its weights are missing or incomplete."""
    yield Path("model_index.json")
    for component in sorted((*facts.networks, *facts.others)):
        folder = source.path / component
        names = sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
        if not any(name.endswith(".json") for name in names):
            raise source.error(f"a folder {component}/ with its configuration", "none")
        safe = [name for name in names if name.endswith(".safetensors") and name.count(".") == 1]
        if weights and component in facts.networks:
            _check_network(source, folder, names, safe)
        yield from (
            Path(component, name) for name in names if name.endswith((".json", ".txt", ".model")) or name in safe
        )


def _check_network(source: Source, folder: Path, names: list[str], safe: list[str]) -> None:
    """Raise ModelError if a network's weights are not safetensors, or some of them are missing."""
    for index in (name for name in names if name.endswith(".safetensors.index.json") and name.count(".") == 3):
        parts = sorted(set(source.json(folder / index).get("weight_map", {}).values()))
        if absent := [part for part in parts if part not in safe]:
            raise source.error(f"{folder.name}/{absent[0]}, which {index} names", "no such file: a download half done?")
    if not safe:
        pickles = [name for name in names if name.endswith((".bin", ".ckpt", ".pt", ".pth"))]
        got = f"only {', '.join(pickles)}: a pickle runs code when it is loaded" if pickles else "no weights"
        raise source.error(f"safetensors weights in {folder.name}/", got)
    for name in safe:
        _check_weights(source, folder / name)


def _check_weights(source: Source, file: Path) -> None:
    """Raise ModelError if a file is not in safetensors format, or not as long as its header says."""
    try:
        length, header = _header(file)
        end = max((tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"), default=0)
        expected, size = 8 + length + end, file.stat().st_size
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise source.error(f"a safetensors file {file}", f"{type(error).__name__}: {error}") from error
    if size != expected:
        raise source.error(f"{expected:,} bytes in {file}", f"{size:,}: a download half done?")


def _header(file: Path) -> tuple[int, dict[str, Any]]:
    """Return length in bytes and content of a safetensors header, stored as eight bytes of length, then JSON."""
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"its header ends at byte {length:,} of {file.stat().st_size:,}")
        return length, json.loads(stream.read(length))


def _parameters(file: Path) -> int:
    _, header = _header(file)
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
