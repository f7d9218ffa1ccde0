"""Trains the starter model, from npm packages to a diffusers folder.

    pip install -e '.[train]' && python -m render.starter.train --work build/starter

Four stages, each resumed from its last checkpoint by the same command: the autoencoder; the text encoder, which learns to
foretell the latents of what it reads; the UNet with the text encoder; the decoder once more on the fixed latents. All of
it takes about two hours on two CPU cores, and a GPU is taken where there is one. Needs `npm`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from render.starter.dataset import COLOURS, SIDE, STYLES, Dataset, caption, composite, held_out, load_dataset
from render.starter.muon import Muon

__all__ = ["main"]

TOKENS = 24  # the text encoder's limit
WIDTH = 128  # the text encoder's
CHANNELS = 8  # of the latents
VOCABULARY = 2000
CHECKPOINT_S = 120  # seconds between checkpoints
SAMPLING = {"width": SIDE, "height": SIDE, "steps": 20, "guidance": 3.0, "scheduler": "ddim"}  # what suits the model


@dataclass(frozen=True)
class Stage:
    """How one stage is trained. The learning rate rises in a twentieth of the steps and falls as a cosine."""

    name: str
    steps: int
    batch: int
    learning_rate: float  # of Muon; AdamW's, for what is no matrix, is a third
    average: float = 0.0  # decay of the exponential moving average of the weights; 0 keeps none


AUTOENCODER = Stage("autoencoder", steps=1700, batch=32, learning_rate=6e-3)
TEXT = Stage("text", steps=800, batch=256, learning_rate=6e-3)
UNET = Stage("unet", steps=3400, batch=64, learning_rate=4e-3, average=0.998)
DECODER = Stage("decoder", steps=250, batch=8, learning_rate=2e-3)


@dataclass(frozen=True)
class Training:
    """What all stages share."""

    dataset: Dataset
    work: Path
    device: torch.device
    seed: int
    pace: float  # factor on every stage's steps

    def draw(self, stage: Stage, step: int) -> random.Random:
        """The step's own random numbers; torch's are seeded with them, so a resumed run repeats an unbroken one."""
        draw = random.Random(f"{self.seed} {stage.name} {step}")
        torch.manual_seed(draw.getrandbits(60))
        return draw

    def fit(
        self, stage: Stage, networks: nn.ModuleDict, loss_of: Callable[[random.Random, float], Tensor]
    ) -> nn.ModuleDict:
        """Train `networks` on `loss_of` (the step's random numbers, progress 0 … 1), or take up where it was left.

        Returns the networks, or their moving average.
        """
        averaged = deepcopy(networks).requires_grad_(False) if stage.average else networks
        optimizers = _optimizers(networks, stage.learning_rate)
        file = self.work / f"{stage.name}.pt"
        steps = max(2, round(stage.steps * self.pace))
        state = {"networks": networks, "averaged": averaged} | optimizers
        first = _load(file, state, self.device)
        began = saved = time.monotonic()
        mean = math.nan
        for step in range(first, steps):
            for optimizer in optimizers.values():
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * _rate(step / steps)
            loss = loss_of(self.draw(stage, step), step / steps)
            networks.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(networks.parameters(), 1.0)
            for optimizer in optimizers.values():
                optimizer.step()
            if stage.average:
                _average(averaged, networks, min(stage.average, (1 + step) / (10 + step)))
            if step % 50 == 49 or step == steps - 1:
                mean = loss.item() if math.isnan(mean) else 0.8 * mean + 0.2 * loss.item()
                pace = (time.monotonic() - began) / (step + 1 - first)
                print(f"{stage.name} {step + 1}/{steps}  loss {mean:.4f}  {pace:.2f} s a step", flush=True)
            if time.monotonic() - saved > CHECKPOINT_S or step == steps - 1:
                _save(file, state, step + 1)
                saved = time.monotonic()
        return averaged


def train_autoencoder(training: Training) -> Any:
    """Encoder and decoder: L1 of the levels and of their gradients, a little KL divergence.

    The first three quarters see crops of 64 pixels, the rest a quarter as many whole pictures.
    """
    stage = AUTOENCODER
    torch.manual_seed(training.seed)
    vae = make_autoencoder().to(training.device)

    def loss_of(draw: random.Random, progress: float) -> Tensor:
        side = SIDE // 2 if progress < 0.75 else SIDE
        images = _images(training, draw, stage.batch * (SIDE // 2) ** 2 // side**2, side)
        latents = vae.encode(images).latent_dist
        divergence = 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean()
        loss: Tensor = _difference(vae.decode(latents.sample()).sample, images) + 1e-4 * divergence
        return loss

    training.fit(stage, nn.ModuleDict({"vae": vae}), loss_of)
    return vae.eval()


def train_decoder(training: Training, vae: AutoencoderKL) -> AutoencoderKL:
    """The decoder alone, on whole pictures and the latents as they are."""
    stage = DECODER
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)

    def loss_of(draw: random.Random, _progress: float) -> Tensor:
        images = _images(training, draw, stage.batch, SIDE)
        with torch.no_grad():
            latents = vae.encode(images).latent_dist.mean
        noise = 0.02 * torch.randn_like(latents)  # the UNet's latents are never exact
        return _difference(vae.decode(latents + noise).sample, images)

    training.fit(stage, nn.ModuleDict({"decoder": vae.decoder, "post": vae.post_quant_conv}), loss_of)
    return vae.eval()


def train_text(training: Training, networks: nn.ModuleDict, tokenizer: Any, latents: Tensor) -> None:
    """The text encoder and the UNet's text projection, which foretell a caption's latents through one linear layer."""
    stage = TEXT
    torch.manual_seed(training.seed + 1)
    unet, text_encoder = networks["unet"], networks["text_encoder"]
    embedding: Any = unet.add_embedding
    head = nn.Linear(embedding.proj.out_features, latents[0, 0].numel()).to(training.device)

    def loss_of(draw: random.Random, _progress: float) -> Tensor:
        captions, targets = _pairs(training, draw, stage.batch, latents)
        foretold = head(embedding(text_encoder(_tokens(tokenizer, captions, training.device))[0]))
        return mse_loss(foretold, targets.flatten(1))

    training.fit(stage, nn.ModuleDict({"text_encoder": text_encoder, "embedding": embedding, "head": head}), loss_of)


def train_unet(training: Training, networks: nn.ModuleDict, tokenizer: Any, latents: Tensor) -> nn.ModuleDict:
    """UNet and text encoder on v-prediction (Salimans and Ho 2022, arXiv:2202.00512), a tenth of the captions empty."""
    stage = UNET
    unet, text_encoder = networks["unet"], networks["text_encoder"]
    alphas = make_scheduler().alphas_cumprod.to(training.device)

    def loss_of(draw: random.Random, _progress: float) -> Tensor:
        captions, targets = _pairs(training, draw, stage.batch, latents)
        captions = ["" if draw.random() < 0.1 else text for text in captions]
        spread = (torch.arange(stage.batch) + torch.rand(stage.batch)) / stage.batch  # every part of the schedule
        timesteps = (spread * len(alphas)).long().to(training.device)
        signal, noise_share = (x.sqrt().view(-1, 1, 1, 1) for x in (alphas[timesteps], 1 - alphas[timesteps]))
        targets = targets.contiguous(memory_format=torch.channels_last)
        noise = torch.randn(targets.shape).to(training.device)
        embeddings = text_encoder(_tokens(tokenizer, captions, training.device))[0]
        predicted = unet(signal * targets + noise_share * noise, timesteps, embeddings).sample
        return mse_loss(predicted, signal * noise - noise_share * targets)

    return training.fit(stage, networks, loss_of)


def make_autoencoder() -> AutoencoderKL:
    """2.6 M parameters, 8 channels, a side of 8 pixels to each latent; nearly without noise at first."""
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
    """The UNet, 6.3 M parameters, and the text encoder, 0.8 M.

    The prompt reaches the UNet twice: as a sum to the timestep's embedding, which scales and shifts every residual block
    (that is what remembers the pictures), and by cross-attention in the middle.
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
        attention_head_dim=4,  # heads, in spite of its name
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


def make_tokenizer(dataset: Dataset) -> Any:
    """CLIP's tokenizer, its byte pairs merged on every caption there can be."""
    untrained = CLIPTokenizer(model_max_length=TOKENS)
    captions = [
        f"a {style} {label} on a {colour} background"
        for label in dataset.labels
        for style in STYLES
        for colour in (*COLOURS, "gray")
    ]
    return untrained.train_new_from_iterator(captions, VOCABULARY, show_progress=False)


@torch.no_grad()
def encode_dataset(training: Training, vae: AutoencoderKL) -> Tensor:
    """Latents of every picture on every colour, `[N, 10, C, 16, 16]`.

    The first call writes the channels' mean and deviation into the autoencoder's 1×1 convolutions, so that the latents
    are of mean 0 and deviation 1 and `scaling_factor` is 1.
    """
    encoded = []
    for start in range(0, len(training.dataset), 64):
        pictures = training.dataset.pictures[start : start + 64]
        of_colour = [
            vae.encode(_tensor(composite(pictures, colour), training.device)).latent_dist.mean.cpu()
            for colour in COLOURS
        ]
        encoded.append(torch.stack(of_colour, 1))
    latents = torch.cat(encoded)
    mean, deviation = latents.mean((0, 1, 3, 4)), latents.std((0, 1, 3, 4))
    _normalise(vae, mean.to(training.device), deviation.to(training.device))
    return ((latents - mean.view(-1, 1, 1)) / deviation.view(-1, 1, 1)).to(training.device)


def _normalise(vae: AutoencoderKL, mean: Tensor, deviation: Tensor) -> None:
    """Fold (z - mean) / deviation into quant_conv and its inverse into post_quant_conv."""
    quant, post = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    quant.weight[:channels] /= deviation.view(-1, 1, 1, 1)
    quant.bias[:channels] = (quant.bias[:channels] - mean) / deviation
    quant.bias[channels:] -= 2 * deviation.log()  # the log-variances
    post.bias += (post.weight[..., 0, 0] * mean).sum(1)
    post.weight *= deviation.view(1, -1, 1, 1)


def _difference(got: Tensor, wanted: Tensor) -> Tensor:
    """L1, and half the L1 of the differences between neighbouring pixels, which keeps edges."""
    error = got - wanted
    return error.abs().mean() + 0.5 * (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())


def _images(training: Training, draw: random.Random, count: int, side: int) -> Tensor:
    """Random squares of random pictures on random colours, `[count, 3, side, side]` in -1 … 1."""
    squares = []
    for _ in range(count):
        picture = training.dataset.pictures[draw.randrange(len(training.dataset))]
        top, left = draw.randint(0, SIDE - side), draw.randint(0, SIDE - side)
        square = composite(picture[top : top + side, left : left + side], draw.choice(list(COLOURS)))
        squares.append(square[:, ::-1] if draw.random() < 0.5 else square)
    return _tensor(np.stack(squares), training.device)


def _tensor(levels: Any, device: torch.device) -> Tensor:
    """Images `[B, H, W, 3]` of 0 … 255 as `[B, 3, H, W]` of -1 … 1."""
    return (torch.from_numpy(levels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
        memory_format=torch.channels_last
    )


def _pairs(training: Training, draw: random.Random, count: int, latents: Tensor) -> tuple[list[str], Tensor]:
    """Captions and their latents, of combinations that are not held out."""
    dataset, colours = training.dataset, list(COLOURS)
    captions: list[str] = []
    chosen: list[tuple[int, int]] = []
    while len(captions) < count:
        picture, colour = draw.randrange(len(dataset)), draw.randrange(len(colours))
        style, label = STYLES[dataset.style_of[picture]], dataset.labels[dataset.label_of[picture]]
        if not held_out(label, style, colours[colour]):
            captions.append(caption(dataset, picture, colours[colour], draw))
            chosen.append((picture, colour))
    pictures, of_colour = torch.tensor(chosen).T
    return captions, latents[pictures, of_colour]


def _tokens(tokenizer: Any, captions: list[str], device: torch.device) -> Tensor:
    tokens: Tensor = tokenizer(
        captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
    ).input_ids
    return tokens.to(device)


def _optimizers(networks: nn.Module, learning_rate: float) -> dict[str, torch.optim.Optimizer]:
    """Muon for what multiplies features with features; AdamW for biases, norms, embeddings, first and last layers."""
    trained = {name: value for name, value in networks.named_parameters() if value.requires_grad}
    edges = ("conv_in", "conv_out", "quant_conv", "embeddings", "head")
    matrices = [
        value
        for name, value in trained.items()
        if value.ndim > 1 and min(value.flatten(1).shape) >= 16 and not any(edge in name for edge in edges)
    ]
    chosen = {id(value) for value in matrices}
    rest = [value for value in trained.values() if id(value) not in chosen]
    muon = Muon([{"params": matrices, "peak": learning_rate}], learning_rate)
    others: dict[str, Any] = {"params": rest, "peak": learning_rate / 3}
    adamw = torch.optim.AdamW([others], learning_rate / 3, betas=(0.9, 0.99), weight_decay=0.0)
    return {"muon": muon, "adamw": adamw}


def _rate(progress: float) -> float:
    """The learning rate as a part of its peak."""
    return min(1.0, progress / 0.05 + 0.01) * 0.5 * (1 + math.cos(math.pi * progress))


@torch.no_grad()
def _average(averaged: nn.Module, networks: nn.Module, decay: float) -> None:
    for mean, value in zip(averaged.parameters(), networks.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


def _save(file: Path, state: dict[str, Any], step: int) -> None:
    partial = file.with_suffix(".part")
    torch.save({"step": step} | {name: part.state_dict() for name, part in state.items()}, partial)
    partial.replace(file)


def _load(file: Path, state: dict[str, Any], device: torch.device) -> int:
    """Restore a checkpoint where there is one; the step to go on with."""
    if not file.is_file():
        return 0
    saved = torch.load(file, map_location=device, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])


def train(training: Training, out: Path) -> None:
    """Every stage, then the pipeline folder in half precision."""
    vae = train_autoencoder(training)
    latents = encode_dataset(training, vae)
    tokenizer = make_tokenizer(training.dataset)
    torch.manual_seed(training.seed)
    networks = make_networks(tokenizer).to(training.device)
    train_text(training, networks, tokenizer, latents)
    averaged = train_unet(training, networks, tokenizer, latents)
    train_decoder(training, vae)
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=averaged["text_encoder"],
        tokenizer=tokenizer,
        unet=averaged["unet"],
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).to(dtype=torch.float16).save_pretrained(out)
    (out / "labels.txt").write_text("\n".join([*sorted(training.dataset.labels), ""]), encoding="utf-8")
    (out / "sampling.json").write_text(json.dumps(SAMPLING) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of the dataset and the checkpoints")
    parser.add_argument("--out", type=Path, help="folder of the pipeline (default: WORK/pipeline)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pace", type=float, default=1.0, help="factor on every stage's steps (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dataset = load_dataset(arguments.work / "dataset")
    training = Training(dataset, arguments.work, device, arguments.seed, arguments.pace)
    train(training, arguments.out or arguments.work / "pipeline")


if __name__ == "__main__":
    main()
