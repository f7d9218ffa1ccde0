"""Stable Diffusion XL and its few-step descendants: two CLIP text encoders, a UNet conditioned on image sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from render.models.families import Conditioning, Config, Facts, Loading, sd
from render.models.families.parts import Autoencoder, autoencoder_factor, guidance_embedding, load_pipeline
from render.models.families.schedulers import Schedulers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PIPELINE", "load", "read_facts"]

PIPELINE = "StableDiffusionXLPipeline"


def read_facts(config: Config) -> Facts:
    if config("vae").get("latents_mean") is not None:
        raise ValueError("required a vae without latents_mean, got one that normalises every channel")
    facts = sd.read_facts(config)
    return replace(
        facts,
        networks=("text_encoder", "text_encoder_2", "unet", "vae"),
        others=("scheduler", "tokenizer", "tokenizer_2"),
        sampling=replace(facts.sampling, guidance=5.0),
        clip_layers=facts.clip_layers - 1,  # the last layer is never used
    )


@dataclass(frozen=True)
class StableDiffusionXL:
    """See `render.models.families.Family`."""

    pipeline: Any
    autoencoder: Autoencoder
    scheduler: Schedulers
    loading: Loading
    linear: frozenset[str] = frozenset()

    def encode(self, prompt: str, negative: bool) -> Conditioning:
        """Return both encoders' hidden states, `[tokens, dim]`, and the second's pooled vector, `[dim]`.

        An empty negative prompt is all zeros if the model was trained so (`force_zeros_for_empty_prompt`).
        """
        skip = None if negative else self.loading.clip_skip
        embeddings, _, pooled, _ = self.pipeline.encode_prompt(
            prompt, device=self.loading.device, do_classifier_free_guidance=False, clip_skip=skip
        )
        if negative and not prompt and self.pipeline.config.force_zeros_for_empty_prompt:
            embeddings, pooled = embeddings.new_zeros(embeddings.shape), pooled.new_zeros(pooled.shape)
        return {"embeddings": embeddings[0], "pooled": pooled[0]}

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        import torch

        pooled = conditioning["pooled"]
        height, width = (side * autoencoder_factor(self.autoencoder.vae.config) for side in latents.shape[-2:])
        sizes = (height, width, 0, 0, height, width)  # original size, crop, target size
        # Filled on the device: a tensor of a list would be copied from the CPU.
        time_ids = torch.stack([pooled.new_full((len(latents),), size) for size in sizes], dim=1)
        output: Tensor = self.pipeline.unet(
            latents,
            timesteps,
            encoder_hidden_states=conditioning["embeddings"],
            timestep_cond=guidance_embedding(self.pipeline, conditioning, latents),
            added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
            return_dict=False,
        )[0]
        return output


def load(loading: Loading) -> StableDiffusionXL:
    pipeline = load_pipeline(PIPELINE, loading)
    schedulers = Schedulers(pipeline.scheduler.config)
    return StableDiffusionXL(pipeline, Autoencoder(pipeline.vae), schedulers, loading)
