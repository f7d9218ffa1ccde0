"""Find a model, check its folder, and read its facts from JSON files. Imports neither torch nor diffusers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from render.core import (
    WEIGHTS_BYTES,
    ModelError,
    expand_home,
    is_folder,
    is_url,
    local_file,
    shorten,
)
from render.models.digests import checked_sha256, known_sha256
from render.models.download import SINGLE_FILES, from_bucket, from_hub, from_share
from render.models.families import Facts, SamplingDefaults, pipelines, read_facts
from render.models.folder import ModelFolder, check_parts, parts
from render.models.headers import parameters, read_header
from render.models.loras import check_lora_libraries
from render.models.sampling import read_sampling
from render.models.tokens import TokenLimit, read_token_limit
from render.starter import PIPELINE

__all__ = ["Changes", "Model", "resolve_model"]

NETWORKS = ("unet", "transformer")  # component that denoises; a pipeline has one of them


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes that a job makes to a model."""

    clip_skip: int | None = None  # number of last layers of the CLIP encoders to leave out
    loras: tuple[tuple[Path, float], ...] = ()  # (safetensors file or its URL, weight)


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
    loras: tuple[tuple[Path, float], ...] = field(repr=False)  # (safetensors file on this machine, weight)

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

    def check_networks(self) -> None:
        """Build the networks without their weights and compare them with the files' headers. Raises ModelError.

        Loads torch and diffusers, but no weight.
        """
        from render.models.families.meta import component_faults, fit_loras

        folder = ModelFolder(self.id, self.revision, self.path)
        index = folder.json(self.path / "model_index.json")
        found, errors = parts(folder, index), list[str]()
        built: dict[str, Any] = {}
        for name in (*self.facts.networks, *self.facts.others):
            component, faults = component_faults(index["_class_name"], self.path, name, found[name])
            built |= {name: component} if name in self.facts.networks else {}
            errors += [str(folder.error(*fault)) for fault in faults]
        if errors:
            raise ModelError("\n".join(errors))
        if self.loras:
            fit_loras(index["_class_name"], built, self.loras)

    def _hash(self, digest_of: Callable[[Path], str]) -> str:
        total = hashlib.sha256()
        for name in self.files:
            total.update(f"{name.as_posix()} {digest_of(self.path / name)}\n".encode())
        for file, weight in self.loras:
            total.update(f"LoRA {digest_of(file)} {weight!r}\n".encode())
        if self.changes.clip_skip is not None:
            total.update(f"clip_skip {self.changes.clip_skip}\n".encode())
        return total.hexdigest()[:16]

    @property
    def weights_bytes(self) -> int:
        """Size of the weights once loaded in float32, in bytes."""
        return sum(4 * parameters(self.path / name) for name in self.files if name.suffix == ".safetensors")

    @property
    def network_parameters(self) -> int:
        """Number of the parameters of the denoising network, 0 where its weights are not on this machine."""
        own = [name for name in self.files if name.parts[0] in NETWORKS and name.suffix == ".safetensors"]
        return sum(parameters(self.path / name) for name in own)

    def resolve_here(self) -> Model:
        """Resolve the same model on the machine this runs on. Raises ModelError if its fingerprint is another there.

        Of the workers of a machine, one fetches the model, copies it from a network file system and hashes it; the others
        wait for that, and read what is in memory by then.
        """
        found = resolve_model(self.id, self.revision or None, Path.cwd(), changes=self.changes)
        found = replace(found, path=from_share(found.path))
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
    """Find and check a model: `starter`, a diffusers folder (relative to `base`, or in a bucket), or a hub id.

    A model of a bucket or the hub that is not cached is downloaded, its weights only if `weights`. Raises ModelError if
    there is no such model, or if it is incomplete, unsafe to load or of an unknown pipeline class.
    """
    if model_id == "starter":
        return _read_model(ModelFolder(model_id, "", PIPELINE), weights, changes)
    if is_url(model_id):
        return _read_model(ModelFolder(model_id, "", from_bucket(model_id, weights)), weights, changes)
    local = base / expand_home(model_id)
    if is_folder(local):
        return _read_model(ModelFolder(model_id, "", local), weights, changes)
    if local.suffix.casefold() in SINGLE_FILES:
        there = "" if os.path.isfile(local) else ", which is not there"
        raise ModelError(
            f"model.id: required 'starter', a diffusers folder or a hub id OWNER/NAME, got {shorten(repr(model_id))}"
            f"{there} (a checkpoint in one file: diffusers makes a folder of it by"
            " StableDiffusionPipeline.from_single_file(FILE).save_pretrained(FOLDER), or the pipeline of its kind)"
        )
    if model_id.count("/") != 1 or model_id.startswith((".", "/", "~")):
        raise ModelError(
            f"model.id: required 'starter', a diffusers folder or a hub id OWNER/NAME, got {shorten(repr(model_id))}"
        )
    path = from_hub(model_id, revision, weights)
    return _read_model(ModelFolder(model_id, path.name, path), weights, changes)


