"""Tokenizers, text encoders and autoencoders of the small pipelines in `pipelines.py`, without weights of their own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from diffusers import AutoencoderKL
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

TEXT = """
a an the of in on at with and by photo painting drawing small big red green blue yellow white black old new cat dog horse
bird fox boat house tree flower mountain lake forest city street sky sea sun moon night morning snow rain
"""
WORDS = TEXT.split()
CHARACTERS = [chr(code) for code in range(33, 0x250) if not chr(code).isspace()]
CLIP_WIDTH, CLIP_2_WIDTH = 32, 48  # unequal, so that nobody can swap them
T5_WIDTH = 96  # wider than both CLIPs together (SD 3 pads these to it)


def clip_tokenizer(pad_token: str = "<|endoftext|>") -> CLIPTokenizer:
    """CLIP's vocabulary in its order: every byte, every byte that ends a word, merges, and the two marks last.

    Written down, not trained: training numbers the bytes at random.
    """
    alphabet = sorted(ByteLevel.alphabet())
    spelled = [[*word[:-1], word[-1] + "</w>"] for word in WORDS]
    merges = sorted({pair for letters in spelled for pair in pairwise(letters)})
    tokens = [*alphabet, *(byte + "</w>" for byte in alphabet), *map("".join, merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad_token, model_max_length=77)


def t5_tokenizer() -> T5Tokenizer:
    special = [(token, 0.0) for token in ("<pad>", "</s>", "<unk>")]
    characters = [(character, -8.0) for character in CHARACTERS]
    words = [(f"▁{word}", -4.0) for word in WORDS]
    return T5Tokenizer(vocab=[*special, ("▁", -2.0), *characters, *words], extra_ids=0, model_max_length=512)


def clip_encoder(
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


def t5_encoder(tokenizer: T5Tokenizer) -> T5EncoderModel:
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


def autoencoder(
    scaling_factor: float, latent_channels: int = 4, shift_factor: float | None = None, is_full: bool = False
) -> AutoencoderKL:
    """A side of 8 pixels to each latent; `is_full` has the published models' size.

    One with a shift has no convolutions around the latents: so in SD 3 and Flux.
    """
    return AutoencoderKL(
        block_out_channels=(128, 256, 512, 512) if is_full else (8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2 if is_full else 1,
        latent_channels=latent_channels,
        norm_num_groups=32 if is_full else 4,
        sample_size=512 if is_full else 64,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        use_quant_conv=shift_factor is None,
        use_post_quant_conv=shift_factor is None,
        force_upcast=False,
    )
