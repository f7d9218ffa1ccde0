"""Untrained components of the starter model: their sizes and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.dataset import COLOURS, SIDE, STYLES

__all__ = ["TOKENS", "make_autoencoder", "make_networks", "make_scheduler", "make_tokenizer"]

TOKENS = 24  # limit of a prompt, special tokens included
WIDTH = 128  # of the text encoder's hidden states
CHANNELS = 8  # of the latents
VOCABULARY = 2000  # tokens


def make_autoencoder() -> AutoencoderKL:
    """Return a KL autoencoder, 2.6 M parameters, factor 8, 8 channels; its latents' initial variance is near 0."""
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64, 128),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=CHANNELS,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=SIDE,
        scaling_factor=1.0,
    )
    nn.init.constant_(vae.quant_conv.bias[CHANNELS:], -6.0)  # the log-variances
    return vae


def make_networks(tokenizer: Any) -> nn.ModuleDict:
    """Return the UNet, 6.3 M parameters, and the text encoder, 0.8 M.

    The prompt enters the UNet twice: it is added to the timestep embedding, which scales and shifts every residual block
    (most of the memory of pictures is there), and it is attended to in the middle block.
    """
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(64, 96, 176),
        down_block_types=("DownBlock2D",) * 3,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=16,
        attention_head_dim=4,  # diffusers takes it for the number of heads, in spite of the name
        cross_attention_dim=WIDTH,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=TOKENS,
            projection_dim=WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    return nn.ModuleDict({"unet": unet.to(memory_format=torch.channels_last), "text_encoder": text_encoder})


def make_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_tokenizer(labels: Sequence[str], folder: Path) -> Any:
    """Return CLIP's tokenizer with byte pairs merged on every possible caption; made once, then loaded from `folder`.

    It is kept because no seed reproduces its token numbers: the library breaks ties between equally frequent pairs
    differently in every process.
    """
    if not folder.is_dir():
        captions = [
            f"a {style} {label} on a {colour} background"
            for label in labels
            for style in STYLES
            for colour in (*COLOURS, "gray")
        ]
        untrained = CLIPTokenizer(model_max_length=TOKENS)
        trained = untrained.train_new_from_iterator(captions, VOCABULARY, show_progress=False)
        partial = folder.with_suffix(".part")
        trained.save_pretrained(partial)
        partial.replace(folder)
    return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
