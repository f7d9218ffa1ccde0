"""Models from a bucket or the Hugging Face hub → a folder on this machine: only the files that a pipeline is loaded from."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

from render.core import WEIGHTS_BYTES, ModelError, ObjectPath, input_path, local_folder, shorten, without_secrets
from render.models.families import UNUSED

__all__ = ["SINGLE_FILES", "from_bucket", "from_hub"]

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
    wanted, unwanted = _patterns(weights)

    def is_wanted(name: str) -> bool:
        return any(fnmatchcase(name, one) for one in wanted) and not any(fnmatchcase(name, one) for one in unwanted)

    try:
        folder = input_path(model_id)
        if isinstance(folder, ObjectPath) and folder.suffix.casefold() not in SINGLE_FILES:
            return local_folder(folder, is_wanted, WEIGHTS_BYTES)
    except (OSError, ValueError) as error:
        raise ModelError(f"model.id: {error}") from None
    required = "'starter', a diffusers folder (also s3://BUCKET/PREFIX, gs:// or az://) or a hub id OWNER/NAME"
    raise ModelError(f"model.id: required {required}, got {shorten(repr(without_secrets(model_id)))}")


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
