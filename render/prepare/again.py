"""Prepare the job of an output folder again, from what OUT records: for what is rendered without the user's job file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from render.core import InputError, JobError, ManifestError, scratch_folder, shorten
from render.job import UNSWEPT, JobConfig, load_job, this_machine
from render.manifest import Manifest, append_rows
from render.plan import Plan
from render.prepare.extend import Record, tables_of
from render.prepare.job_plan import Prepared, prepare
from render.prepare.resume import load_plan, planned_manifest, resume_record, stored_job
from render.store import OutputFolder

__all__ = ["prepare_again"]

PLACES = re.compile(r"media|workers\.(address|count|gpus)|(model|models\.[^.]+)\.(id|loras)")  # job keys


def prepare_again(out: Path, overrides: Sequence[str] = ()) -> Prepared:
    """Check and plan the job of an output folder, wherever the folder has moved, with all rows that were added.

    `overrides` name other places for what has moved as well: media, models, LoRAs, workers. Their contents are those that
    were planned. The manifest is the stored one. Where that is damaged, it is read anew from the tables that it was read
    from. Raises StoreError when `out` is not an output folder or its models are not as they were, and InputError for
    other overrides, when media or the manifest can't be had as they were, or no Ray answers at the job's address.
    """
    job, plan = replace(_moved_job(out, overrides), output=out.absolute()), load_plan(out)
    try:
        manifest = planned_manifest(out)
    except ManifestError:
        manifest = _read_anew(job, plan)
    with _hinting(), _written(manifest, out) as file:
        prepared = prepare(replace(job, manifest=file, media=job.media_root, sweep=UNSWEPT))
    return resume_record(replace(prepared, job=job), Record(out, job, plan, manifest))


def _moved_job(out: Path, overrides: Sequence[str]) -> JobConfig:
    """Return the job of an output, with other places. Raises JobError for overrides that would change pixels."""
    stored = stored_job(out)
    if wrong := [text for text in overrides if not PLACES.fullmatch(text.partition("=")[0])]:
        required = "required media, workers.address, workers.count, workers.gpus, or id or loras of a model"
        hint = "all else stays as it was rendered"
        raise JobError(
            "\n".join(f"override {shorten(repr(text))}: {required}, got another key ({hint})" for text in wrong)
        )
    return load_job(OutputFolder(out).job, overrides) if overrides else stored


@contextmanager
def _hinting() -> Iterator[None]:
    """Add to an error how to name another place: a cluster that began the output has deleted its own folders."""
    try:
        yield
    except InputError as error:
        hint = "what has moved can be named after OUT: media=FOLDER, workers.address=null, model.loras=[…]"
        raise type(error)(f"{error}\n({hint})") from error


@contextmanager
def _written(manifest: Manifest, out: Path) -> Iterator[Path]:
    """Give a local file with the manifest in its stored form; errors name the one in OUT."""
    with TemporaryDirectory(dir=scratch_folder()) as folder:
        file = Path(folder) / "manifest.parquet"
        manifest.write(file)
        try:
            yield file
        except InputError as error:
            raise type(error)(str(error).replace(str(file), str(OutputFolder(out).manifest))) from error


def _read_anew(job: JobConfig, plan: Plan) -> Manifest:
    """Return the manifest of an output from the tables that it was begun with and extended by.

    Raises ManifestError when they are gone or have other rows by now. Rows that follow those of then don't count.
    """
    where = OutputFolder(job.output).manifest
    required = f"{where}: required the manifest that was planned, got a damaged one"
    whole: Manifest | None = None
    try:
        for table in tables_of(job, plan):
            read = replace(job, manifest=table.path)
            own = prepare(read, weights=False, rows_before=table.before, site=this_machine()).manifest
            part = own.part(0, table.stop - table.start)
            whole = part if whole is None else append_rows(whole, part)
    except (InputError, ValueError) as error:
        hint = "the command of the run, with its table, writes it anew"
        raise ManifestError(f"{required}, and no table to read it from ({hint}): {error}") from error
    assert whole is not None
    if whole.fingerprint != plan.fingerprint["manifest"]:
        names = ", ".join(str(table.path) for table in tables_of(job, plan))
        raise ManifestError(f"{required}, and {names} with other rows or settings than then")
    return whole
