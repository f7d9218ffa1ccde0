"""Train the starter model, from npm packages to a diffusers folder. Run from the root of a clone:

    pip install -e '.[train]' && python -m training.train --work build/starter

Four stages: (1) the autoencoder; (2) the text encoder, which learns to predict the latents of a caption's picture; (3) the
UNet together with the text encoder; (4) the decoder once more, on the final latents. The same command resumes each stage
from its last checkpoint. All stages take about two hours on two CPU cores; a GPU is used if there is one. Needs the
command `npm`.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from training.dataset import COLOURS, SIDE, STYLES, caption, composite, held_out, load_dataset
from training.loop import Stage, Training
from training.networks import TOKENS, make_autoencoder, make_networks, make_scheduler, make_tokenizer

__all__ = ["main"]

SAMPLING = {"width": SIDE, "height": SIDE, "steps": 20, "guidance": 3.0, "scheduler": "ddim"}  # sampling.json

AUTOENCODER = Stage("autoencoder", steps=1700, batch=32, learning_rate=6e-3)
TEXT = Stage("text", steps=800, batch=256, learning_rate=6e-3)
UNET = Stage("unet", steps=3400, batch=64, learning_rate=4e-3, average=0.998)
DECODER = Stage("decoder", steps=250, batch=8, learning_rate=2e-3)


def train_autoencoder(training: Training) -> Any:
    """Train the autoencoder on L1 of pixel values and of their gradients, plus a little KL divergence.

    The first three quarters of the steps take crops of 64 pixels, the last quarter whole pictures, a quarter as many.
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
    """Train the decoder alone, on whole pictures; the encoder stays as it is."""
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
    """Train the text encoder and the UNet's text projection to predict a caption's latents through one linear layer."""
    stage = TEXT
    torch.manual_seed(training.seed + 1)
    unet, text_encoder = networks["unet"], networks["text_encoder"]
    embedding: Any = unet.add_embedding
    head = nn.Linear(embedding.proj.out_features, latents[0, 0].numel()).to(training.device)

    def loss_of(draw: random.Random, _progress: float) -> Tensor:
        captions, targets = _pairs(training, draw, stage.batch, latents)
        predicted = head(embedding(text_encoder(_tokens(tokenizer, captions, training.device))[0]))
        return mse_loss(predicted, targets.flatten(1))

    training.fit(stage, nn.ModuleDict({"text_encoder": text_encoder, "embedding": embedding, "head": head}), loss_of)


def train_unet(training: Training, networks: nn.ModuleDict, tokenizer: Any, latents: Tensor) -> nn.ModuleDict:
    """Train UNet and text encoder on v-prediction (Salimans and Ho 2022, arXiv:2202.00512), a tenth of the captions empty.

    Returns the moving average of both.
    """
    stage = UNET
    unet, text_encoder = networks["unet"], networks["text_encoder"]
    alphas = make_scheduler().alphas_cumprod.to(training.device)

    def loss_of(draw: random.Random, _progress: float) -> Tensor:
        captions, targets = _pairs(training, draw, stage.batch, latents)
        captions = ["" if draw.random() < 0.1 else text for text in captions]
        spread = (
            torch.arange(stage.batch) + torch.rand(stage.batch)
        ) / stage.batch  # stratified: one in each part of the schedule
        timesteps = (spread * len(alphas)).long().to(training.device)
        signal, noise_share = (x.sqrt().view(-1, 1, 1, 1) for x in (alphas[timesteps], 1 - alphas[timesteps]))
        targets = targets.contiguous(memory_format=torch.channels_last)
        noise = torch.randn(targets.shape).to(training.device)
        embeddings = text_encoder(_tokens(tokenizer, captions, training.device))[0]
        predicted = unet(signal * targets + noise_share * noise, timesteps, embeddings).sample
        return mse_loss(predicted, signal * noise - noise_share * targets)

    return training.fit(stage, networks, loss_of)


@torch.no_grad()
def encode_dataset(training: Training, vae: AutoencoderKL) -> Tensor:
    """Return the latents of every picture on every colour, `[N, 10, C, 16, 16]`, at mean 0 and standard deviation 1.

    Changes `vae`: the channels' mean and deviation are folded into its 1×1 convolutions, so that its `scaling_factor` is 1.
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
    """Return L1 plus half the L1 of the differences between neighbouring pixels, which keeps edges sharp."""
    error = got - wanted
    return error.abs().mean() + 0.5 * (error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean())


def _images(training: Training, draw: random.Random, count: int, side: int) -> Tensor:
    """Return random crops of random pictures on random colours, half of them mirrored, `[B, 3, side, side]` in -1 … 1."""
    crops = []
    for _ in range(count):
        picture = training.dataset.pictures[draw.randrange(len(training.dataset))]
        top, left = draw.randint(0, SIDE - side), draw.randint(0, SIDE - side)
        crop = composite(picture[top : top + side, left : left + side], draw.choice(list(COLOURS)))
        crops.append(crop[:, ::-1] if draw.random() < 0.5 else crop)
    return _tensor(np.stack(crops), training.device)


def _tensor(levels: Any, device: torch.device) -> Tensor:
    """Return images `[B, H, W, 3]` in 0 … 255 as `[B, 3, H, W]` in -1 … 1."""
    return (torch.from_numpy(levels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
        memory_format=torch.channels_last
    )


def _pairs(training: Training, draw: random.Random, count: int, latents: Tensor) -> tuple[list[str], Tensor]:
    """Return random captions and their latents `[B, C, 16, 16]`, none of them of a held-out combination."""
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


def train(training: Training, out: Path) -> None:
    """Run every stage, then write the pipeline to the folder `out` in half precision."""
    vae = train_autoencoder(training)
    latents = encode_dataset(training, vae)
    tokenizer = make_tokenizer(training.dataset.labels, training.work / "tokenizer")
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
    parser = argparse.ArgumentParser(
        prog="python -m training.train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the dataset and the checkpoints")
    parser.add_argument("--out", type=Path, help="folder to write the pipeline to (default: WORK/pipeline)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights, batches and noise (default: 0)")
    parser.add_argument(
        "--pace", type=float, default=1.0, help="factor on the number of steps of every stage (default: 1)"
    )
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
