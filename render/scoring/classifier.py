"""Scores by image classifiers and regressors of transformers: looks, and whether a picture is safe for work."""

from __future__ import annotations

import torch

from render.core import ModelError
from render.scoring.batch import Batch, Score, Scorer, Values
from render.scoring.models import load_part

__all__ = ["load_classifier"]

LABELS = {"aesthetic": ("aesthetic", "good", "high"), "nsfw": ("nsfw", "porn", "unsafe")}  # of each kind, tried in turn


def load_classifier(score: Score, device: str) -> Scorer:
    """Return a scorer by an image classifier: the probability of its label, or the value of a model with one output.

    Raises ModelError for a model that has several labels, and none that the kind knows.
    """
    model = load_part(score, "AutoModelForImageClassification", use_safetensors=True, dtype=torch.float32)
    model = model.to(device).eval()
    processor = load_part(score, "AutoImageProcessor", use_fast=False)
    labels = {str(label).lower(): int(place) for place, label in model.config.id2label.items()}
    wanted = next((labels[name] for name in LABELS[score.kind] if name in labels), None)
    if wanted is None and len(labels) > 1:
        raise ModelError(
            f"--with {score.kind}={score.model}: required a classifier with one of the labels"
            f" {', '.join(LABELS[score.kind])}, or a model of one output, got the labels {', '.join(labels)}"
        )

    @torch.no_grad()
    def scorer(batch: Batch) -> Values:
        pixels = processor([*batch.images], return_tensors="pt")["pixel_values"].to(device)
        logits = model(pixel_values=pixels).logits
        found = logits[:, 0] if wanted is None or logits.shape[1] == 1 else logits.softmax(-1)[:, wanted]
        return {"score": found.tolist()}

    return scorer
