"""The whole flow on one page: a job goes in, a store and animations come out."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from render.card import write_card
from render.core import TRAIN, JobError, Receipt, RunError, StoreError, Unit, any_path, without_secrets
from render.job import JobConfig, load_job, public
from render.manifest import Manifest, TableLike, memory_name
from render.mending import check_files, check_store, reseed_blank, take_back
from render.notices import COMMAND, Notices, check_notices
from render.output import UNWRITABLE, animation_files, write_file, write_preview, write_sheets
from render.plan import plan_units
from render.prepare import (
    Asked,
    Prepared,
    Report,
    check_lasting,
    plain_end,
    prepare,
    prepare_again,
    record_or_resume,
    render_units,
    restore_job,
    restore_manifest,
    stored_job,
    stored_manifest,
)
from render.preview import Preview, begin_preview, choose_frames, measure, preview_units
from render.progress import usual_report
from render.store import (
    ImageStore,
    Ledger,
    OutputFolder,
    check_access,
    delete_partial_records,
    open_store,
    reach_output,
)

__all__ = ["Summary", "animate_store", "plan_job", "preview_job", "run_job", "sheet_store"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The outcome of a run."""

    out: Path
    frames: int  # in the store
    quarantined: int  # that could not be rendered
    blank: int  # of a single colour
    animations: tuple[Path, ...]
    sheets: tuple[Path, ...]
    seconds: float  # of rendering, from the first unit handed out to the last one committed
    fill: float  # share of the places in the network's batches that held an input, 0 … 1; the others held copies
    waiting_s: float  # seconds in which a worker had no frame between two units, summed over the workers
    splits: tuple[str, ...] = (TRAIN,)  # of the data set
    inexact: int = 0  # frames whose last bits depend on their place in a batch: no safe places were found on their card


def plan_job(target: str | Path | TableLike, *overrides: str, check_model: bool = False) -> Prepared:
    """Return the checked plan of a job, without loading torch or Ray. Raises InputError with everything that is wrong.

    `target` is a job file, a manifest's file, a manifest in memory (a table of pandas, Arrow, Polars or DuckDB), or an
    output folder, whose own job is planned again, with `overrides` for what has moved.
    `check_model` asks for the weights of its models, reads every byte of them and fingerprints them; without, their JSON
    files and the weights' headers are enough. It loads torch, to compare the weights with the networks.
    """
    if isinstance(target, str | Path) and (out := _begun(target)) is not None:
        return prepare_again(out, overrides)
    return _prepare(target, overrides, weights=check_model, check_files=check_model)


@plain_end()
def run_job(
    target: str | Path | TableLike, *overrides: str, report: Report | None = None, extend: bool = False
) -> Summary:
    """Render a job, or what is left of it, into its store and animate its walks.

    `target` is a job file, a manifest's file, or a manifest in memory: a table of pandas, Arrow, Polars or DuckDB. The
    same table resumes it. `overrides` are `key=value` strings as on the command line. With `extend`, rows that follow
    those of the output, or a further table, are added to it; what is there stays as it is. Raises InputError for bad input,
    before anything starts, and RunError when the run can't go on, or in the end for animations and sheets that could not
    be written; what is committed stays.
    """
    report = report or usual_report()
    asked = Asked(extend, _extending(target, overrides), _again(target, overrides))
    command, (job, _) = _command(target, overrides), _load(target, overrides)
    with Notices(job, command, report) as notices:
        checked = _prepare(target, overrides, weights=True, writes=True)
        prepared = replace(record_or_resume(checked, asked), command=command)
        summary = _rendered(prepared, notices)
        notices.done(summary.frames, summary.quarantined, summary.blank)
    return summary


