"""Parts shared by the families: loading a pipeline with its LoRAs, and the autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from render.core import ModelError, shorten
from render.models.families import UNUSED

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from render.models.families import Conditioning, Loading

__all__ = [
    "SIDE_MAX",
    "Autoencoder",
    "add_loras",
    "autoencoder_factor",
    "copy_to",
    "guidance_embedding",
    "load_pipeline",
    "text_encoders",
]

SIDE_MAX = 8192  # pixels; a sanity limit for networks without one of their own


def load_pipeline(class_name: str, loading: Loading) -> Any:
    """Load a model folder's pipeline from safetensors onto its device, with LoRAs merged into the weights.

    Raises ModelError for a LoRA that does not fit.
    """
    import diffusers
    import torch

    diffusers.utils.logging.disable_progress_bar()  # loading is too quick to need one
    pipeline_class = getattr(diffusers, class_name)
    has = pipeline_class.load_config(loading.path, local_files_only=True)
    unused: dict[str, Any] = {name: None for name, part in has.items() if name in UNUSED or part == [None, None]}
    if "requires_safety_checker" in has:
        unused["requires_safety_checker"] = False
    pipeline = pipeline_class.from_pretrained(
        loading.path, dtype=loading.dtype, use_safetensors=True, local_files_only=True, **unused
    )
    _merge_loras(pipeline, loading)
    for network in pipeline.components.values():
        if isinstance(network, torch.nn.Module):
            network.requires_grad_(False).eval().to(loading.device)
    for name in ("unet", "vae") if loading.device.type == "cpu" else ():  # convolutions are faster so, on a GPU slower
        if name in pipeline.components:
            getattr(pipeline, name).to(memory_format=torch.channels_last)
    return pipeline


def add_loras(pipeline: Any, loras: tuple[tuple[Path, float], ...]) -> list[str]:
    """Add LoRAs, (file, weight), to a pipeline's networks; return their names there. Raises ModelError for a misfit."""
    names = [f"lora{number}" for number in range(len(loras))]
    for name, (file, _) in zip(names, loras, strict=True):
        where: dict[str, Any] = {"weight_name": file.name, "local_files_only": True}
        fitting = f"LoRA {file}: required weights for {', '.join(pipeline._lora_loadable_modules)}"
        try:
            state = pipeline.lora_state_dict(file.parent, **where)
            parts = {key.partition(".")[0] for key in (state[0] if isinstance(state, tuple) else state)}
            if not parts or parts - set(pipeline._lora_loadable_modules):
                raise ModelError(f"{fitting}, got some for {shorten(', '.join(sorted(parts)) or 'nothing')}")
            pipeline.load_lora_weights(file.parent, adapter_name=name, **where)
        except (ValueError, KeyError, RuntimeError) as error:
            raise error if isinstance(error, ModelError) else ModelError(f"{fitting}, got {error}") from error
    return names


def _merge_loras(pipeline: Any, loading: Loading) -> None:
    if names := add_loras(pipeline, loading.loras):
        pipeline.set_adapters(names, [weight for _, weight in loading.loras])
        pipeline.fuse_lora(components=pipeline._lora_loadable_modules, adapter_names=names)
        pipeline.unload_lora_weights()


def copy_to(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on another device, or itself if it is there, without waiting for the device.

    From the CPU to a GPU it goes through pinned memory: a copy from ordinary memory waits until the GPU has done
    everything that was queued before.

    Not for copies from a GPU to the CPU: their values would be there later than the tensor.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def text_encoders(pipeline: Any) -> list[Any]:
    """Return the pipeline's text encoders."""
    parts = pipeline.components.items()
    return [part for name, part in parts if name.startswith("text_encoder") and part is not None]


def autoencoder_factor(config: dict[str, Any]) -> int:
    """Return how many pixels one latent spans along each side."""
    factor: int = 2 ** (len(config["block_out_channels"]) - 1)
    return factor


@dataclass(frozen=True)
class Autoencoder:
    """KL autoencoder between images and latents, which it scales to mean 0 and standard deviation 1."""

    vae: Any  # diffusers' AutoencoderKL

    @property
    def factor(self) -> int:
        """Number of pixels that one latent spans along each side."""
        return autoencoder_factor(self.vae.config)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the shape of one frame's latents, `[1, C, H, W]`, for an image size in pixels."""
        return 1, self.vae.config.latent_channels, height // self.factor, width // self.factor

    def decode(self, latents: Tensor, tiled: bool) -> tuple[Tensor, Tensor]:
        """Return the images of latents `[B, C, H, W]`, uint8 `[B, height, width, 3]`, and which are finite, bool `[B]`.

        Nothing here waits for the device.
        """
        import torch

        images = self.decode_values(latents, tiled)
        levels = ((images / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return levels.permute(0, 2, 3, 1).contiguous(), torch.isfinite(images).flatten(1).all(1)

    def decode_values(self, latents: Tensor, tiled: bool) -> Tensor:
        """Return the decoder's output for latents `[B, C, H, W]`: float32 `[B, 3, height, width]`, about −1 … 1."""
        scaled = (latents / self.vae.config.scaling_factor + self._shift).to(self.vae.dtype)
        values: Tensor = (self.vae.tiled_decode if tiled else self.vae.decode)(scaled, return_dict=False)[0]
        return values.float()

    def encode(self, pixels: NDArray[np.uint8], noise: Tensor, tiled: bool) -> Tensor:
        """Return a sample of the latents of an image `[height, width, 3]`, float32 `[1, C, H, W]`.

        `noise` is the standard normal noise `[1, C, H, W]` of the sample.
        """
        import torch

        image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
        vae = self.vae
        encoded = (vae.tiled_encode if tiled else vae.encode)(copy_to(image.to(vae.dtype), vae.device)).latent_dist
        latents = encoded.mean.float() + encoded.std.float() * copy_to(noise, vae.device)
        scaled: Tensor = (latents - self._shift) * vae.config.scaling_factor
        return scaled

    @property
    def _shift(self) -> float:
        return self.vae.config.get("shift_factor") or 0.0


def guidance_embedding(pipeline: Any, conditioning: Conditioning, latents: Tensor) -> Tensor | None:
    """Return the guidance embedding of a latent consistency UNet, `[B, dim]` (Luo et al. 2023, arXiv:2310.04378).

    It has the device and dtype of `latents`. Returns None if the conditioning has no guidance.
    """
    if "guidance" not in conditioning:
        return None
    width = pipeline.unet.config.time_cond_proj_dim
    embedding: Tensor = pipeline.get_guidance_scale_embedding(conditioning["guidance"] - 1, embedding_dim=width)
    return copy_to(embedding.to(latents.dtype), latents.device)
