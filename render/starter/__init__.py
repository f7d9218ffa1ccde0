"""The embedded model: its diffusers folder `pipeline/`. The code that makes and measures it is in `training/`."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PIPELINE"]

PIPELINE = Path(__file__).parent / "pipeline"
