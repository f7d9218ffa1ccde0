"""models."""

from __future__ import annotations

from render.models.families import Conditioning, Family, Loading, SamplingDefaults, load_family
from render.models.families.parts import text_encoders
from render.models.model import Changes, Model, resolve_model

__all__ = [
    "Changes",
    "Conditioning",
    "Family",
    "Loading",
    "Model",
    "SamplingDefaults",
    "load_family",
    "resolve_model",
    "text_encoders",
]
