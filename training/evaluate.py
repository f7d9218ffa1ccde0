"""Measure a starter model: does it draw the prompted thing, on the prompted colour, how sharp, how fast, how smoothly?

Run from the root of a clone, after `pip install -e '.[train]'`:

    python -m training.evaluate --work build/starter                         # the shipped model
    python -m training.evaluate --work build/starter build/starter/pipeline  # the model just trained

Prints the figures beside the recorded ones (`training/figures.json`, to which `--record NAME` adds a column) and the goals.
Pictures are drawn by diffusers' own pipeline, walks by `render`. Takes about nine minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image

import render
from render.starter import PIPELINE
from training.dataset import COLOURS, STYLES, Caption, Dataset, composite, held_out, load_dataset

__all__ = ["Drawn", "background", "main", "nearest", "psnr", "reduced"]

FIGURES = Path(__file__).parent / "figures.json"
SEED = 1_000_000  # of the first picture
GOALS = {  # figure → (description, goal)
    "labels": ("labels it lists", ""),
    "megabytes": ("size of the folder, MB", "≤ 20"),
    "psnr": ("autoencoder: PSNR over all pictures, dB", "≥ 30"),
    "nearest": ("nearest dataset picture is the prompted one, %", "≥ 95"),
    "nearest_5": ("prompted picture among the five nearest, %", "≥ 99"),
    "background": ("background colour right, %", "≥ 98"),
    "nearest_listed": ("nearest, for the labels it lists, %", ""),
    "nearest_unseen": ("nearest, for combinations kept from training, %", "≥ 95"),
    "background_unseen": ("background, for combinations kept from training, %", "≥ 98"),
    "image_s": ("one image alone, 20 steps with guidance, s", "≤ 0.5"),
    "walk_s": ("a walk of 48 frames, the whole command, s", "< 30"),
    "walk_step": ("ten walks: largest mean difference of neighbours, levels", "≤ 32"),
    "walk_blank": ("ten walks: blank frames", "0"),
}
WALKS = (
    ("3d dog face", "3d cat face"),
    ("flat red apple", "flat tangerine"),
    ("3d rocket on a blue background", "3d airplane on a blue background"),
    ("3d octopus", "3d crab"),
    ("flat sun on a yellow background", "flat crescent moon on a black background"),
    ("3d house on a green background", "3d castle on a purple background"),
    ("flat grinning face", "flat crying face"),
    ("3d tulip on a pink background", "3d rose on a white background"),
    ("3d pizza", "flat pizza"),
    ("flat sailboat on a blue background", "flat whale on a grey background"),
)


@dataclass(frozen=True)
class Drawn:
    """Image that a model drew for one picture of the dataset on one background colour."""

    picture: int  # index in the dataset
    colour: str
    image: NDArray[np.uint8]  # [128, 128, 3]


def draw_captions(dataset: Dataset, count: int, unseen: bool) -> list[tuple[int, str]]:
    """Return random pairs (picture, colour); if `unseen`, only combinations that were kept from training."""
    draw = random.Random(SEED + unseen)
    pairs: list[tuple[int, str]] = []
    while len(pairs) < count:
        picture, colour = draw.randrange(len(dataset)), draw.choice(list(COLOURS))
        if not unseen or held_out(*_names(dataset, picture), colour):
            pairs.append((picture, colour))
    return pairs


def draw_pictures(pipeline: Any, dataset: Dataset, pairs: Sequence[tuple[int, str]]) -> list[Drawn]:
    """Draw every pair's caption from a seed of its own: 20 DDIM steps, guidance 3."""
    drawn = []
    for start in range(0, len(pairs), 10):
        some = pairs[start : start + 10]
        prompts = []
        for picture, colour in some:
            label, style = _names(dataset, picture)
            prompts.append(f"a {Caption(label, style, colour)}")
        seeds = [torch.Generator().manual_seed(SEED + start + n) for n in range(len(some))]
        images = pipeline(prompts, num_inference_steps=20, guidance_scale=3.0, generator=seeds).images
        drawn += [Drawn(*pair, np.asarray(image)) for pair, image in zip(some, images, strict=True)]
    return drawn


