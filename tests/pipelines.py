"""Small diffusers pipelines with random weights, and LoRAs for them, as the folders and files that diffusers itself writes.

The shapes are tiny and the switches are those of the published models: what a family decides by its config (the kind of
prediction, the padding token, the shift of the latents, the guidance embedding …) is decided here in the same way.
The images mean nothing, but they answer to the prompt, the seed and the guidance. A picture's side is a multiple of
16 pixels, up to 256 for SD 3, whose table of positions ends there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UNet2DConditionModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

__all__ = ["VARIANTS", "make_lora", "make_pipeline"]

TEXT = """
a an the of in on at with and by photo painting drawing small big red green blue yellow white black old new cat dog horse
bird fox boat house tree flower mountain lake forest city street sky sea sun moon night morning snow rain
"""
WORDS = TEXT.split()
CHARACTERS = [chr(code) for code in range(33, 0x250) if not chr(code).isspace()]

CLIP_WIDTH, CLIP_2_WIDTH = 32, 48  # unequal, so that nobody can swap them
T5_WIDTH = 96  # wider than both CLIPs together (SD 3 pads these to it)

RANK, ALPHA = 4, 8  # the scale, 2, is lost where a loader overlooks alpha

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


# Tokenizers


def _clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's vocabulary in its order: every byte, every byte that ends a word, merges, and the two marks last.

    Written down, not trained: training numbers the bytes at random.
    """
    alphabet = sorted(ByteLevel.alphabet())
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in WORDS]
    merges = sorted({pair for letters in spelled for pair in pairwise(letters)})
    tokens = [*alphabet, *(byte + "</w>" for byte in alphabet), *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad_token, model_max_length=77)


def _t5_tokenizer() -> T5Tokenizer:
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    characters = [(character, -8.0) for character in CHARACTERS]
    words = [(f"▁{word}", -4.0) for word in WORDS]
    return T5Tokenizer(vocab=[*special, ("▁", -2.0), *characters, *words], extra_ids=0, model_max_length=512)


# Encoders and decoders


def _clip(
    tokenizer: CLIPTokenizer, kind: type[Any] = CLIPTextModel, width: int = CLIP_WIDTH, act: str = "quick_gelu"
) -> Any:
    """A text encoder of 4 layers: skipping some of them must show."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        projection_dim=width,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=77,
        hidden_act=act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return kind(config)


def _t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=T5_WIDTH,
            d_kv=16,
            d_ff=T5_WIDTH,
            num_layers=2,
            num_heads=4,
            feed_forward_proj="gated-gelu",
        )
    )


def _vae(scaling_factor: float, latent_channels: int = 4, shift_factor: float | None = None) -> AutoencoderKL:
    """A side of 8 pixels to each latent. One with a shift has no convolutions around the latents: so in SD 3 and Flux."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=shift_factor is None,
        use_post_quant_conv=shift_factor is None,
        force_upcast=False,
    )


# Families


def _stable_diffusion(
    scheduler: Any, attention_head_dim: int | Sequence[int], linear: bool, act: str
) -> diffusers.StableDiffusionPipeline:
    tokenizer = _clip_tokenizer()
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
        vae=_vae(0.18215),
        text_encoder=_clip(tokenizer, act=act),
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
    tokenizer, tokenizer_2 = _clip_tokenizer(), _clip_tokenizer(pad_token="!")
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
        vae=_vae(0.13025),
        text_encoder=_clip(tokenizer),
        text_encoder_2=_clip(tokenizer_2, CLIPTextModelWithProjection, CLIP_2_WIDTH, "gelu"),
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
    tokenizer, tokenizer_2 = _clip_tokenizer(), _clip_tokenizer(pad_token="!")
    tokenizer_3 = _t5_tokenizer() if t5 else None
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
        vae=_vae(1.5305, latent_channels=16, shift_factor=0.0609),
        text_encoder=_clip(tokenizer, CLIPTextModelWithProjection),
        tokenizer=tokenizer,
        text_encoder_2=_clip(tokenizer_2, CLIPTextModelWithProjection, CLIP_2_WIDTH, "gelu"),
        tokenizer_2=tokenizer_2,
        text_encoder_3=_t5(tokenizer_3) if t5 else None,
        tokenizer_3=tokenizer_3,
    )


def _sd3_no_t5() -> diffusers.StableDiffusion3Pipeline:
    return _sd3(t5=False)


def _sd35() -> diffusers.StableDiffusion3Pipeline:
    return _sd3(qk_norm="rms_norm", dual_attention_layers=(0,))


def _flux(scheduler: FlowMatchEulerDiscreteScheduler, guidance: bool) -> diffusers.FluxPipeline:
    tokenizer, tokenizer_2 = _clip_tokenizer(), _t5_tokenizer()
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
        vae=_vae(0.3611, latent_channels=16, shift_factor=0.1159),
        text_encoder=_clip(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=_t5(tokenizer_2),
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
    tokenizer = _t5_tokenizer()
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
        text_encoder=_t5(tokenizer),
        vae=_vae(0.13025),
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
