"""templates."""

from __future__ import annotations

from render.templates.expand import Expansion, expand_templates

__all__ = [
    "Expansion",
    "expand_templates",
]
