"""Models from a bucket, the Hugging Face hub or a shared folder → a folder on this machine: only what a pipeline loads."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from render.core import (
    WEIGHTS_BYTES,
    ModelError,
    ObjectPath,
    input_path,
    local_folder,
    shared_folder,
    shorten,
    without_secrets,
)
from render.models.families import UNUSED

__all__ = ["SINGLE_FILES", "from_bucket", "from_hub", "from_share"]

SINGLE_FILES = (
    ".safetensors",
    ".ckpt",
    ".pt",
    ".pth",
    ".bin",
    ".gguf",
)  # endings of what other programs load as a model


def from_bucket(model_id: str, weights: bool) -> Path:
    """Return a local folder of the model below a prefix in a bucket. Raises ModelError."""
    is_wanted = _wanted(weights)
    try:
        folder = input_path(model_id)
        if isinstance(folder, ObjectPath) and folder.suffix.casefold() not in SINGLE_FILES:
            return local_folder(folder, is_wanted, WEIGHTS_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"model.id: {error}") from None
    required = "'starter', a diffusers folder (also s3://BUCKET/PREFIX, gs:// or az://) or a hub id OWNER/NAME"
    raise ModelError(f"model.id: required {required}, got {shorten(repr(without_secrets(model_id)))}")


def from_share(folder: Path) -> Path:
    """Return a copy on this machine of a model folder on a network file system; any other folder as it is.

    The first worker of a machine copies, and the others wait for it. Raises ModelError.
    """
    try:
        return shared_folder(folder, _wanted(weights=True))
    except OSError as error:
        raise ModelError(f"model.id: {error}") from None


def _wanted(weights: bool) -> Callable[[str], bool]:
    """Return a function from the name of a model's file to whether it is downloaded."""
    wanted, unwanted = _patterns(weights)

    def is_wanted(name: str) -> bool:
        return any(fnmatchcase(name, one) for one in wanted) and not any(fnmatchcase(name, one) for one in unwanted)

    return is_wanted


def _patterns(weights: bool) -> tuple[list[str], list[str]]:
    """Return patterns of the names of a model's files that are downloaded, and of those that are not."""
    wanted = ["*.json", "*/*.json", "*/*.txt", "*/*.model"] + (["*/*.safetensors"] if weights else [])
    return wanted, [*(f"{name}/*" for name in UNUSED), "*.fp16*", "*.non_ema*"]


def from_hub(model_id: str, revision: str | None, weights: bool) -> Path:
    """Return the local folder of a hub model's snapshot, downloaded where it is not cached. Raises ModelError."""
    from huggingface_hub import snapshot_download

    patterns, unused = _patterns(weights)
    try:
        return Path(snapshot_download(model_id, revision=revision, allow_patterns=patterns, ignore_patterns=unused))
    except (OSError, ValueError) as error:
        raise ModelError(
            "model.id: required 'starter', a diffusers folder or a hub model that can be downloaded,"
            f" got {shorten(repr(model_id))} ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error