def _read_model(source: ModelFolder, weights: bool, changes: Changes) -> Model:
    index = source.json(source.path / "model_index.json")
    known = pipelines()
    pipeline = str(index.get("_class_name"))
    if pipeline not in known:
        raise source.error(f"a pipeline of {', '.join(known)}", shorten(pipeline))
    found = parts(source, index)
    family = known[pipeline]
    try:
        facts = read_facts(family, source.config)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        got = f"{type(error).__name__}: {shorten(error)}"
        raise source.error(f"the configuration of a {pipeline}", got) from error
    check_parts(source, index, found, (*facts.networks, *facts.others))
    loras = _check_changes(source, facts, changes)
    files = tuple(_component_files(source, facts, weights))
    facts = replace(facts, sampling=read_sampling(source, facts))
    return Model(source.id, source.revision, source.path, family, facts, changes, files, loras)


def _check_changes(source: ModelFolder, facts: Facts, changes: Changes) -> tuple[tuple[Path, float], ...]:
    """Return the LoRAs as files of this machine.

    Raises ModelError if the model does not allow the changes, or a LoRA file is broken.
    """
    if changes.loras and not facts.loras:
        raise source.error("a job without model.loras, which its pipeline does not load", "LoRAs")
    if changes.loras:
        check_lora_libraries()
    try:
        loras = tuple((local_file(path, WEIGHTS_BYTES), weight) for path, weight in changes.loras)
    except OSError as error:
        raise ModelError(f"model.loras: {error}") from None
    for file, _ in loras:
        _check_weights(source, file, whole=True)
    skip, layers = changes.clip_skip, facts.clip_layers
    if skip is not None and not 1 <= skip < layers:
        most = f"of 1 … {layers - 1}" if layers > 1 else "that is empty, since the model has no CLIP layers to skip"
        raise source.error(f"model.clip_skip {most}", str(skip))
    return loras


def _component_files(source: ModelFolder, facts: Facts, weights: bool) -> Iterator[Path]:
    """Yield every file that pixels depend on. Raises ModelError if a component or its weights are missing or incomplete."""
    yield Path("model_index.json")
    for component in sorted((*facts.networks, *facts.others)):
        folder = source.path / component
        names = sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
        if not any(name.endswith(".json") for name in names):
            raise source.error(f"a folder {component}/ with its configuration", "none")
        safe = [name for name in names if name.endswith(".safetensors") and name.count(".") == 1]
        if component in facts.networks:
            _check_network(source, folder, names, safe, weights)
        yield from (
            Path(component, name) for name in names if name.endswith((".json", ".txt", ".model")) or name in safe
        )


def _check_network(source: ModelFolder, folder: Path, names: list[str], safe: list[str], weights: bool) -> None:
    """Raise ModelError if a network's weights are not safetensors, or broken; with `weights`, also if some are missing."""
    for index in (name for name in names if name.endswith(".safetensors.index.json") and name.count(".") == 3):
        places = source.json(folder / index).get("weight_map", {})
        if not isinstance(places, dict) or not all(isinstance(place, str) for place in places.values()):
            raise source.error(f"file names as weight_map in {folder.name}/{index}", shorten(places))
        absent = sorted(set(places.values()) - set(safe))
        if absent and weights:
            got = "no such file: a download half done?"
            raise source.error(f"{folder.name}/{shorten(absent[0])}, which {index} names", got)
    if not safe and weights:
        pickles = [name for name in names if name.endswith((".bin", ".ckpt", ".pt", ".pth"))]
        got = f"only {', '.join(pickles)}: a pickle runs code when it is loaded" if pickles else "no weights"
        raise source.error(f"safetensors weights in {folder.name}/", got)
    for name in safe:
        _check_weights(source, folder / name, weights)


def _check_weights(source: ModelFolder, file: Path, whole: bool) -> None:
    """Raise ModelError if a file is not in safetensors format, or with `whole` not as long as its header says."""
    try:
        expected, size = read_header(file).file_bytes, file.stat().st_size
    except (OSError, ValueError) as error:
        raise source.error(f"a safetensors file {file}", shorten(error)) from error
    if whole and size != expected:
        raise source.error(f"{expected:,} bytes in {file}", f"{size:,}: a download half done?")
