"""Small diffusers pipelines with random weights, as the folders that diffusers itself writes.

The shapes are tiny and the switches are those of the published models: what a family decides by its config (the kind of
prediction, the padding token, the shift of the latents, the guidance embedding …) is decided here in the same way.
The images mean nothing, but they answer to the prompt, the seed and the guidance. A picture's side is a multiple of
16 pixels, up to 256 for SD 3, whose table of positions ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from pipeline_parts import (
    CLIP_2_WIDTH,
    CLIP_WIDTH,
    T5_WIDTH,
    autoencoder,
    clip_encoder,
    clip_tokenizer,
    t5_encoder,
    t5_tokenizer,
)
from torch import nn
from transformers import CLIPTextModelWithProjection

STABLE_DIFFUSION_NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}
STABLE_DIFFUSION_XL_NOISE = STABLE_DIFFUSION_NOISE | {
    "interpolation_type": "linear",
    "prediction_type": "epsilon",
    "sample_max_value": 1.0,
    "use_karras_sigmas": False,
}


def make_pipeline(variant: str, folder: Path) -> Path:
    """Write the variant's pipeline, the same weights every time (float32, safetensors), and return its folder.

    Diffusers 0.42 loads "sd3-no-t5", as it does any SD 3 saved without its third encoder, only where it is told again:
    `from_pretrained(folder, text_encoder_3=None, tokenizer_3=None)`.
    """
    if variant not in _MAKERS:
        raise ValueError(f"variant: one of {', '.join(VARIANTS)} required, got {variant!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        pipeline = _MAKERS[variant]()
        for part in pipeline.components.values():
            if isinstance(part, nn.Module):
                _randomise(part)
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _randomise(part: nn.Module) -> None:
    """Give every parameter a random value, those too that training starts from zero or one.

    Left as they are, zero output layers would hide the prompt, and small embeddings would make all prompts alike.
    """
    for module in part.modules():
        for name, value in module.named_parameters(recurse=False):
            if isinstance(module, nn.Embedding):
                nn.init.normal_(value)
            elif value.dim() > 1:
                nn.init.normal_(value, std=value[0].numel() ** -0.5)
            else:
                nn.init.normal_(value, mean=float(name == "weight"), std=0.1)


def _stable_diffusion(
    scheduler: Any, attention_head_dim: int | Sequence[int], linear: bool, act: str
) -> diffusers.StableDiffusionPipeline:
    tokenizer = clip_tokenizer()
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        norm_num_groups=8,
        cross_attention_dim=CLIP_WIDTH,
        attention_head_dim=attention_head_dim,  # heads, in spite of its name
        use_linear_projection=linear,
    )
    return diffusers.StableDiffusionPipeline(
        vae=autoencoder(0.18215),
        text_encoder=clip_encoder(tokenizer, act=act),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sd() -> diffusers.StableDiffusionPipeline:
    return _stable_diffusion(PNDMScheduler.from_config(STABLE_DIFFUSION_NOISE), 8, linear=False, act="quick_gelu")


def _sd_v() -> diffusers.StableDiffusionPipeline:
    scheduler = DDIMScheduler.from_config(STABLE_DIFFUSION_NOISE | {"prediction_type": "v_prediction"})
    return _stable_diffusion(scheduler, [2, 4], linear=True, act="gelu")


def _stable_diffusion_xl(scheduler: Any, zeros: bool) -> diffusers.StableDiffusionXLPipeline:
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=[1, 2],
        norm_num_groups=8,
        cross_attention_dim=CLIP_WIDTH + CLIP_2_WIDTH,
        attention_head_dim=[2, 4],  # heads, in spite of its name
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + CLIP_2_WIDTH,  # 6 sizes and the pooled prompt
    )
    return diffusers.StableDiffusionXLPipeline(
        vae=autoencoder(0.13025),
        text_encoder=clip_encoder(tokenizer),
        text_encoder_2=clip_encoder(tokenizer_2, CLIPTextModelWithProjection, CLIP_2_WIDTH, "gelu"),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=scheduler,
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )


def _sdxl() -> diffusers.StableDiffusionXLPipeline:
    settings = STABLE_DIFFUSION_XL_NOISE | {"timestep_spacing": "leading"}
    return _stable_diffusion_xl(EulerDiscreteScheduler.from_config(settings), zeros=True)


def _sdxl_zero() -> diffusers.StableDiffusionXLPipeline:
    settings = STABLE_DIFFUSION_XL_NOISE | {"timestep_spacing": "trailing"}
    return _stable_diffusion_xl(EulerAncestralDiscreteScheduler.from_config(settings), zeros=False)


def _sd3(t5: bool = True, **switches: Any) -> diffusers.StableDiffusion3Pipeline:
    """SD 3 medium; `switches` are those that 3.5 adds to the transformer."""
    tokenizer, tokenizer_2 = clip_tokenizer(), clip_tokenizer(pad_token="!")
    tokenizer_3 = t5_tokenizer() if t5 else None
    transformer = diffusers.SD3Transformer2DModel(
        sample_size=8,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        caption_projection_dim=32,
        pooled_projection_dim=CLIP_WIDTH + CLIP_2_WIDTH,
        pos_embed_max_size=16,
        **switches,
    )
    return diffusers.StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=autoencoder(1.5305, latent_channels=16, shift_factor=0.0609),
        text_encoder=clip_encoder(tokenizer, CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        text_encoder_2=clip_encoder(tokenizer_2, CLIPTextModelWithProjection, CLIP_2_WIDTH, "gelu"),
        tokenizer_2=tokenizer_2,
        text_encoder_3=t5_encoder(tokenizer_3) if t5 else None,
        tokenizer_3=tokenizer_3,
    )


def _sd3_no_t5() -> diffusers.StableDiffusion3Pipeline:
    return _sd3(t5=False)


def _sd35() -> diffusers.StableDiffusion3Pipeline:
    return _sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


def _flux(scheduler: FlowMatchEulerDiscreteScheduler, guidance: bool) -> diffusers.FluxPipeline:
    tokenizer, tokenizer_2 = clip_tokenizer(), t5_tokenizer()
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4 * 16,  # a square of four latents in each token
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=T5_WIDTH,
        pooled_projection_dim=CLIP_WIDTH,
        guidance_embeds=guidance,
        axes_dims_rope=(4, 6, 6),
    )
    return diffusers.FluxPipeline(
        scheduler=scheduler,
        vae=autoencoder(0.3611, latent_channels=16, shift_factor=0.1159),
        text_encoder=clip_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=t5_encoder(tokenizer_2),
        tokenizer_2=tokenizer_2,
        transformer=transformer,
    )


def _flux_dev() -> diffusers.FluxPipeline:
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0,
        use_dynamic_shifting=True,
        base_shift=0.5,
        max_shift=1.15,
        base_image_seq_len=256,
        max_image_seq_len=4096,
    )
    return _flux(scheduler, guidance=True)


def _flux_schnell() -> diffusers.FluxPipeline:
    return _flux(FlowMatchEulerDiscreteScheduler(shift=1.0), guidance=False)


def _pixart() -> diffusers.PixArtSigmaPipeline:
    tokenizer = t5_tokenizer()
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=32,  # the least for which the pipeline knows its bins of resolutions
        in_channels=4,
        out_channels=8,  # the noise and its variance
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        cross_attention_dim=32,
        use_additional_conditions=False,
        caption_channels=T5_WIDTH,
    )
    scheduler = DPMSolverMultistepScheduler(
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        lower_order_final=True,
        timestep_spacing="linspace",
    )
    return diffusers.PixArtSigmaPipeline(
        tokenizer=tokenizer,
        text_encoder=t5_encoder(tokenizer),
        vae=autoencoder(0.13025),
        transformer=transformer,
        scheduler=scheduler,
    )


_MAKERS: dict[str, Callable[[], Any]] = {
    "sd": _sd,
    "sd-v": _sd_v,
    "sdxl": _sdxl,
    "sdxl-zero": _sdxl_zero,
    "sd3": _sd3,
    "sd3-no-t5": _sd3_no_t5,
    "sd35": _sd35,
    "flux-dev": _flux_dev,
    "flux-schnell": _flux_schnell,
    "pixart": _pixart,
}
VARIANTS: tuple[str, ...] = tuple(_MAKERS)
