"""FLUX.1 dev and schnell: CLIP (pooled vector) and T5 (tokens), a transformer on 2×2 patches, trained by flow matching.

In dev, guidance is an input of the network (`guidance_embeds`). Classifier-free guidance can be used as well; it has a
setting of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from render.models.families import Conditioning, Config, Encoder, Facts, Loading, SamplingDefaults
from render.models.families.parts import SIDE_MAX, Autoencoder, autoencoder_factor, copy_to, load_pipeline
from render.models.families.schedulers import FlowSchedulers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PIPELINE", "load", "read_facts"]

PIPELINE = "FluxPipeline"
T5_TOKENS = 512  # diffusers' max_sequence_length
PATCH = 2  # latents along each side of a transformer token
NATIVE = 128  # latents along each side of the trained image size


def read_facts(config: Config) -> Facts:
    """Return the facts of a FLUX.1 model.

    The multistep schedulers are offered for models with a size-dependent shift only: diffusers' pipeline, our reference,
    can't run them with the others.
    """
    factor, guidance_embeds = autoencoder_factor(config("vae")), bool(config("transformer")["guidance_embeds"])
    steps, guidance = (28, 3.5) if guidance_embeds else (4, 1.0)
    shifting = config("scheduler").get("use_dynamic_shifting")
    return Facts(
        networks=("text_encoder", "text_encoder_2", "transformer", "vae"),
        others=("scheduler", "tokenizer", "tokenizer_2"),
        encoders=(Encoder("tokenizer_2", T5_TOKENS, 1),),
        sampling=SamplingDefaults(factor * NATIVE, factor * NATIVE, steps, guidance, "flow-euler"),
        size_multiple=factor * PATCH,
        size_min=factor * PATCH,
        size_max=SIDE_MAX,
        schedulers=("flow-euler", "flow-dpm++2m", "flow-unipc") if shifting else ("flow-euler",),
        guidance_embeds=guidance_embeds,
    )


@dataclass(frozen=True)
class Flux:
    """See `render.models.families.Family`."""

    pipeline: Any
    autoencoder: Autoencoder
    scheduler: FlowSchedulers
    loading: Loading
    linear: frozenset[str] = frozenset()

    def encode(self, prompt: str, negative: bool) -> Conditioning:  # noqa: ARG002
        """Return T5's hidden states, `[tokens, dim]`, and CLIP's pooled vector, `[dim]`."""
        embeddings, pooled, _ = self.pipeline.encode_prompt(
            prompt, prompt_2=None, device=self.loading.device, max_sequence_length=T5_TOKENS
        )
        return {"embeddings": embeddings[0], "pooled": pooled[0]}

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        rows, channels, height, width = latents.shape
        embeddings, guidance = conditioning["embeddings"], conditioning.get("guidance")
        with latents.device:  # diffusers makes the positions on the default device
            positions = self.pipeline._prepare_latent_image_ids(
                rows, height // PATCH, width // PATCH, latents.device, latents.dtype
            )
        output: Tensor = self.pipeline.transformer(
            hidden_states=self.pipeline._pack_latents(latents, rows, channels, height, width),
            timestep=timesteps.to(latents.dtype) / 1000,
            guidance=None if guidance is None else copy_to(guidance, latents.device),
            pooled_projections=conditioning["pooled"],
            encoder_hidden_states=embeddings,
            txt_ids=embeddings.new_zeros(embeddings.shape[1], 3),
            img_ids=positions,
            return_dict=False,
        )[0]
        factor = autoencoder_factor(self.autoencoder.vae.config)
        unpacked: Tensor = self.pipeline._unpack_latents(output, factor * height, factor * width, factor)
        return unpacked


def load(loading: Loading) -> Flux:
    pipeline = load_pipeline(PIPELINE, loading)
    schedulers = FlowSchedulers(pipeline.scheduler.config, PATCH, even_sigmas=True)
    return Flux(pipeline, Autoencoder(pipeline.vae), schedulers, loading)
