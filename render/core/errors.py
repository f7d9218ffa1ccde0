"""Errors for users: input that is refused before anything starts, and runs that can't continue."""

from __future__ import annotations

__all__ = ["InputError", "JobError", "ManifestError", "ModelError", "RunError", "StoreError"]


class InputError(ValueError):
    """Something the user gave can't be used; nothing has started and nothing is lost."""


class ManifestError(InputError):
    """The rows of a manifest that can't be rendered, all at once."""


class JobError(InputError):
    """A job file, an override or a setting that can't be used."""


class ModelError(InputError):
    """A model that is not there, is not safe to load, or is of a kind not supported."""


class StoreError(InputError):
    """An output folder that does not fit the job, or whose content is not what was committed."""


class RunError(RuntimeError):
    """A run that can't go on; what is committed stays, and the same command resumes it."""
