"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a UNet on 4-channel latents, a KL autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from render.families import Conditioning
from render.families.schedulers import Schedulers

__all__ = ["StableDiffusion", "load"]


@dataclass(frozen=True)
class StableDiffusion:
    """The parts of one loaded pipeline. See `render.families.Family`."""

    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    schedulers: Schedulers
    device: torch.device
    dtype: torch.dtype

    def encode(self, prompt: str) -> Conditioning:
        """The encoder's last hidden state, `[tokens, dim]`; a prompt over the token limit is cut."""
        tokens = self.tokenizer(
            prompt,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).to(self.device)
        mask = tokens.attention_mask if getattr(self.text_encoder.config, "use_attention_mask", False) else None
        return {"embeddings": self.text_encoder(tokens.input_ids, attention_mask=mask)[0][0]}

    def latent_shape(self, width: int, height: int) -> tuple[int, ...]:
        factor = 2 ** (len(self.vae.config.block_out_channels) - 1)
        return 1, self.unet.config.in_channels, height // factor, width // factor

    def scheduler(self, name: str, steps: int) -> Any:
        return self.schedulers(name, steps)

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        embeddings = conditioning["embeddings"]
        output: Tensor = self.unet(latents, timesteps, encoder_hidden_states=embeddings, return_dict=False)[0]
        return output

    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        scaled = (latents / self.vae.config.scaling_factor).to(self.dtype)
        image = self.vae.decode(scaled, return_dict=False)[0][0].float()
        if not torch.isfinite(image).all():
            raise ValueError("decoded image: required finite values, got NaN or infinity")
        levels = ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        pixels: NDArray[np.uint8] = levels.permute(1, 2, 0).contiguous().cpu().numpy()
        return pixels


def load(path: Path, device: torch.device, dtype: torch.dtype) -> StableDiffusion:
    """Load the folder's components from safetensors, networks in channels_last for the convolutions' sake."""
    settings = {"dtype": dtype, "use_safetensors": True, "local_files_only": True}
    unet = UNet2DConditionModel.from_pretrained(path, subfolder="unet", **settings)
    vae = AutoencoderKL.from_pretrained(path, subfolder="vae", **settings)
    text_encoder = CLIPTextModel.from_pretrained(path, subfolder="text_encoder", **settings)
    for network in (unet, vae, text_encoder):
        network.requires_grad_(False).eval().to(device)
    return StableDiffusion(
        tokenizer=CLIPTokenizer.from_pretrained(path, subfolder="tokenizer", local_files_only=True),
        text_encoder=text_encoder,
        unet=unet.to(memory_format=torch.channels_last),
        vae=vae.to(memory_format=torch.channels_last),
        schedulers=Schedulers(DDIMScheduler.load_config(path, subfolder="scheduler"), device),
        device=device,
        dtype=dtype,
    )
