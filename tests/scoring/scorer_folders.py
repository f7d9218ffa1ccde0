"""Small scoring models with random weights, made from configs: real code of transformers loads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTokenizer,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)

from render.starter import PIPELINE

__all__ = ["make_captioner", "make_classifier", "make_clip", "make_siglip"]

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGHT = TOWER | {"image_size": 32, "patch_size": 8}
SIDE = {"height": 32, "width": 32}


def make_clip(folder: Path, labels: tuple[str, ...] = ()) -> Path:
    """Write a CLIP model with the starter's tokenizer."""
    tokenizer = _tokenizer()
    ids = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 24} | ids
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=SIGHT, projection_dim=16)).save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIDE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if labels:
        (folder / "labels.txt").write_text("\n".join([*labels, ""]), encoding="utf-8")
    return folder


def make_siglip(folder: Path) -> Path:
    """Write a SigLIP model with the starter's tokenizer."""
    tokenizer = _tokenizer()
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 24, "projection_size": 32}
    torch.manual_seed(1)
    SiglipModel(SiglipConfig(text_config=text, vision_config=SIGHT)).save_pretrained(folder)
    SiglipImageProcessor(size=SIDE).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_classifier(folder: Path, labels: tuple[str, ...]) -> Path:
    """Write an image classifier; of one label, a regressor."""
    config = ViTConfig(**SIGHT, id2label=dict(enumerate(labels)), label2id={one: n for n, one in enumerate(labels)})
    torch.manual_seed(2)
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size=SIDE).save_pretrained(folder)
    return folder


def make_captioner(folder: Path) -> Path:
    """Write a BLIP captioner with the starter's tokenizer."""
    tokenizer = _tokenizer()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": 2, "sep_token_id": 2, "pad_token_id": 1}
    text = TOWER | {"vocab_size": len(tokenizer), "max_position_embeddings": 80, "encoder_hidden_size": 32} | ids
    torch.manual_seed(3)
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=SIGHT)).save_pretrained(folder)
    BlipProcessor(BlipImageProcessor(size=SIDE), tokenizer).save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    return CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer", local_files_only=True)
