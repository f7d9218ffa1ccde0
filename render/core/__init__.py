"""The values and words that every room shares: recipes, walks, frames, units, receipts, blends, columns, errors.

Frozen dataclasses and small functions of the standard library alone, so that `import render` takes no time. Promises: a
recipe's canonical JSON, and with it the key of a stored frame, stays the same for the same picture; files written through
`atomic.py` are there whole or not at all. `columns.py` is the one table of a manifest's columns, `aliases.py` and
`scheduler_names.py` of what other programs call them.
"""

from __future__ import annotations

from render.core.aliases import column_meant, column_nearly, setting_elsewhere
from render.core.atomic import (
    PARTIAL,
    create_exclusively,
    delete_folder,
    local_copy,
    partial,
    publish,
    replacing,
    sync,
    write_atomically,
)
from render.core.blend import INTERPOLATIONS, Blend, Circle, Image, Leaf, Mix, Offset, Prompt, Seed, leaves, mix
from render.core.bucket import BehindEndError
from render.core.columns import COLUMNS, CellType, Choice, Flag, Integer, Number, column_names
from render.core.cpu import cpu_has, cpu_info
from render.core.digests import file_name_key, file_sha256
from render.core.errors import InputError, JobError, ManifestError, ModelError, RunError, StoreError, shorten
from render.core.file_systems import is_networked
from render.core.inputs import (
    IMAGE_BYTES,
    SOUND_BYTES,
    WEIGHTS_BYTES,
    local_file,
    local_files,
    local_folder,
    shared_folder,
)
from render.core.listener import CrewListener, CrewRelay, Listener, Relay
from render.core.many import file_sizes, read_many
from render.core.objects import PROBE, ObjectPath, any_path
from render.core.paths import (
    TABLE_ENDINGS,
    expand_home,
    is_folder,
    real_path,
    special_kind,
    table_ending,
    table_name,
    why_no_table,
    why_unreadable,
)
from render.core.recipe import PIXELS_VERSION, SEED_MAX, Recipe, Target, canonical_json
from render.core.scheduler_names import nearest_schedulers, noise_schedule, scheduler_meant
from render.core.schedulers import scheduler_calls
from render.core.scratch import OwnedFolder, scratch_folder
from render.core.secrets import without_secrets
from render.core.splits import SPLIT_REQUIRED, TRAIN, hashed_split, in_split_order, split_meant
from render.core.unit import Frame, Group, Receipt, Unit
from render.core.urls import WebPath, input_path, is_below, is_url, media_path, plain_url
from render.core.user_cache import cache_lock, user_cache
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
from render.core.wording import counted, one_line, plain_reason, printable, to_go_on

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
    "IMAGE_BYTES",
    "INTERPOLATIONS",
    "LCM_STEPS_MAX",
    "MAIN",
    "PARTIAL",
    "PIXELS_VERSION",
    "PROBE",
    "SCHEDULERS",
    "SEED_MAX",
    "SOUND_BYTES",
    "SPLIT_REQUIRED",
    "STEPS_MAX",
    "SYNTAXES",
    "TABLE_ENDINGS",
    "TRAIN",
    "WEIGHTS_BYTES",
    "BehindEndError",
    "Blend",
    "CellType",
    "Choice",
    "Circle",
    "CrewListener",
    "CrewRelay",
    "Flag",
    "Frame",
    "Group",
    "Image",
    "InputError",
    "Integer",
    "JobError",
    "Keyframe",
    "Leaf",
    "Listener",
    "ManifestError",
    "Mix",
    "ModelError",
    "Number",
    "ObjectPath",
    "Offset",
    "OwnedFolder",
    "Prompt",
    "Receipt",
    "Recipe",
    "Relay",
    "RunError",
    "Seed",
    "StoreError",
    "Target",
    "Unit",
    "Walk",
    "WebPath",
    "WeightedText",
    "any_path",
    "cache_lock",
    "canonical_json",
    "column_meant",
    "column_names",
    "column_nearly",
    "counted",
    "cpu_has",
    "cpu_info",
    "create_exclusively",
    "delete_folder",
    "expand_home",
    "file_name_key",
    "file_sha256",
    "file_sizes",
    "hashed_split",
    "in_split_order",
    "input_path",
    "is_below",
    "is_folder",
    "is_networked",
    "is_url",
    "leaves",
    "local_copy",
    "local_file",
    "local_files",
    "local_folder",
    "media_path",
    "mix",
    "nearest_schedulers",
    "noise_schedule",
    "one_line",
    "parse_weights",
    "partial",
    "plain_reason",
    "plain_url",
    "printable",
    "publish",
    "read_many",
    "real_path",
    "replacing",
    "scheduler_calls",
    "scheduler_meant",
    "scratch_folder",
    "setting_elsewhere",
    "shared_folder",
    "shorten",
    "special_kind",
    "split_meant",
    "still_name",
    "sync",
    "table_ending",
    "table_name",
    "to_go_on",
    "user_cache",
    "why_no_table",
    "why_unreadable",
    "without_secrets",
    "write_atomically",
]