def _rendered(prepared: Prepared, report: Report) -> Summary:
    """Render what is left of a job whose output is begun, and write its animations and sheets."""
    job, ledger = prepared.job, Ledger(prepared.job.output)
    ledger.create()
    with ledger.lock() as check_lock, _failures() as failed:
        if restore_manifest(prepared):
            text = f"{ledger.folder.manifest}: was damaged; written anew from {job.manifest.name}"
            prepared = _warned(prepared, text)
        if restore_job(prepared):
            prepared = _warned(prepared, f"{ledger.folder.job}: could not be read; written anew")
        left = check_store(ledger, _units(prepared))
        check_lock()
        if told := take_back(ledger, lambda: _units(prepared)).told:
            prepared = _warned(prepared, told)
        ledger.delete_orphans()
        write_card(prepared)
        report.begin(prepared, sum(receipt.frames for receipt in ledger.receipts()))
        units = ledger.outstanding(_units(prepared)) if left else iter(())
        seconds = render_units(prepared, ledger, units, report, check_lock)
        if job.store.blank == "reseed":
            reseed_blank(prepared, ledger, report, check_lock)
        check_lock()
        ledger.delete_orphans()
        delete_partial_records(ledger.folder)
        store = ImageStore(job.output, ledger)
        animations = _animate(store, prepared.manifest, job, report, failed)
        sheets = _sheets(prepared.manifest, job, store, failed)
        _write_card(prepared, sheets, failed)
    receipts = ledger.receipts()
    return Summary(
        out=job.output,
        frames=sum(receipt.frames for receipt in receipts),
        quarantined=sum(len(unit.frames) for unit in ledger.outstanding(_units(prepared))) if left else 0,
        blank=sum(len({*receipt.blank} - {*receipt.quarantined}) for receipt in receipts),
        animations=animations,
        sheets=sheets,
        seconds=seconds,
        fill=_fill(receipts),
        waiting_s=sum(receipt.waiting_s for receipt in receipts),
        splits=prepared.manifest.splits,
        inexact=sum(receipt.frames for receipt in receipts if not receipt.exact),
    )


def _warned(prepared: Prepared, text: str) -> Prepared:
    return replace(prepared, warnings=(*prepared.warnings, text))


def _write_card(prepared: Prepared, sheets: Sequence[Path], failed: list[str]) -> None:
    """Write the card of a run that has ended, with what is in the store by now."""
    card = OutputFolder(prepared.job.output).card
    with _noted(failed, card):
        write_card(prepared, sheets)


def _fill(receipts: Sequence[Receipt]) -> float:
    rows = sum(receipt.rows for receipt in receipts)
    return rows / max(1, rows + sum(receipt.padding for receipt in receipts))


@plain_end()
def preview_job(
    target: str | Path | TableLike, *overrides: str, frames: int = 8, report: Report | None = None
) -> Preview:
    """Render some frames of a job, spread over its manifest, into OUTPUT-preview; the output itself is not touched.

    Every model, size and walk has one of the frames as far as their number allows. Their batch sizes are those of the whole
    job; networks are not compiled. An older preview is replaced. Raises InputError for bad input, and RunError when
    rendering can't go on.
    """
    report, whole = report or usual_report(), _prepare(target, overrides, weights=True, writes=True)
    chosen = list(choose_frames(whole, frames))
    units = preview_units(chosen, whole)
    prepared = begin_preview(whole, units)
    ledger = Ledger(prepared.job.output)
    ledger.create()
    with ledger.lock() as check_lock:
        report.begin(prepared, 0)
        render_units(prepared, ledger, iter(units), report, check_lock)
        ledger.delete_orphans()
        store = open_store(prepared.job.output)
        sheet = write_preview(store, [frame for _, frame in chosen], whole.job.sheets.cell) if len(store) else ()
    return measure(whole, units, ledger.receipts(), sheet)


@plain_end()
def sheet_store(out: str | Path, *overrides: str) -> tuple[Path, ...]:
    """Write the contact sheets of a store anew, with the settings of its job and `sheets.key=value` overrides."""
    out = reach_output(out)
    job = stored_job(out, overrides, "sheets")
    check_files(Ledger(out))
    with _failures() as failed:
        return _sheets(stored_manifest(out), job, open_store(out), failed)


@plain_end()
def animate_store(out: str | Path, *overrides: str, report: Report | None = None) -> tuple[Path, ...]:
    """Write the animations of a store anew, with the settings of its job and `animation.key=value` overrides."""
    out, report = reach_output(out), report or usual_report()
    job = stored_job(out, overrides, "animation")
    check_files(Ledger(out))
    with _failures() as failed:
        return _animate(open_store(out), stored_manifest(out), job, report, failed)


