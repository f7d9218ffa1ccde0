"""A batch renderer for text-to-image diffusion models: a table of prompts in, a Parquet image store and walks out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render.recipe import InputError, JobError, ManifestError, ModelError, Recipe, StoreError
    from render.run import plan_job, run_job
    from render.store import ImageStore, open_store

__all__ = [
    "ImageStore",
    "InputError",
    "JobError",
    "ManifestError",
    "ModelError",
    "Recipe",
    "StoreError",
    "open_store",
    "plan_job",
    "run_job",
]

_HOMES = {"run_job": "render.run", "plan_job": "render.run", "open_store": "render.store", "ImageStore": "render.store"}


def __getattr__(name: str) -> Any:
    """Load a public name from its module at first use, so that `import render` stays light."""
    if name not in __all__:
        raise AttributeError(f"module 'render' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "render.recipe")), name)


def __dir__() -> list[str]:
    return __all__
