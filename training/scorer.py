"""Train the starter's scorer, a small CLIP: how well does a picture fit its prompt? Run from the root of a clone:

    pip install -e '.[train]' && python -m training.scorer --work build/starter

Text and image towers are transformers' `CLIPModel`, so that any program that loads CLIP loads it. The text tower begins as
the starter's own text encoder, and has its tokenizer. Batches hold each picture on two backgrounds, and many labels in both
styles, so that colour and style have to be told apart, too. Takes about forty minutes on two CPU cores; the same command
resumes. `--judge` draws 300 captions with the starter and prints how often the scorer ranks the right one first.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPTokenizer

from render.starter import PIPELINE
from training.dataset import COLOURS, SIDE, STYLES, Caption, Dataset, caption, composite, load_dataset
from training.evaluate import draw_captions, draw_pictures
from training.loop import Stage, Training
from training.networks import TOKENS

__all__ = ["main"]

STAGE = Stage("scorer", steps=1700, batch=96, learning_rate=4e-3, average=0.998)
INPUT = 48  # pixels of the image tower's input
PATCH = 8
WIDTH = 160
MEAN, DEVIATION = 0.5, 0.5  # of pixel values in 0 … 1
TEMPLATE_COLOURS = ("white", "black", "red", "blue", "grey")


def make_scorer() -> CLIPModel:
    """Return a CLIP of 1.7 M parameters, whose text tower is the starter's text encoder."""
    text: Any = CLIPTextModel.from_pretrained(PIPELINE / "text_encoder", dtype=torch.float32, local_files_only=True)
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": 3 * WIDTH,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": INPUT,
        "patch_size": PATCH,
    }
    config = CLIPConfig(text_config=text.config.to_dict(), vision_config=vision, projection_dim=128)
    model = CLIPModel(config)
    model.text_model.load_state_dict(text.text_model.state_dict() if hasattr(text, "text_model") else text.state_dict())
    return model


