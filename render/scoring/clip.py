"""Scores by CLIP and SigLIP, the two-tower models of transformers: of picture and prompt, and of labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from render.core import ModelError
from render.scoring.batch import Batch, Score, Scorer, Values
from render.scoring.models import load_part, model_folder

__all__ = ["Towers", "load_clip", "load_labels"]

TEXTS_AT_ONCE = 256


class Towers:
    """The two towers of a CLIP or SigLIP model, as functions to embeddings of length 1."""

    def __init__(self, score: Score, device: str) -> None:
        """Raises ModelError for a model that has no two towers."""
        self._device = device
        self._model = load_part(score, "AutoModel", use_safetensors=True, dtype=torch.float32).to(device).eval()
        if not hasattr(self._model, "get_text_features") or not hasattr(self._model, "get_image_features"):
            where = f"--with {score.kind}={score.model}"
            raise ModelError(f"{where}: required a CLIP or SigLIP model, got {type(self._model).__name__}")
        self._processor = load_part(score, "AutoImageProcessor", use_fast=False)
        self._tokenizer = load_part(score, "AutoTokenizer")
        self._limit: int = self._model.config.text_config.max_position_embeddings
        self._texts: dict[str, Tensor] = {}

    @torch.no_grad()
    def images(self, images: Sequence[Any]) -> Tensor:
        """Return the embeddings of pictures, `[B, D]`."""
        pixels = self._processor([*images], return_tensors="pt")["pixel_values"].to(self._device)
        return _embedding(self._model.get_image_features(pixel_values=pixels))

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Return the embeddings of texts, `[B, D]`, cut at the model's limit of tokens; those of the last call are kept."""
        new = [*dict.fromkeys(text for text in texts if text not in self._texts)]
        kept = {text: self._texts[text] for text in texts if text in self._texts}
        for first in range(0, len(new), TEXTS_AT_ONCE):
            some = new[first : first + TEXTS_AT_ONCE]
            tokens = self._tokenizer(
                some, padding="max_length", max_length=self._limit, truncation=True, return_tensors="pt"
            ).to(self._device)
            kept |= dict(zip(some, _embedding(self._model.get_text_features(**tokens)), strict=True))
        self._texts = kept
        return torch.stack([kept[text] for text in texts])

    @property
    def scale(self) -> float:
        """Factor on cosines in the softmax over texts that the model was trained with."""
        return float(self._model.logit_scale.detach().exp())


def load_clip(score: Score, device: str) -> Scorer:
    """Return a scorer by CLIPScore: 100 × cosine, at least 0, as torchmetrics has it (Hessel et al. 2021, without w)."""
    towers = Towers(score, device)

    def scorer(batch: Batch) -> Values:
        images, texts = towers.images(batch.images), towers.texts(batch.prompts)
        cosines = (images * texts).sum(-1)
        vectors = images.cpu().numpy().astype(np.float16)
        return {"score": (100 * cosines).clamp(min=0).tolist(), "embedding": [*vectors]}

    return scorer


def load_labels(score: Score, device: str) -> Scorer:
    """Return a scorer that names the label of `labels.txt` that fits best (zero-shot, Radford et al. 2021).

    A label's embedding is the mean of those of its captions: the lines of `templates.txt`, if there is such a file, with the
    label in the place of `{}`.
    """
    labels = _lines(model_folder(score) / "labels.txt")
    if not labels:
        raise ModelError(f"--with {score.kind}={score.model}: required a file labels.txt, one label a line, got none")
    templates = _lines(model_folder(score) / "templates.txt") or ["{}"]
    towers = Towers(score, device)
    captions = towers.texts([template.replace("{}", label) for label in labels for template in templates])
    texts = normalize(captions.view(len(labels), len(templates), -1).mean(1), dim=-1)

    def scorer(batch: Batch) -> Values:
        chances = (towers.scale * towers.images(batch.images) @ texts.T).softmax(-1)
        best = chances.max(-1)
        return {
            "guess": [labels[place] for place in best.indices.tolist()],
            "probability": best.values.tolist(),
        }

    return scorer


def _lines(file: Path) -> list[str]:
    """Return the lines of a text file that are not empty; none where there is no file."""
    if not file.is_file():
        return []
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def _embedding(found: Any) -> Tensor:
    """Return what a tower gives as vectors of length 1; newer versions of transformers wrap it."""
    return normalize(found if isinstance(found, Tensor) else found.pooler_output, dim=-1)
