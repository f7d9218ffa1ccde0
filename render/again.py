"""Prepare the job of an output folder again, from what OUT records: for what is rendered without the user's job file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from render.core import ManifestError
from render.job import UNSWEPT, JobConfig
from render.prepare import Prepared, prepare
from render.resume import load_plan, record_or_resume, stored_job, stored_manifest
from render.store import OutputFolder

__all__ = ["has_sound_manifest", "prepare_again"]


def has_sound_manifest(out: Path) -> bool:
    """Return whether the stored manifest can be read and is the one that was planned."""
    try:
        return stored_manifest(out).fingerprint == load_plan(out).fingerprint["manifest"]
    except ManifestError:
        return False


def prepare_again(out: Path) -> Prepared:
    """Check and plan the job that an output folder was begun with, wherever the folder has moved.

    The manifest is the stored one, or where that is damaged the job's own file. Raises StoreError when `out` is not an
    output folder, and InputError where models or media are not as they were.
    """
    job = replace(stored_job(out), output=out.absolute())
    if has_sound_manifest(out):
        job = _with_stored_manifest(job)
    return record_or_resume(prepare(job))


def _with_stored_manifest(job: JobConfig) -> JobConfig:
    """Return the job with its manifest as it is stored, the sweep's rows written out, and its media where they were."""
    return replace(job, manifest=OutputFolder(job.output).manifest, media=job.media_root, sweep=UNSWEPT)
