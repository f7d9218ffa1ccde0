"""Inputs of a network to measure with."""

from __future__ import annotations

from collections.abc import Callable

import torch

from render.engine.denoise import Row
from render.models import Conditioning

__all__ = ["SAMPLES", "sample_rows"]

SAMPLES = (("", 981.0), ("a photograph of a red house by the sea", 501.0), ("noise, lines and dots", 21.0))
GUIDANCE = 3.5


def sample_rows(
    shape: tuple[int, ...], device: torch.device, encode: Callable[[str], Conditioning], guidance_embeds: bool
) -> list[Row]:
    """Return three rows with latents of `shape`, the same ones every time: early, in the middle and late in sampling."""
    rows = []
    for seed, (prompt, timestep) in enumerate(SAMPLES):
        latents = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
        guidance = {"guidance": torch.tensor(GUIDANCE)} if guidance_embeds else {}
        rows.append(Row(latents, torch.tensor(timestep), encode(prompt) | guidance))
    return rows
