"""manifest."""

from __future__ import annotations

from render.manifest.problems import Problems, show
from render.manifest.read import Manifest, read_frozen, read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.table import RawTable, is_text, read_table

__all__ = [
    "Defaults",
    "Manifest",
    "ModelRules",
    "Problems",
    "RawTable",
    "SizeRule",
    "is_text",
    "read_frozen",
    "read_manifest",
    "read_table",
    "show",
]