def train(training: Training) -> CLIPModel:
    """Train both towers to tell the batch's captions and pictures apart (Radford et al. 2021, arXiv:2103.00020)."""
    torch.manual_seed(training.seed)
    model = make_scorer().to(training.device)
    tokenizer = CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer", local_files_only=True)

    def loss_of(draw: random.Random, _progress: float) -> Tensor:
        captions, images = draw_batch(training.dataset, draw, STAGE.batch)
        tokens = tokenizer(captions, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")
        found = model(pixel_values=images.to(training.device), **tokens.to(training.device))
        same = torch.tensor([captions.index(one) for one in captions], device=training.device)  # equal captions are one
        logits = found.logits_per_text
        twins = (same[:, None] == same[None]) & ~torch.eye(len(captions), dtype=torch.bool, device=training.device)
        logits = logits.masked_fill(twins, -1e4)
        places = torch.arange(len(captions), device=training.device)
        return (cross_entropy(logits, places) + cross_entropy(logits.T, places)) / 2

    averaged = training.fit(STAGE, nn.ModuleDict({"clip": model}), loss_of)
    scorer: CLIPModel = averaged["clip"]
    return scorer.eval()


def draw_batch(dataset: Dataset, draw: random.Random, count: int) -> tuple[list[str], Tensor]:
    """Return captions and pictures `[B, 3, 48, 48]`: of each drawn label both styles, each on two backgrounds."""
    captions: list[str] = []
    pictures: list[Tensor] = []
    while len(captions) < count:
        label = draw.randrange(len(dataset.labels))
        for picture in np.flatnonzero(dataset.label_of == label):
            for colour in draw.sample(list(COLOURS), 2):
                captions.append(caption(dataset, int(picture), colour, draw))
                pictures.append(augmented(composite(dataset.pictures[picture], colour), draw))
    return captions[:count], torch.stack(pictures[:count])


def augmented(levels: Any, draw: random.Random) -> Tensor:
    """Return a picture `[128, 128, 3]` as the image tower's input, a little moved, scaled, blurred, tinted and noisy."""
    image = torch.from_numpy(levels).permute(2, 0, 1)[None].float() / 255
    side = draw.randint(SIDE - 14, SIDE)
    top, left = draw.randint(0, SIDE - side), draw.randint(0, SIDE - side)
    image = image[..., top : top + side, left : left + side]
    if draw.random() < 0.5:
        image = interpolate(image, draw.randint(32, 96), mode="bilinear", antialias=True)
    image = interpolate(image, INPUT, mode="bicubic", antialias=True)[0]
    image = image * draw.uniform(0.92, 1.08) + draw.uniform(-0.04, 0.04)
    image = image + torch.randn(image.shape) * draw.uniform(0, 0.04)
    return (image.clamp(0, 1) - MEAN) / DEVIATION


def save(model: CLIPModel, labels: tuple[str, ...], folder: Path) -> None:
    """Write a CLIP folder in half precision: model, tokenizer, image processor, labels and the captions to look for."""
    model.to(dtype=torch.float16).save_pretrained(folder)
    CLIPTokenizer.from_pretrained(PIPELINE / "tokenizer", local_files_only=True).save_pretrained(folder)
    CLIPImageProcessor(
        size={"height": INPUT, "width": INPUT},
        do_center_crop=False,
        image_mean=[MEAN] * 3,
        image_std=[DEVIATION] * 3,
    ).save_pretrained(folder)
    templates = [str(Caption("{}", style, colour)) for style in STYLES for colour in TEMPLATE_COLOURS]
    for name, lines in (("labels.txt", sorted(labels)), ("templates.txt", templates)):
        (folder / name).write_text("\n".join([*lines, ""]), encoding="utf-8")


@torch.no_grad()
def judge(folder: Path, dataset: Dataset, count: int) -> dict[str, float]:
    """Return percentages of drawn pictures whose own caption has the highest score among all labels, styles or colours."""
    model: Any = CLIPModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    processor = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
    pipeline = StableDiffusionPipeline.from_pretrained(PIPELINE, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    drawn = draw_pictures(pipeline, dataset, draw_captions(dataset, count, unseen=False))
    pixels = processor([Image.fromarray(one.image) for one in drawn], return_tensors="pt").pixel_values
    images = model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output)
    right = {"label": 0, "style": 0, "colour": 0}
    for one, image in zip(drawn, images, strict=True):
        label = dataset.labels[dataset.label_of[one.picture]]
        style = STYLES[dataset.style_of[one.picture]]
        rivals = {
            "label": [str(Caption(other, style, one.colour)) for other in dataset.labels],
            "style": [str(Caption(label, other, one.colour)) for other in STYLES],
            "colour": [str(Caption(label, style, other)) for other in COLOURS],
        }
        for kind, captions in rivals.items():
            tokens = tokenizer(captions, padding="max_length", max_length=TOKENS, return_tensors="pt")
            texts = model.text_projection(model.text_model(**tokens).pooler_output)
            best = int(nn.functional.cosine_similarity(texts, image[None]).argmax())
            right[kind] += captions[best] == str(Caption(label, style, one.colour))
    return {kind: 100 * number / len(drawn) for kind, number in right.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.scorer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the dataset and the checkpoint")
    parser.add_argument("--out", type=Path, help="folder to write the scorer to (default: WORK/scorer)")
    parser.add_argument("--judge", action="store_true", help="measure the scorer instead, and write nothing")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default: 0)")
    parser.add_argument("--pace", type=float, default=1.0, help="factor on the number of steps (default: 1)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    dataset = load_dataset(arguments.work / "dataset")
    out = arguments.out or arguments.work / "scorer"
    if arguments.judge:
        print(judge(out, dataset, 300))
        return
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    save(train(Training(dataset, arguments.work, device, arguments.seed, arguments.pace)), dataset.labels, out)


if __name__ == "__main__":
    main()
