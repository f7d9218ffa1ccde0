"""The models of the GPU benchmark: published architectures at full size, with random weights."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from pipeline_parts import autoencoder, clip_tokenizer, t5_tokenizer
from pipelines import STABLE_DIFFUSION_NOISE, STABLE_DIFFUSION_XL_NOISE, make_pipeline
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

__all__ = ["CASES", "Case", "make_model"]


@dataclass(frozen=True)
class Case:
    """One model with the settings that it is measured at."""

    name: str
    make: Callable[[], Any]  # returns the pipeline, its weights not set
    tiny: str  # variant of `pipelines.make_pipeline` that stands for it on a CPU
    side: int  # pixels
    steps: int
    guidance: float
    inputs_a_step: int  # network inputs of an image: 2 with classifier-free guidance
    schedulers: tuple[str, ...]  # the first for all images of the homogeneous manifest
    batches: tuple[int, ...]  # of the stock pipeline, in images
    frames: int

    def shrunk(self) -> Case:
        """Return the case as it runs on a CPU in seconds."""
        fields = self.__dict__ | {"side": 64, "steps": 2, "batches": (1, 2), "frames": 4}
        return Case(**fields)

    @property
    def inputs(self) -> int:
        """Network inputs of one image."""
        return self.steps * self.inputs_a_step


def make_model(case: Case, folder: Path, tiny: bool) -> None:
    """Write the case's pipeline to a folder, unless it is there. On a GPU it is made there, in bfloat16, in seconds."""
    if folder.exists():
        return
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    if tiny:
        make_pipeline(case.tiny, unfinished)
    else:
        _make_at_full_size(case, unfinished)
    unfinished.rename(folder)


def _make_at_full_size(case: Case, folder: Path) -> None:
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            pipeline = case.make()
            for part in pipeline.components.values():
                if isinstance(part, nn.Module):
                    _randomise(part.to(torch.bfloat16))
    finally:
        torch.set_default_dtype(before)
    pipeline.save_pretrained(folder, safe_serialization=True)
    del pipeline, part
    gc.collect()  # modules refer to each other
    torch.cuda.empty_cache()


def _randomise(part: nn.Module) -> None:
    """Give every parameter a value that keeps activations finite through a deep network in bfloat16."""
    for module in part.modules():
        for name, value in module.named_parameters(recurse=False):
            if isinstance(module, nn.Embedding):
                nn.init.normal_(value, std=0.02)
            elif value.dim() > 1:
                nn.init.normal_(value, std=0.5 * value[0].numel() ** -0.5)
            else:
                nn.init.normal_(value, mean=float(name == "weight"), std=0.02)


def _clip(tokenizer: Any, kind: type[Any] = CLIPTextModel, large: bool = False) -> Any:
    """CLIP ViT-L/14's text encoder, or OpenCLIP ViT-bigG/14's."""
    width, layers, heads = (1280, 32, 20) if large else (768, 12, 12)
    return kind(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=4 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=77,
            hidden_act="gelu" if large else "quick_gelu",
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _t5(tokenizer: Any) -> T5EncoderModel:
    """T5-XXL's encoder with 2 of its 24 layers: prompts are not what is measured, and the disk is small."""
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=4096,
        d_kv=64,
        d_ff=10240,
        num_layers=2,
        num_heads=64,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def _sd15() -> Any:
    tokenizer = clip_tokenizer()
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(0.18215, 4, is_full=True),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        unet=diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        scheduler=diffusers.DDIMScheduler.from_config(STABLE_DIFFUSION_NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> Any:
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    unet = diffusers.UNet2DConditionModel(
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),  # heads, in spite of its name
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + 1280,
        cross_attention_dim=2048,
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(0.13025, 4, is_full=True),
        text_encoder=_clip(tokenizer),
        text_encoder_2=_clip(tokenizer_2, CLIPTextModelWithProjection, large=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=diffusers.EulerDiscreteScheduler.from_config(
            STABLE_DIFFUSION_XL_NOISE | {"timestep_spacing": "leading"}
        ),
        add_watermarker=False,
    )


def _sd3() -> Any:
    tokenizer, tokenizer_2, tokenizer_3 = clip_tokenizer(), clip_tokenizer(pad_token="!"), t5_tokenizer()
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=128,
        in_channels=16,
        out_channels=16,
        num_layers=24,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=192,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(1.5305, 16, 0.0609, is_full=True),
        text_encoder=_clip(tokenizer, CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        text_encoder_2=_clip(tokenizer_2, CLIPTextModelWithProjection, large=True),
        tokenizer_2=tokenizer_2,
        text_encoder_3=_t5(tokenizer_3),
        tokenizer_3=tokenizer_3,
    )


def _flux() -> Any:
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=64,
        num_layers=19,
        num_single_layers=38,
        attention_head_dim=128,
        num_attention_heads=24,
        joint_attention_dim=4096,
        pooled_projection_dim=768,
        guidance_embeds=True,
        axes_dims_rope=(16, 56, 56),
    )
    return diffusers.FluxPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(
            shift=3.0,
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
        vae=autoencoder(0.3611, 16, 0.1159, is_full=True),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=_t5(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    )


DIFFUSION, FLOW = ("ddim", "euler", "dpm++2m"), ("flow-euler",)
CASES = {
    case.name: case
    for case in (
        Case("sd15", _sd15, "sd", 512, 20, 7.5, 2, DIFFUSION, (16, 32, 64), 512),
        Case("sdxl", _sdxl, "sdxl", 1024, 20, 5.0, 2, ("euler", "ddim", "dpm++2m"), (4, 8, 16), 96),
        Case("sd3", _sd3, "sd3", 1024, 28, 7.0, 2, FLOW, (2, 4, 8), 96),
        Case("flux", _flux, "flux-dev", 1024, 28, 3.5, 1, FLOW, (1, 2, 4), 96),
    )
}
