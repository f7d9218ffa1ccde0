"""The values and words that every room shares: recipes, walks, frames, units, receipts, blends, columns, errors.

Frozen dataclasses and small functions of the standard library alone, so that `import render` takes no time. Promises: a
recipe's canonical JSON, and with it the key of a stored frame, stays the same for the same picture; files written through
`atomic.py` are there whole or not at all. `columns.py` is the one table of a manifest's columns.
"""

from __future__ import annotations

from render.core.atomic import PARTIAL, create_exclusively, partial, publish, replacing, sync, write_atomically
from render.core.blend import INTERPOLATIONS, Blend, Circle, Image, Leaf, Mix, Offset, Prompt, Seed, leaves, mix
from render.core.columns import COLUMNS, CellType, Choice, Flag, Integer, Number, column_names
from render.core.cpu import cpu_has, cpu_info
from render.core.digests import file_name_key, file_sha256
from render.core.errors import InputError, JobError, ManifestError, ModelError, RunError, StoreError
from render.core.paths import special_kind
from render.core.recipe import PIXELS_VERSION, SEED_MAX, Recipe, Target, canonical_json
from render.core.schedulers import scheduler_calls
from render.core.unit import Frame, Group, Receipt, Unit
from render.core.user_cache import user_cache
from render.core.vocabulary import (
    BLANK_POLICIES,
    DIFFUSION_SCHEDULERS,
    EASINGS,
    FLOW_SCHEDULERS,
    FORMATS,
    FPS_MAX,
    FPS_MIN,
    GIF_FPS_MAX,
    LCM_STEPS_MAX,
    SCHEDULERS,
    STEPS_MAX,
)
from render.core.walk import MAIN, Keyframe, Walk, still_name
from render.core.weights import SYNTAXES, WeightedText, parse_weights

__all__ = [
    "BLANK_POLICIES",
    "COLUMNS",
    "DIFFUSION_SCHEDULERS",
    "EASINGS",
    "FLOW_SCHEDULERS",
    "FORMATS",
    "FPS_MAX",
    "FPS_MIN",
    "GIF_FPS_MAX",
    "INTERPOLATIONS",
    "LCM_STEPS_MAX",
    "MAIN",
    "PARTIAL",
    "PIXELS_VERSION",
    "SCHEDULERS",
    "SEED_MAX",
    "STEPS_MAX",
    "SYNTAXES",
    "Blend",
    "CellType",
    "Choice",
    "Circle",
    "Flag",
    "Frame",
    "Group",
    "Image",
    "InputError",
    "Integer",
    "JobError",
    "Keyframe",
    "Leaf",
    "ManifestError",
    "Mix",
    "ModelError",
    "Number",
    "Offset",
    "Prompt",
    "Receipt",
    "Recipe",
    "RunError",
    "Seed",
    "StoreError",
    "Target",
    "Unit",
    "Walk",
    "WeightedText",
    "canonical_json",
    "column_names",
    "cpu_has",
    "cpu_info",
    "create_exclusively",
    "file_name_key",
    "file_sha256",
    "leaves",
    "mix",
    "parse_weights",
    "partial",
    "publish",
    "replacing",
    "scheduler_calls",
    "special_kind",
    "still_name",
    "sync",
    "user_cache",
    "write_atomically",
]
