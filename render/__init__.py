"""A batch renderer for text-to-image diffusion models: a table of prompts in, a Parquet image store and walks out.

What is in `__all__` is the public API (docs/python.md); everything else may change. Each folder below is a room with a
job of its own; docs/architecture.md draws them. This folder is the front: `run.py` is the whole flow on one page.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render.core import InputError, JobError, ManifestError, ModelError, Recipe, RunError, StoreError
    from render.export import Export, Exported, Push, Pushed, export_store, push_export
    from render.mending import (
        Compacted,
        Failed,
        Finding,
        NightReport,
        Pace,
        Repair,
        Retry,
        Status,
        UnitInHand,
        Verdict,
        compact_store,
        repair_store,
        report_store,
        retry_store,
        status_store,
        verify_store,
    )
    from render.prepare import Prepared, Report
    from render.preview import Preview
    from render.reproduce import Reproduction, reproduce_frame
    from render.run import Summary, animate_store, plan_job, preview_job, run_job, sheet_store
    from render.scoring import Scored, score_store
    from render.store import Frames, Holder, ImageStore, SeenWorker, StoredFrame, open_store
    from render.templates import Expansion, expand_templates

__all__ = [
    "Compacted",
    "Expansion",
    "Export",
    "Exported",
    "Failed",
    "Finding",
    "Frames",
    "Holder",
    "ImageStore",
    "InputError",
    "JobError",
    "ManifestError",
    "ModelError",
    "NightReport",
    "Pace",
    "Prepared",
    "Preview",
    "Push",
    "Pushed",
    "Recipe",
    "Repair",
    "Report",
    "Reproduction",
    "Retry",
    "RunError",
    "Scored",
    "SeenWorker",
    "Status",
    "StoreError",
    "StoredFrame",
    "Summary",
    "UnitInHand",
    "Verdict",
    "animate_store",
    "compact_store",
    "expand_templates",
    "export_store",
    "open_store",
    "plan_job",
    "preview_job",
    "push_export",
    "repair_store",
    "report_store",
    "reproduce_frame",
    "retry_store",
    "run_job",
    "score_store",
    "sheet_store",
    "status_store",
    "verify_store",
]

_MODULES = {
    "render.core": ("InputError", "JobError", "ManifestError", "ModelError", "Recipe", "RunError", "StoreError"),
    "render.export": ("Export", "Exported", "Push", "Pushed", "export_store", "push_export"),
    "render.mending": (
        "Compacted",
        "Failed",
        "Finding",
        "NightReport",
        "Pace",
        "Repair",
        "Retry",
        "Status",
        "UnitInHand",
        "Verdict",
        "compact_store",
        "repair_store",
        "report_store",
        "retry_store",
        "status_store",
        "verify_store",
    ),
    "render.prepare": ("Prepared", "Report"),
    "render.preview": ("Preview",),
    "render.reproduce": ("Reproduction", "reproduce_frame"),
    "render.run": ("Summary", "animate_store", "plan_job", "preview_job", "run_job", "sheet_store"),
    "render.scoring": ("Scored", "score_store"),
    "render.store": ("Frames", "Holder", "ImageStore", "SeenWorker", "StoredFrame", "open_store"),
    "render.templates": ("Expansion", "expand_templates"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use, so that `import render` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'render' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