def _extending(target: str | Path | TableLike, overrides: Sequence[str]) -> str:
    """Return the command that adds the rows of a target to its output."""
    if isinstance(target, str | Path):
        return shlex.join(["render", "run", str(target), *public(overrides), "--extend"])
    return "run_job(…, extend=True)"


def _command(target: str | Path | TableLike, overrides: Sequence[str]) -> str:
    """Return the command that goes on with a job, as a shell takes it anywhere on this machine; "" for a table in memory.

    Whoever starts the command for somebody else, as a submission does, says in RENDER_COMMAND what to show in its place.
    """
    if command := os.environ.get(COMMAND):
        return without_secrets(command)
    if not isinstance(target, str | Path):
        return ""
    command = shlex.join(["render", "run", without_secrets(str(target)), *public(overrides)])
    return f"cd {shlex.quote(str(Path.cwd()))} && {command}"


def _again(target: str | Path | TableLike, overrides: Sequence[str]) -> Callable[[int], Prepared]:
    """Return a function that plans the job anew, its rows numbered as if so many others stood before them."""
    return lambda rows_before: _prepare(target, overrides, weights=True, rows_before=rows_before)


def _prepare(
    target: str | Path | TableLike,
    overrides: Sequence[str],
    weights: bool,
    check_files: bool = False,
    rows_before: int = 0,
    writes: bool = False,
) -> Prepared:
    """Check and plan a job; with `writes`, look first whether its output can be written."""
    job, table = _load(target, overrides)
    if writes:
        check_lasting(job.output)
        check_access(job.output, writes)
    return prepare(job, weights, check_files, table, rows_before)


def _load(target: str | Path | TableLike, overrides: Sequence[str]) -> tuple[JobConfig, TableLike | None]:
    """Return a job and its table in memory, if it is one. Raises JobError, also for notices that can't be sent."""
    if isinstance(target, str | Path):
        job, table = load_job(target, overrides), None
    elif isinstance(target, TableLike):
        job, table = load_job(Path(memory_name(target)), overrides, in_memory=True), target
    else:
        required = "a path, or a table of pandas, Arrow, Polars or DuckDB"
        hint = " (its to_pandas() gives one)" if hasattr(target, "to_pandas") else ""
        raise JobError(f"target: required {required}, got {type(target).__name__}{hint}")
    check_notices(job)
    return job, table


def _begun(target: str | Path) -> Path | None:
    """Return the target if it is an output folder."""
    try:
        path = any_path(target)
    except ValueError:  # of a web address
        return None
    return path if not path.suffix and OutputFolder(path).run.is_dir() else None


def _units(prepared: Prepared) -> Iterator[Unit]:
    return plan_units(prepared.manifest.walks, prepared.plan)


@contextmanager
def _failures() -> Iterator[list[str]]:
    """Give a list for files that could not be written, and why; raise RunError in the end that names them."""
    failed: list[str] = []
    yield failed
    if failed:
        raise RunError("\n  ".join(["files that could not be written:", *failed]))


@contextmanager
def _noted(failed: list[str], path: Path) -> Iterator[None]:
    """Add a file that can't be written to a list; the next one may be."""
    try:
        yield
    except (*UNWRITABLE, StoreError) as error:  # a shard may be damaged
        failed.append(f"{path}: {error}")


def _animate(
    store: ImageStore, manifest: Manifest, job: JobConfig, report: Report, failed: list[str]
) -> tuple[Path, ...]:
    """Write the animations of every walk, as far as it is committed; what could not be written is added to `failed`."""
    written = []
    files = animation_files(store, manifest.walks, job.animation)
    report.animating(len(files))
    for path, walk in files:
        with _noted(failed, path):
            write_file(path, walk, store, job)
            written.append(path)
            report.animation(path)
    return tuple(written)


def _sheets(manifest: Manifest, job: JobConfig, store: ImageStore, failed: list[str]) -> tuple[Path, ...]:
    """Write the sheets; what could not be written is added to `failed`."""
    config = job.sheets
    return tuple(write_sheets(store, manifest.walks, job.sweep, config.kinds, config.cell, partial(_noted, failed)))
