"""LoRAs for the small pipelines, as the files that diffusers itself writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

RANK, ALPHA = 4, 8  # the scale, 2, is lost where a loader overlooks alpha


def make_lora(variant: str, pipeline_folder: Path, file: Path, seed: int = 0) -> Path:
    """Write a LoRA of rank 4, alpha 8, for the variant's network and CLIP text encoders; neither of its halves is zero."""
    from peft import get_peft_model_state_dict

    parts = _LORA_PARTS.get(variant)
    if parts is None:
        raise ValueError(f"variant: one of {', '.join(_LORA_PARTS)} required, got {variant!r}")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(pipeline_folder)
    values: dict[str, Any] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name in parts:
            part = getattr(pipeline, name)
            _add_adapter(part, name)
            values[f"{name}_lora_layers"] = get_peft_model_state_dict(part, adapter_name="default")
            values[f"{name}_lora_adapter_metadata"] = part.peft_config["default"].to_dict()
    pipeline.save_lora_weights(file.parent, weight_name=file.name, **values)
    return file


_LORA_PARTS = {
    "sd": ("unet", "text_encoder"),
    "sdxl": ("unet", "text_encoder", "text_encoder_2"),
    "sd3": ("transformer", "text_encoder", "text_encoder_2"),
    "flux-dev": ("transformer", "text_encoder"),
}


def _add_adapter(part: Any, name: str) -> None:
    from peft import LoraConfig

    encoder = name.startswith("text_encoder")
    targets = ["q_proj", "k_proj", "v_proj", "out_proj"] if encoder else ["to_q", "to_k", "to_v", "to_out.0"]
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets, init_lora_weights="gaussian")
    part.add_adapter(config, adapter_name="default")
    for key, weight in part.named_parameters():
        if "lora_" in key:
            nn.init.normal_(weight, std=0.5 * weight.shape[1] ** -0.5)