def nearest(candidates: NDArray[np.float32], image: NDArray[np.uint8], count: int) -> list[int]:
    """Return the indices of the `count` candidates `[N, 32, 32, 3]` nearest to an image by mean squared error."""
    distances = np.square(candidates - reduced(image[None])).mean((1, 2, 3))
    return [int(index) for index in np.argsort(distances, kind="stable")[:count]]


def background(dataset: Dataset, drawn: Drawn) -> str:
    """Return the colour nearest to the drawn image where the prompted picture is most transparent."""
    alpha = dataset.pictures[drawn.picture, ..., 3]
    mean = drawn.image[alpha == alpha.min()].mean(0)
    return min(COLOURS, key=lambda name: float(np.square(mean - COLOURS[name]).sum()))


def psnr(got: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of each image `[B, H, W, 3]`, in dB."""
    error = np.square(got.astype(np.float64) - wanted).mean((1, 2, 3))
    ratio: NDArray[np.float64] = 10 * np.log10(255**2 / np.maximum(error, 1e-9))
    return ratio


def evaluate(folder: Path, dataset: Dataset, count: int, sheet: Path | None = None) -> dict[str, float]:
    """Return every figure of GOALS. The file `sheet`, if given, gets the images of combinations kept from training."""
    listed = set((folder / "labels.txt").read_text(encoding="utf-8").split("\n")) - {""}
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    figures = {
        "labels": len(listed),
        "megabytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6,
        "psnr": measure_autoencoder(pipeline.vae, dataset),
        "image_s": measure_image(pipeline),
    }
    drawn = draw_pictures(pipeline, dataset, draw_captions(dataset, count, unseen=False))
    figures |= judge(dataset, drawn)
    figures["nearest_listed"] = judge(dataset, [one for one in drawn if _names(dataset, one.picture)[0] in listed])[
        "nearest"
    ]
    unseen = draw_pictures(pipeline, dataset, draw_captions(dataset, count // 3, unseen=True))
    figures |= {f"{name}_unseen": value for name, value in judge(dataset, unseen).items() if f"{name}_unseen" in GOALS}
    if sheet:
        draw_sheet([one.image for one in unseen], sheet)
    return figures | measure_walks(folder)


def judge(dataset: Dataset, drawn: Sequence[Drawn]) -> dict[str, float]:
    """Return how many images are right, in percent. Of two equal pictures in the dataset either one is right."""
    candidates = {colour: reduced(composite(dataset.pictures, colour)) for colour in {one.colour for one in drawn}}
    found = []
    for one in drawn:
        prompted = dataset.pictures[one.picture]
        near = nearest(candidates[one.colour], one.image, 5)
        found.append([np.array_equal(dataset.pictures[index], prompted) for index in near])
    return {
        "nearest": 100 * float(np.mean([hits[0] for hits in found])),
        "nearest_5": 100 * float(np.mean([any(hits) for hits in found])),
        "background": 100 * float(np.mean([background(dataset, one) == one.colour for one in drawn])),
    }


@torch.inference_mode()
def measure_autoencoder(vae: Any, dataset: Dataset) -> float:
    """Return the mean PSNR over the dataset in dB, with the background colours taken in turn."""
    ratios = []
    for start in range(0, len(dataset), 50):
        numbers = range(start, min(start + 50, len(dataset)))
        images = np.stack([composite(dataset.pictures[n], list(COLOURS)[n % len(COLOURS)]) for n in numbers])
        latents = vae.encode(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1).latent_dist.mode()
        decoded = ((vae.decode(latents).sample / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        ratios.append(psnr(decoded.permute(0, 2, 3, 1).numpy(), images))
    return float(np.concatenate(ratios).mean())


def measure_image(pipeline: Any) -> float:
    """Return the seconds that one image takes: the median of five, after two for warming up."""
    seconds = []
    for seed in range(7):
        began = time.perf_counter()
        pipeline(
            "a 3d dog face", num_inference_steps=20, guidance_scale=3.0, generator=torch.Generator().manual_seed(seed)
        )
        seconds.append(time.perf_counter() - began)
    return median(seconds[2:])


def measure_walks(folder: Path) -> dict[str, float]:
    """Return the time of a walk of 48 frames, and the steps between neighbours and blank frames of ten walks of 24."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        _walk(folder, Path(scratch) / "one", WALKS[:1], 48)
        seconds = time.perf_counter() - began
        store = _walk(folder, Path(scratch) / "ten", WALKS, 24)
        steps, blank = [], 0
        for name in store.walks:
            frames = [np.asarray(frame.image(), np.int16) for frame in store.frames(name)]
            steps += [float(np.abs(after - before).mean()) for before, after in pairwise(frames)]
            blank += sum(int(np.ptp(frame) < 16) for frame in frames)
    return {"walk_s": seconds, "walk_step": max(steps), "walk_blank": blank}


def _walk(folder: Path, out: Path, walks: Sequence[tuple[str, str]], frames: int) -> render.ImageStore:
    """Render each pair of prompts as a walk from the first to the second, both included."""
    manifest = out.with_suffix(".csv")
    rows = [f"walk-{n},{prompt},5,{frames - 1}" for n, pair in enumerate(walks) for prompt in pair]
    manifest.write_text("\n".join(["walk,prompt,seed,frames", *rows, ""]), encoding="utf-8")
    render.run_job(manifest, f"output={out}", f"model.id={folder.resolve()}")
    return render.open_store(out)


def draw_sheet(images: Sequence[NDArray[np.uint8]], path: Path) -> None:
    """Write images as one PNG in rows of twelve; an incomplete last row is left out."""
    rows = [np.concatenate(images[start : start + 12], 1) for start in range(0, len(images) - 11, 12)]
    Image.fromarray(np.concatenate(rows)).save(path)


def _names(dataset: Dataset, picture: int) -> tuple[str, str]:
    return dataset.labels[dataset.label_of[picture]], STYLES[dataset.style_of[picture]]


def reduced(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images `[B, 128, 128, 3]` reduced to `[B, 32, 32, 3]` by averaging 4×4 pixels."""
    blocks = images.reshape(len(images), 32, 4, 32, 4, 3).astype(np.float32)
    means: NDArray[np.float32] = blocks.mean((2, 4))
    return means


def print_figures(columns: dict[str, dict[str, float]]) -> None:
    """Print a table with a line for each figure and a column for each model."""
    print(f"{'':58}" + "".join(f"{name:>12}" for name in columns) + "    goal")
    for key, (text, goal) in GOALS.items():
        values = "".join(f"{figures[key]:12.4g}" if key in figures else f"{'':12}" for figures in columns.values())
        print(f"{text:58}{values}    {goal}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=PIPELINE, help="pipeline folder to measure (default: the shipped one)"
    )
    parser.add_argument("--work", type=Path, required=True, help="folder for the dataset")
    parser.add_argument(
        "--pictures",
        type=int,
        default=300,
        help="pictures to draw (default: 300); a third more are of combinations kept from training",
    )
    parser.add_argument("--record", metavar="NAME", help="add the figures to training/figures.json under this name")
    parser.add_argument("--sheet", type=Path, help="write the pictures of combinations kept from training to this PNG")
    arguments = parser.parse_args()
    recorded: dict[str, dict[str, float]] = json.loads(FIGURES.read_text(encoding="utf-8"))
    figures = evaluate(arguments.folder, load_dataset(arguments.work / "dataset"), arguments.pictures, arguments.sheet)
    print_figures(recorded | {arguments.record or "measured": figures})
    if arguments.record:
        rounded = {key: round(value, 4) for key, value in figures.items()}
        FIGURES.write_text(json.dumps(recorded | {arguments.record: rounded}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
