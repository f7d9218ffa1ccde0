"""engine."""

from __future__ import annotations

from render.engine.denoise import Evaluations, Row, pack_rows
from render.engine.renderer import Renderer
from render.engine.threads import use_threads

__all__ = [
    "Evaluations",
    "Renderer",
    "Row",
    "pack_rows",
    "use_threads",
]
