"""Images per second: diffusers' own pipeline, one prompt at a time and in its best batch, against the whole of `render run`.

    python tests/benchmarks/throughput.py --frames 200

Run it with nothing beside it. Two manifests of single images: a homogeneous one (20 steps, guidance 3), and a mixed one
(steps 12 … 28, guidance on and off, three schedulers) where stock batches hold what can go together. The parts of each
contender take turns, so that a machine that slows down slows all of them. The stock pipeline runs in float32 and, where
`render run` chooses another dtype, in that as well. Start-up is left out of every figure: the stock pipeline is loaded
before its clock starts, and render's clock starts when its first worker is ready; reading the manifest, encoding, writing
and committing are in. Stock images are not encoded or written.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import os
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
warnings.simplefilter("ignore")

import diffusers
import torch

import render
from render.engine.device import choose_dtype
from render.models.families.schedulers import DIFFUSION
from render.starter import PIPELINE

BATCHES = (4, 8, 16)
PROMPTS = ["3d dog face", "flat red apple", "3d rocket on a blue background", "flat castle", "3d octopus"]


@dataclass(frozen=True)
class Still:
    """One image to render."""

    prompt: str
    seed: int
    steps: int = 20
    guidance: float = 3.0
    scheduler: str = "ddim"


def homogeneous(count: int) -> list[Still]:
    return [Still(PROMPTS[i % len(PROMPTS)], i) for i in range(count)]


def mixed(count: int) -> list[Still]:
    settings = itertools.product((12, 16, 20, 24, 28), (3.0, 1.0, 4.5), ("ddim", "euler_a", "dpm++2m"))
    return [
        Still(PROMPTS[i % len(PROMPTS)], i, *s) for i, s in zip(range(count), itertools.cycle(settings), strict=False)
    ]


class Stock:
    """StableDiffusionPipeline on all cores, in its best batch of BATCHES."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.name = str(dtype).removeprefix("torch.")
        self._pipeline = diffusers.StableDiffusionPipeline.from_pretrained(PIPELINE, dtype=dtype)
        self._pipeline.set_progress_bar_config(disable=True)
        self._config = self._pipeline.scheduler.config
        self([Still("3d dog face", 0, steps=2)])
        self.best = min(BATCHES, key=lambda size: self.all(homogeneous(max(BATCHES)), size))

    def __call__(self, batch: list[Still]) -> float:
        """Render stills that differ in prompt and seed only; returns seconds."""
        first = batch[0]
        name, settings = DIFFUSION[first.scheduler]
        began = time.perf_counter()
        self._pipeline.scheduler = getattr(diffusers, name).from_config(self._config, **settings)
        self._pipeline(
            [still.prompt for still in batch],
            num_inference_steps=first.steps,
            guidance_scale=first.guidance,
            generator=[torch.Generator().manual_seed(still.seed) for still in batch],
        )
        return time.perf_counter() - began

    def all(self, stills: list[Still], size: int) -> float:
        """Render all stills in batches of at most `size`; returns seconds."""
        groups: dict[Any, list[Still]] = defaultdict(list)
        for still in stills:
            groups[still.steps, still.guidance, still.scheduler].append(still)
        batches = [group[i : i + size] for group in groups.values() for i in range(0, len(group), size)]
        return sum(self(batch) for batch in batches)


def render_all(stills: list[Still], folder: Path, overrides: list[str]) -> float:
    """`render run` of the stills; returns seconds from the first worker's being ready to the last commit."""
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "seed", "steps", "guidance", "scheduler"])
        writer.writerows((s.prompt, s.seed, s.steps, s.guidance, s.scheduler) for s in stills)
    summary = render.run_job(manifest, f"output={folder / 'out'}", "animation.formats=[]", *overrides)
    assert summary.frames == len(stills), summary
    return summary.seconds


def compare(name: str, stills: list[Still], stocks: list[Stock], options: argparse.Namespace) -> None:
    rounds, overrides = options.rounds, options.overrides
    seconds: dict[str, float] = defaultdict(float)
    for part in [stills[i::rounds] for i in range(rounds)]:
        for stock in stocks:
            seconds[f"stock, {stock.name}, one at a time"] += stock.all(part, 1)
            seconds[f"stock, {stock.name}, batches of {stock.best}"] += stock.all(part, stock.best)
        with tempfile.TemporaryDirectory() as folder:
            seconds["render run"] += render_all(part, Path(folder), overrides)
    base = next(iter(seconds.values()))
    print(f"\n{name}: {len(stills)} images")
    for contender, spent in seconds.items():
        print(f"  {contender:36} {len(stills) / spent:6.2f} img/s   {base / spent:5.2f} ×", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument(
        "--rounds", type=int, default=1, help="turns that the contenders take (short ones leave render a tail)"
    )
    parser.add_argument("--only", choices=("homogeneous", "mixed"), help="one of the two manifests")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for `render run`")
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads for stock",
        file=sys.stderr,
    )
    stocks = [Stock(dtype) for dtype in {torch.float32: 0, choose_dtype(torch.device("cpu"), "auto"): 0}]
    for name, make in (("homogeneous", homogeneous), ("mixed", mixed)):
        if options.only in (None, name):
            compare(name, make(options.frames), stocks, options)


if __name__ == "__main__":
    main()
