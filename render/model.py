"""Which model, where it lies and what it can do, read from its folder's JSON files. Loads neither torch nor diffusers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from render.recipe import ModelError
from render.starter import PIPELINE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FAMILIES", "Model", "SamplingDefaults", "resolve_model"]

FAMILIES = {"StableDiffusionPipeline": "sd"}  # diffusers pipeline class → module of render.families
COMPONENTS = {"sd": ("scheduler", "text_encoder", "tokenizer", "unet", "vae")}
WEIGHTED = {"text_encoder", "unet", "vae"}
SIZE_MAX = 8192  # pixels a side
NATIVE_SCHEDULERS = {
    "DDIMScheduler": "ddim",
    "PNDMScheduler": "pndm",
    "LMSDiscreteScheduler": "lms",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_a",
    "HeunDiscreteScheduler": "heun",
    "DPMSolverMultistepScheduler": "dpm++2m",
    "UniPCMultistepScheduler": "unipc",
    "DEISMultistepScheduler": "deis",
    "LCMScheduler": "lcm",
}


@dataclass(frozen=True, slots=True)
class SamplingDefaults:
    """What suits a model where neither manifest nor job says otherwise."""

    width: int
    height: int
    steps: int
    guidance: float
    scheduler: str


@dataclass(frozen=True)
class Model:
    """A diffusers model folder, checked to be complete and safe to load."""

    id: str
    revision: str  # commit of a hub model, "" otherwise
    path: Path
    family: str
    sampling: SamplingDefaults
    size_multiple: int  # width and height are multiples of it, in pixels
    size_min: int  # pixels a side
    files: tuple[Path, ...] = field(repr=False)  # what the pixels depend on, relative to path

    @cached_property
    def fingerprint(self) -> str:
        """Hash of configs, tokenizer and weights: the first 16 hexadecimal digits of a SHA-256."""
        total = hashlib.sha256()
        for name in self.files:
            with (self.path / name).open("rb") as file:
                total.update(f"{name.as_posix()} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return total.hexdigest()[:16]

    @property
    def weights_bytes(self) -> int:
        """Size of the weights once loaded in float32, in bytes."""
        return sum(4 * _parameters(self.path / name) for name in self.files if name.suffix == ".safetensors")

    def here(self) -> Model:
        """The same model on the machine this runs on. Raises ModelError where another lies under its name."""
        found = resolve_model(self.id, self.revision or None, Path.cwd())
        if found.fingerprint != self.fingerprint:
            raise ModelError(f"model {self.id}: required fingerprint {self.fingerprint}, got {found.fingerprint} here")
        return found

    def lost_words(self, prompts: Iterable[str]) -> Iterator[tuple[str, str]]:
        """(prompt, what the text encoder will not see of it) for prompts over the encoder's token limit."""
        room = self._token_limit - 2  # start and end tokens take two
        long = [prompt for prompt in prompts if len(prompt.encode()) > room]  # a token is a byte at least
        counted = self._tokenizer.encode_batch_fast(long, add_special_tokens=False)
        for prompt in (prompt for prompt, tokens in zip(long, counted, strict=True) if len(tokens) > room):
            offsets = self._tokenizer.encode(prompt, add_special_tokens=False).offsets
            cut = prompt.rfind(" ", 0, offsets[room][0]) + 1  # a word that is cut is lost
            yield prompt, prompt[cut:].strip()

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return _tokenizer(self.path / "tokenizer")

    @cached_property
    def _token_limit(self) -> int:
        return int(_read_json(self.path / "text_encoder" / "config.json")["max_position_embeddings"])


def resolve_model(model_id: str, revision: str | None, base: Path, weights: bool = True) -> Model:
    """Find and check a model: `starter`, a local diffusers folder (relative to `base`), or a hub id.

    A hub model is downloaded where it is not cached, its weights only if `weights`. Raises ModelError with what was
    required and what was found.
    """
    local = base / Path(model_id).expanduser()
    if model_id == "starter":
        return _read_model(model_id, "", PIPELINE, weights)
    if local.is_dir():
        return _read_model(model_id, "", local, weights)
    if model_id.count("/") != 1 or model_id.startswith((".", "/", "~")):
        raise ModelError(f"model.id: required 'starter', a diffusers folder or a hub id OWNER/NAME, got {model_id!r}")
    path = _download(model_id, revision, weights)
    return _read_model(model_id, path.name, path, weights)


