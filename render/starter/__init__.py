"""The embedded model: its diffusers folder `pipeline/`, and the CLIP folder `scorer/` that scores its pictures.

The code that makes and measures them is in `training/`.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["PIPELINE", "SCORER"]

PIPELINE = Path(__file__).parent / "pipeline"
SCORER = Path(__file__).parent / "scorer"
