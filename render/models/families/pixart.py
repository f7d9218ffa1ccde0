"""PixArt-Sigma: a T5, a transformer that predicts noise and its variance."""

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
UNSEEN = -10_000.0  # what attention adds for tokens that pad a prompt


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
    """See `render.families.Family`. Prompts are not cleaned and sizes not changed, as diffusers' pipeline can do."""

    pipeline: Any
    autoencoder: Autoencoder
    scheduler: Schedulers
    loading: Loading
    linear: frozenset[str] = frozenset({"mask"})

    def encode(self, prompt: str, negative: bool) -> Conditioning:  # noqa: ARG002
        """T5's hidden states, `[tokens, dim]`, and which of them are no padding, `[tokens]`."""
        embeddings, mask, _, _ = self.pipeline.encode_prompt(
            prompt, do_classifier_free_guidance=False, device=self.loading.device, max_sequence_length=T5_TOKENS
        )
        return {"embeddings": embeddings[0], "mask": mask[0].to(embeddings.dtype)}

    def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: Conditioning) -> Tensor:
        """Between two prompts of other lengths a token counts for a part: its share, as what attention adds to the log."""
        share = conditioning["mask"].float().log().clamp_min(UNSEEN)
        output: Tensor = self.pipeline.transformer(
            latents,
            encoder_hidden_states=conditioning["embeddings"],
            encoder_attention_mask=share[:, None].to(latents.dtype),
            timestep=timesteps,
            added_cond_kwargs={"resolution": None, "aspect_ratio": None},
            return_dict=False,
        )[0]
        return output[:, : latents.shape[1]]  # the rest is the variance


def load(loading: Loading) -> PixArtSigma:
    pipeline = load_pipeline(PIPELINE, loading)
    schedulers = Schedulers(pipeline.scheduler.config, loading.device)
    return PixArtSigma(pipeline, Autoencoder(pipeline.vae), schedulers, loading)