def _download(model_id: str, revision: str | None, weights: bool) -> Path:
    from huggingface_hub import snapshot_download

    patterns = ["*.json", "*/*.json", "*/*.txt"] + (["*/*.safetensors"] if weights else [])
    unused = ["safety_checker/*", "feature_extractor/*", "*.fp16.*", "*.non_ema.*"]
    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=patterns, ignore_patterns=unused))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model.id: required 'starter', a diffusers folder or a hub model that can be downloaded, got {model_id!r}"
            f" ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"model: required a JSON file {path}, got {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"model: required a JSON object in {path}, got {type(value).__name__}")
    return value


def _parameters(path: Path) -> int:
    """Number of parameters in a safetensors file, from its header: eight bytes of length, then JSON."""
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _read_model(model_id: str, revision: str, path: Path, weights: bool) -> Model:
    pipeline = _read_json(path / "model_index.json").get("_class_name")
    if pipeline not in FAMILIES:
        raise ModelError(f"model {model_id}: required a pipeline of {', '.join(FAMILIES)}; got {pipeline}")
    family = FAMILIES[pipeline]
    files = tuple(_component_files(model_id, path, family, weights))
    vae, unet = _read_json(path / "vae" / "config.json"), _read_json(path / "unet" / "config.json")
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    native = factor * int(unet["sample_size"])
    own = _read_json(path / "sampling.json") if (path / "sampling.json").exists() else {}
    scheduler = NATIVE_SCHEDULERS.get(_read_json(path / "scheduler" / "scheduler_config.json")["_class_name"], "ddim")
    return Model(
        id=model_id,
        revision=revision,
        path=path,
        family=family,
        sampling=SamplingDefaults(
            width=int(own.get("width", native)),
            height=int(own.get("height", native)),
            steps=int(own.get("steps", 50)),
            guidance=float(own.get("guidance", 7.5)),
            scheduler=str(own.get("scheduler", scheduler)),
        ),
        size_multiple=factor,
        size_min=factor * 2 ** (len(unet["block_out_channels"]) - 1),
        files=files,
    )


def _component_files(model_id: str, path: Path, family: str, weights: bool) -> Iterator[Path]:
    """Every file the pixels depend on. Raises ModelError where a component or its safetensors file is missing."""
    yield Path("model_index.json")
    for component in COMPONENTS[family]:
        folder = path / component
        names = sorted(file.name for file in folder.iterdir() if file.is_file()) if folder.is_dir() else []
        if not any(name.endswith(".json") for name in names):
            raise ModelError(f"model {model_id}: required a folder {component}/ with its configuration, got none")
        safe = [name for name in names if name.endswith(".safetensors") and name.count(".") == 1]
        if weights and component in WEIGHTED and not safe:
            pickles = [name for name in names if name.endswith((".bin", ".ckpt", ".pt", ".pth"))]
            got = f"only {', '.join(pickles)}: a pickle runs code when it is loaded" if pickles else "no weights"
            raise ModelError(f"model {model_id}: required safetensors weights in {component}/, got {got}")
        yield from (Path(component, name) for name in names if name.endswith((".json", ".txt")) or name in safe)


def _tokenizer(folder: Path) -> Tokenizer:
    """The folder's tokenizer without transformers, which would load torch."""
    from tokenizers import Tokenizer

    if (folder / "tokenizer.json").exists():
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    return _clip_tokenizer(folder)


def _clip_tokenizer(folder: Path) -> Tokenizer:
    """CLIP's byte-level BPE from `vocab.json` and `merges.txt` (Radford et al. 2021, `simple_tokenizer.py`)."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    bpe = models.BPE.from_file(
        str(folder / "vocab.json"), str(folder / "merges.txt"), end_of_word_suffix="</w>", unk_token="<|endoftext|>"
    )
    words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer
