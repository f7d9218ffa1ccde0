"""A batch renderer for text-to-image diffusion models: a table of prompts in, a Parquet image store and walks out.

What is in `__all__` is the public API (docs/python.md); everything else may change. Each folder below is a room with a
job of its own; docs/architecture.md draws them. This folder is the front: `run.py` is the whole flow on one page.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render.compact import Compacted, compact_store
    from render.core import InputError, JobError, ManifestError, ModelError, Recipe, RunError, StoreError
    from render.inspect import Finding
    from render.prepare import Prepared
    from render.preview import Preview
    from render.rendering import Report
    from render.repair import Repair, repair_store
    from render.report import Failed, NightReport, Pace, report_store
    from render.reproduce import Reproduction, reproduce_frame
    from render.retry import Retry, retry_store
    from render.run import Summary, animate_store, plan_job, preview_job, run_job, sheet_store
    from render.store import Frames, ImageStore, StoredFrame, open_store
    from render.templates import Expansion, expand_templates
    from render.verify import Verdict, verify_store

__all__ = [
    "Compacted",
    "Expansion",
    "Failed",
    "Finding",
    "Frames",
    "ImageStore",
    "InputError",
    "JobError",
    "ManifestError",
    "ModelError",
    "NightReport",
    "Pace",
    "Prepared",
    "Preview",
    "Recipe",
    "Repair",
    "Report",
    "Reproduction",
    "Retry",
    "RunError",
    "StoreError",
    "StoredFrame",
    "Summary",
    "Verdict",
    "animate_store",
    "compact_store",
    "expand_templates",
    "open_store",
    "plan_job",
    "preview_job",
    "repair_store",
    "report_store",
    "reproduce_frame",
    "retry_store",
    "run_job",
    "sheet_store",
    "verify_store",
]

_MODULES = {
    "render.compact": ("Compacted", "compact_store"),
    "render.core": ("InputError", "JobError", "ManifestError", "ModelError", "Recipe", "RunError", "StoreError"),
    "render.inspect": ("Finding",),
    "render.prepare": ("Prepared",),
    "render.preview": ("Preview",),
    "render.rendering": ("Report",),
    "render.repair": ("Repair", "repair_store"),
    "render.report": ("Failed", "NightReport", "Pace", "report_store"),
    "render.reproduce": ("Reproduction", "reproduce_frame"),
    "render.retry": ("Retry", "retry_store"),
    "render.run": ("Summary", "animate_store", "plan_job", "preview_job", "run_job", "sheet_store"),
    "render.store": ("Frames", "ImageStore", "StoredFrame", "open_store"),
    "render.templates": ("Expansion", "expand_templates"),
    "render.verify": ("Verdict", "verify_store"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use, so that `import render` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'render' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
