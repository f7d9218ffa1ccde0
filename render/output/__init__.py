"""output."""

from __future__ import annotations

from render.output.animate import UNWRITABLE
from render.output.animations import animation_files, write_file
from render.output.sheets import write_sheets

__all__ = [
    "UNWRITABLE",
    "animation_files",
    "write_file",
    "write_sheets",
]
