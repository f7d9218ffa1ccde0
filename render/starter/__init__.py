"""The embedded model: its diffusers folder `pipeline/`, and the code that makes and measures it."""

from __future__ import annotations

from pathlib import Path

__all__ = ["PIPELINE"]

PIPELINE = Path(__file__).parent / "pipeline"
