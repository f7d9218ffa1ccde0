"""Stable Diffusion 3 and 3.5: two CLIP text encoders and an optional T5, a transformer trained by flow matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from render.core import FLOW_SCHEDULERS
from render.models.families import Conditioning, Config, Encoder, Facts, Loading, SamplingDefaults
from render.models.families.parts import Autoencoder, autoencoder_factor, load_pipeline
from render.models.families.schedulers import FlowSchedulers

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PIPELINE", "load", "read_facts"]

PIPELINE = "StableDiffusion3Pipeline"
T5_TOKENS = 256  # diffusers' max_sequence_length


def read_facts(config: Config) -> Facts:
    """Return the facts of a model, with or without its T5; diffusers replaces a missing T5's embeddings by zeros."""
    transformer, clip, scheduler = config("transformer"), config("text_encoder"), config("scheduler")
    multiple = autoencoder_factor(config("vae")) * int(transformer["patch_size"])
    native = autoencoder_factor(config("vae")) * int(transformer["sample_size"])
    with_t5 = bool(config("text_encoder_3"))
    shifting = scheduler.get("use_dynamic_shifting")
    encoders = (Encoder("tokenizer", int(clip["max_position_embeddings"]), 2), Encoder("tokenizer_3", T5_TOKENS, 1))
    return Facts(
        networks=("text_encoder", "text_encoder_2", "transformer", "vae", *(["text_encoder_3"] if with_t5 else [])),
        others=("scheduler", "tokenizer", "tokenizer_2", *(["tokenizer_3"] if with_t5 else [])),
        encoders=encoders if with_t5 else encoders[:1],
        sampling=SamplingDefaults(native, native, 28, 7.0, "flow-euler"),
        size_multiple=multiple,
        size_min=multiple,
        size_max=multiple * int(transformer["pos_embed_max_size"]),
        schedulers=tuple(name for name in FLOW_SCHEDULERS if not (shifting and name == "flow-heun")),
        clip_layers=int(clip["num_hidden_layers"]) - 1,
    )


@dataclass(frozen=True)
class StableDiffusion3:
    """See `render.models.families.Family`."""

    pipeline: Any
    autoencoder: Autoencoder
    scheduler: FlowSchedulers
    loading: Loading
    linear: frozenset[str] = frozenset()

    def encode(self, prompt: str, negative: bool) -> Conditioning:
        """Return the hidden states of all encoders, `[tokens, dim]`, and the pooled vectors of both CLIPs, `[dim]`."""
        embeddings, _, pooled, _ = self.pipeline.encode_prompt(
            prompt,
            prompt_2=None,
            prompt_3=None,
            device=self.loading.device,
            do_classifier_free_guidance=False,
            clip_skip=None if negative else self.loading.clip_skip,
            max_sequence_length=T5_TOKENS,
        )
        return {"embeddings": embeddings[0], "pooled": pooled[0]}

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        output: Tensor = self.pipeline.transformer(
            hidden_states=latents,
            timestep=timesteps,
            encoder_hidden_states=conditioning["embeddings"],
            pooled_projections=conditioning["pooled"],
            return_dict=False,
        )[0]
        return output


def load(loading: Loading) -> StableDiffusion3:
    pipeline = load_pipeline(PIPELINE, loading)
    patch = pipeline.transformer.config.patch_size
    schedulers = FlowSchedulers(pipeline.scheduler.config, patch, even_sigmas=False)
    return StableDiffusion3(pipeline, Autoencoder(pipeline.vae), schedulers, loading)
