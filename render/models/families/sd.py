"""Stable Diffusion 1.x and 2.x: one CLIP text encoder, a UNet, a KL autoencoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from render.core import DIFFUSION_SCHEDULERS
from render.models.families import Conditioning, Config, Encoder, Facts, Loading, SamplingDefaults
from render.models.families.parts import SIDE_MAX, Autoencoder, autoencoder_factor, guidance_embedding, load_pipeline
from render.models.families.schedulers import Schedulers, native_scheduler

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PIPELINE", "load", "read_facts"]

PIPELINE = "StableDiffusionPipeline"


def read_facts(config: Config) -> Facts:
    """Return the facts of a model. Width and height must be large enough for the UNet to halve them at every level."""
    unet, clip = config("unet"), config("text_encoder")
    factor = autoencoder_factor(config("vae"))
    native = factor * int(unet["sample_size"])
    return Facts(
        networks=("text_encoder", "unet", "vae"),
        others=("scheduler", "tokenizer"),
        encoders=(Encoder("tokenizer", int(clip["max_position_embeddings"]), 2),),
        sampling=SamplingDefaults(native, native, 50, 7.5, native_scheduler(config("scheduler"), "ddim")),
        size_multiple=factor,
        size_min=factor * 2 ** (len(unet["block_out_channels"]) - 1),
        size_max=SIDE_MAX,
        schedulers=DIFFUSION_SCHEDULERS,
        guidance_embeds=unet.get("time_cond_proj_dim") is not None,
        clip_layers=int(clip["num_hidden_layers"]),
        weighted=True,
    )


@dataclass(frozen=True)
class StableDiffusion:
    """See `render.models.families.Family`."""

    pipeline: Any
    autoencoder: Autoencoder
    scheduler: Schedulers
    loading: Loading
    linear: frozenset[str] = frozenset()

    def encode(self, prompt: str, negative: bool) -> Conditioning:
        """Return the text encoder's last hidden states, `[tokens, dim]`, or earlier ones by `clip_skip`.

        For negative prompts no layer is left out, as in diffusers.
        """
        skip = None if negative else self.loading.clip_skip
        embeddings, _ = self.pipeline.encode_prompt(prompt, self.loading.device, 1, False, clip_skip=skip)
        return {"embeddings": embeddings[0]}

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        output: Tensor = self.pipeline.unet(
            latents,
            timesteps,
            encoder_hidden_states=conditioning["embeddings"],
            timestep_cond=guidance_embedding(self.pipeline, conditioning, latents),
            return_dict=False,
        )[0]
        return output


def load(loading: Loading) -> StableDiffusion:
    pipeline = load_pipeline(PIPELINE, loading)
    if not hasattr(pipeline.text_encoder, "text_model"):  # diffusers looks there for the norm of clip_skip
        object.__setattr__(pipeline.text_encoder, "text_model", pipeline.text_encoder)  # not as a submodule
    schedulers = Schedulers(pipeline.scheduler.config)
    return StableDiffusion(pipeline, Autoencoder(pipeline.vae), schedulers, loading)
