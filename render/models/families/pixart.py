"""PixArt-Sigma: a T5 text encoder, a transformer that predicts noise and its variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from render.core import DIFFUSION_SCHEDULERS
from render.models.families import Conditioning, Config, Encoder, Facts, Loading, SamplingDefaults
from render.models.families.parts import SIDE_MAX, Autoencoder, autoencoder_factor, load_pipeline
from render.models.families.schedulers import Schedulers, native_scheduler

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["PIPELINE", "load", "read_facts"]

PIPELINE = "PixArtSigmaPipeline"
T5_TOKENS = 300  # diffusers' max_sequence_length
MASKED = -10_000.0  # attention bias of padding tokens


def read_facts(config: Config) -> Facts:
    transformer = config("transformer")
    factor = autoencoder_factor(config("vae"))
    native, multiple = factor * int(transformer["sample_size"]), factor * int(transformer["patch_size"])
    return Facts(
        networks=("text_encoder", "transformer", "vae"),
        others=("scheduler", "tokenizer"),
        encoders=(Encoder("tokenizer", T5_TOKENS, 1),),
        sampling=SamplingDefaults(native, native, 20, 4.5, native_scheduler(config("scheduler"), "dpm++2m")),
        size_multiple=multiple,
        size_min=multiple,
        size_max=SIDE_MAX,
        schedulers=DIFFUSION_SCHEDULERS,
        loras=False,
    )


@dataclass(frozen=True)
class PixArtSigma:
    """See `render.models.families.Family`. Unlike diffusers' pipeline by default, cleans no prompt and changes no size."""

    pipeline: Any
    autoencoder: Autoencoder
    scheduler: Schedulers
    loading: Loading
    linear: frozenset[str] = frozenset({"mask"})

    def encode(self, prompt: str, negative: bool) -> Conditioning:  # noqa: ARG002
        """Return T5's hidden states, `[tokens, dim]`, and its attention mask (0 for padding), `[tokens]`."""
        embeddings, mask, _, _ = self.pipeline.encode_prompt(
            prompt, do_classifier_free_guidance=False, device=self.loading.device, max_sequence_length=T5_TOKENS
        )
        return {"embeddings": embeddings[0], "mask": mask[0].to(embeddings.dtype)}

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        # Between prompts of different lengths the interpolated mask lies between 0 and 1. Attention adds its logarithm to
        # the scores, so that a token counts in proportion to its mask.
        bias = conditioning["mask"].float().log().clamp_min(MASKED)
        output: Tensor = self.pipeline.transformer(
            latents,
            encoder_hidden_states=conditioning["embeddings"],
            encoder_attention_mask=bias[:, None].to(latents.dtype),
            timestep=timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return output[:, : latents.shape[1]]  # the rest is the variance


def load(loading: Loading) -> PixArtSigma:
    pipeline = load_pipeline(PIPELINE, loading)
    schedulers = Schedulers(pipeline.scheduler.config)
    return PixArtSigma(pipeline, Autoencoder(pipeline.vae), schedulers, loading)
