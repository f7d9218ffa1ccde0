"""Captions by a vision-language model of transformers, such as BLIP or one with a chat template."""

from __future__ import annotations

from typing import Any

import torch

from render.scoring.batch import Batch, Score, Scorer, Values
from render.scoring.models import load_part

__all__ = ["load_captioner"]

TOKENS_MAX = 64  # of a caption
REQUEST = "Describe the picture in one sentence."  # to a model that is talked to


def load_captioner(score: Score, device: str) -> Scorer:
    """Return a scorer that writes captions by greedy decoding, so that the same picture has the same caption."""
    model = load_part(score, "AutoModelForImageTextToText", use_safetensors=True, dtype=torch.float32).to(device).eval()
    processor = load_part(score, "AutoProcessor", use_fast=False)
    request = _request(processor)

    @torch.no_grad()
    def scorer(batch: Batch) -> Values:
        texts = {} if request is None else {"text": [request] * len(batch.images), "padding": True}
        inputs = processor(images=[*batch.images], return_tensors="pt", **texts).to(device)
        tokens = model.generate(**inputs, max_new_tokens=TOKENS_MAX, do_sample=False)
        if request is not None:
            tokens = tokens[:, inputs["input_ids"].shape[1] :]
        return {"": [text.strip() for text in processor.batch_decode(tokens, skip_special_tokens=True)]}

    return scorer


def _request(processor: Any) -> str | None:
    """Return what a model with a chat template is asked; None for one that captions whatever it sees."""
    if not getattr(processor, "chat_template", None):
        return None
    content = [{"type": "image"}, {"type": "text", "text": REQUEST}]
    asked: str = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return asked
