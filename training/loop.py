"""Training loop: optimizers, learning rate, moving average, checkpoints."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.dataset import Dataset
from training.muon import Muon

__all__ = ["Stage", "Training"]

CHECKPOINT_S = 120  # seconds between checkpoints


@dataclass(frozen=True)
class Stage:
    """Settings of one training stage. The learning rate warms up over 5 % of the steps and decays as a cosine."""

    name: str
    steps: int
    batch: int
    learning_rate: float  # peak for Muon; AdamW, for weights that are no matrices, has a third
    average: float = 0.0  # decay of the exponential moving average of the weights; 0 keeps none


@dataclass(frozen=True)
class Training:
    """Settings that all stages share."""

    dataset: Dataset
    work: Path  # folder of the checkpoints
    device: torch.device
    seed: int
    pace: float  # factor on every stage's steps

    def draw(self, stage: Stage, step: int) -> random.Random:
        """Return a step's own random generator and seed torch from it, so that a resumed run equals an unbroken one."""
        draw = random.Random(f"{self.seed} {stage.name} {step}")
        torch.manual_seed(draw.getrandbits(60))
        return draw

    def fit(
        self, stage: Stage, networks: nn.ModuleDict, loss_of: Callable[[random.Random, float], Tensor]
    ) -> nn.ModuleDict:
        """Train `networks` to the end of a stage, from its last checkpoint if there is one.

        `loss_of` takes the step's random generator and the progress 0 … 1. Returns the networks or, if the stage has a
        decay, their moving average.
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


def _optimizers(networks: nn.Module, learning_rate: float) -> dict[str, torch.optim.Optimizer]:
    """Return Muon for inner weight matrices and filters; AdamW for biases, norms, embeddings, first and last layers."""
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
    """Return the learning rate at a progress of 0 … 1, as a share of its peak."""
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
    """Restore a checkpoint, if there is one, and return the step to continue with."""
    if not file.is_file():
        return 0
    saved = torch.load(file, map_location=device, weights_only=True)
    for name, part in state.items():
        part.load_state_dict(saved[name])
    return int(saved["step"])
