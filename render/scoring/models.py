"""Find the models that score, check them, and load them with transformers: safetensors only, no code of a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from render.core import ModelError, shorten
from render.models import known_sha256
from render.scoring.batch import STARTER, Score
from render.starter import SCORER

__all__ = ["find_model", "load_part", "model_folder"]

PATTERNS = ["*.json", "*.txt", "*.model", "*.safetensors"]


def model_folder(score: Score) -> Path:
    """Return the folder, or the file, of a score's model; a hub model is downloaded. Raises ModelError."""
    if score.model == STARTER:
        return SCORER
    path = Path(score.model).expanduser()
    if path.exists():
        return path
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(score.model, allow_patterns=PATTERNS))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"--with {score.kind}={score.model}: required a folder or a hub model that can be downloaded,"
            f" got {shorten(repr(score.model))} ({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from error


def find_model(score: Score) -> Score:
    """Return the score with the fingerprint of its model. Raises ModelError for one without safetensors or config."""
    if not score.model:
        return score
    found = model_folder(score)
    weights = [found] if found.is_file() else sorted(found.glob("*.safetensors"))
    where = f"--with {score.kind}={score.model}: required a model of transformers"
    if found.is_dir() and not (found / "config.json").is_file():
        raise ModelError(f"{where}, got a folder without config.json")
    if not weights or any(path.suffix != ".safetensors" for path in weights):
        raise ModelError(f"{where} with weights as .safetensors, got none (others can hold code)")
    import hashlib

    digests = "".join(known_sha256(path) for path in weights)
    return replace(score, fingerprint=hashlib.sha256(digests.encode()).hexdigest()[:16])


def load_part(score: Score, part: str, **settings: Any) -> Any:
    """Return an `Auto…` object of transformers from a score's folder; `part` is the class' name. Raises ModelError."""
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    folder = model_folder(score)
    try:
        return getattr(transformers, part).from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **settings
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError) as error:
        first = (str(error).splitlines() or [""])[0]
        where = f"--with {score.kind}={score.model}"
        raise ModelError(
            f"{where}: required what {part} of transformers loads, got {type(error).__name__}: {shorten(first)}"
        ) from error
