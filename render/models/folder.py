"""A model folder and its JSON files, read in bounded memory; what `model_index.json` says of its components."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from render.core import ModelError, is_folder, shorten, why_unreadable
from render.models.families import UNUSED

__all__ = ["LIBRARIES", "ModelFolder", "Part", "check_parts", "parts", "read_json"]

LIBRARIES = ("diffusers", "transformers")  # a component of another library would run code from the model folder
JSON_BYTES = 32 * 2**20
LAYERS_MAX = 1000
SIZE_MAX = 2**24  # of an integer in a network's configuration
LIST_MAX = 1000  # values of a list in a network's configuration
LAYERS = re.compile(r"(num|n)_.*(layers|blocks)|.*layers_per_block|num_layers")
ROLES = {  # component without its number: library, class names
    "unet": ("diffusers", r"(?!Flax)\w*UNet\w*Model"),
    "transformer": ("diffusers", r"(?!Flax)\w*Transformer\w*Model"),
    "vae": ("diffusers", r"(?!Flax)\w*(Autoencoder|VAE)\w*"),
    "scheduler": ("diffusers", r"(?!Flax)\w+Scheduler"),
    "text_encoder": ("transformers", r"(?!Flax|TF)\w*(Model|Encoder)\w*"),
    "tokenizer": ("transformers", r"\w+Tokenizer(Fast)?"),
}
Part = tuple[str, str]  # (library, class)


def read_json(file: Path) -> Any:
    """Return the value in a JSON file. Raises ValueError, whose text is the reason."""
    if why := why_unreadable(file):
        raise ValueError(why)
    try:
        with file.open(encoding="utf-8") as stream:
            text = stream.read(JSON_BYTES + 1)
        if len(text) > JSON_BYTES:
            raise ValueError(f"more than {JSON_BYTES:,} characters")
        return json.loads(text)
    except OSError as error:
        raise ValueError(str(error)) from error
    except RecursionError:
        raise ValueError("lists and objects nested too deep") from None


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder under the id that the job gives it."""

    id: str
    revision: str
    path: Path

    def config(self, component: str) -> dict[str, Any]:
        """Return the JSON configuration of a component, {} if the model has no such component."""
        name = "scheduler_config.json" if component == "scheduler" else "config.json"
        file = self.path / component / name
        if not is_folder(file.parent):
            return {}
        config = self.json(file)
        if component not in ("scheduler", "tokenizer"):
            self._check_sizes(file, config)
        return config

    def json(self, file: Path) -> dict[str, Any]:
        """Return the object in a JSON file. Raises ModelError if it is no JSON object."""
        name = file.relative_to(self.path)
        try:
            value = read_json(file)
        except ValueError as error:
            raise self.error(f"a JSON file {name}", shorten(error)) from error
        if not isinstance(value, dict):
            raise self.error(f"a JSON object in {name}", type(value).__name__)
        return value

    def error(self, required: str, got: str) -> ModelError:
        return ModelError(f"model {shorten(self.id)}: required {required}, got {got}")

    def _check_sizes(self, file: Path, config: dict[str, Any]) -> None:
        """Raise ModelError for sizes of a network that no machine could hold."""
        name = file.relative_to(self.path)
        for key, value in config.items():
            most = LAYERS_MAX if LAYERS.fullmatch(key) else SIZE_MAX
            values = value if isinstance(value, list) else [value]
            if len(values) > LIST_MAX:
                raise self.error(f"at most {LIST_MAX:,} values of {shorten(key)!r} in {name}", f"{len(values):,}")
            for one in values:
                if isinstance(one, int | float) and not isinstance(one, bool) and one > most:
                    raise self.error(f"at most {most:,} as {shorten(key)!r} in {name}", shorten(one))


def parts(folder: ModelFolder, index: dict[str, Any]) -> dict[str, Part]:
    """Return the library and class of each component that is not left out. Raises ModelError for what is no component."""
    found = {}
    for name, part in index.items():
        if name.startswith("_") or not isinstance(part, list):
            continue
        if part == [None, None]:
            continue
        if len(part) != 2 or not all(isinstance(word, str) for word in part):
            raise folder.error(f"[library, class] as {shorten(name)!r} in model_index.json", shorten(part))
        library, class_name = part
        if library not in LIBRARIES:
            got = f"{shorten(name)} of {shorten(repr(library))}"
            raise folder.error(f"components of {' and '.join(LIBRARIES)}", got)
        if name not in UNUSED and not is_folder(folder.path / name):
            raise folder.error(f"a folder {shorten(name)}/ with its configuration", "none")
        found[name] = library, class_name
    return found


def check_parts(folder: ModelFolder, index: dict[str, Any], found: dict[str, Part], required: Iterable[str]) -> None:
    """Raise ModelError unless every required component is there, of a class for its place."""
    for name in required:
        if name not in found:
            got = shorten(json.dumps(index[name])) if name in index else "none"
            raise folder.error(f"[library, class] as {name!r} in model_index.json", got)
        library, pattern = ROLES[name.rstrip("_0123456789")]
        if found[name][0] != library or not re.fullmatch(pattern, found[name][1], re.ASCII):
            required_class = f"a class of {library} for {name!r} in model_index.json"
            raise folder.error(required_class, shorten(" ".join(map(repr, found[name]))))
        for class_name in _own_classes(folder, name):
            if not re.fullmatch(pattern, class_name, re.ASCII):
                where = f"the configuration of a {found[name][1]} in {name}/"
                raise folder.error(where, f"that of {shorten(class_name)}: another component's folder?")


def _own_classes(folder: ModelFolder, name: str) -> Iterator[str]:
    """Yield the classes that a component's own configuration is of, those of the folder's index not counted."""
    if name.startswith("tokenizer"):
        return
    config = folder.config(name)
    classes = config.get("architectures") if "_class_name" not in config else [config["_class_name"]]
    yield from map(str, classes if isinstance(classes, list) else [])
