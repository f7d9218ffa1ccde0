"""manifest."""

from __future__ import annotations

from render.manifest.problems import Problems, show
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.stored import Manifest, read_stored
from render.manifest.table import RawTable, is_text, read_table

__all__ = [
    "Defaults",
    "Manifest",
    "ModelRules",
    "Problems",
    "RawTable",
    "SizeRule",
    "is_text",
    "read_manifest",
    "read_stored",
    "read_table",
    "show",
]
