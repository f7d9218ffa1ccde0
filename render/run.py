"""The whole flow on one page: a job goes in, a store and animations come out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from render.card import write_card
from render.core import Receipt, RunError, StoreError, Unit
from render.inspect import check_files, check_store
from render.job import JobConfig, load_job
from render.manifest import Manifest
from render.output import UNWRITABLE, animation_files, write_file, write_sheets
from render.plan import plan_units
from render.prepare import Prepared, prepare
from render.rendering import Report, Silent, render_units
from render.resume import record_or_resume, restore_manifest, stored_job, stored_manifest
from render.retry import reseed_blank
from render.store import ImageStore, Ledger, open_store

__all__ = ["Summary", "animate_store", "plan_job", "run_job", "sheet_store"]


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


def plan_job(target: str | Path, *overrides: str, check_model: bool = False) -> Prepared:
    """Return the checked plan of a job, without loading torch or Ray. Raises InputError with everything that is wrong.

    `check_model` asks for the weights of its models, reads every byte of them and fingerprints them; without, their JSON
    files are enough.
    """
    return prepare(load_job(Path(target), overrides), weights=check_model, check_files=check_model)


def run_job(target: str | Path, *overrides: str, report: Report | None = None) -> Summary:
    """Render a job, or what is left of it, into its store and animate its walks.

    `target` is a job file or a manifest, `overrides` are `key=value` strings as on the command line. Raises InputError for
    bad input, before anything starts, and RunError when the run can't go on, or in the end for animations and sheets that
    could not be written; what is committed stays.
    """
    report = report or Silent()
    prepared = record_or_resume(prepare(load_job(Path(target), overrides)))
    job, ledger = prepared.job, Ledger(prepared.job.output)
    ledger.create()
    with ledger.lock(), _failures() as failed:
        left = check_store(ledger, _units(prepared))
        if restore_manifest(prepared):
            text = f"{ledger.folder.manifest}: was damaged; written anew from {job.manifest.name}"
            prepared = replace(prepared, warnings=(*prepared.warnings, text))
        ledger.delete_orphans()
        write_card(prepared)
        report.begin(prepared, sum(receipt.frames for receipt in ledger.receipts()))
        units = ledger.outstanding(_units(prepared)) if left else iter(())
        seconds = render_units(prepared, ledger, units, report)
        if job.store.blank == "reseed":
            reseed_blank(prepared, ledger, report)
        ledger.delete_orphans()
        store = open_store(job.output)
        animations = _animate(store, prepared.manifest, job, report, failed)
        sheets = _sheets(prepared.manifest, job, store, failed)
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
    )


def _fill(receipts: Sequence[Receipt]) -> float:
    rows = sum(receipt.rows for receipt in receipts)
    return rows / max(1, rows + sum(receipt.padding for receipt in receipts))


def sheet_store(out: str | Path, *overrides: str) -> tuple[Path, ...]:
    """Write the contact sheets of a store anew, with the settings of its job and `sheets.key=value` overrides."""
    out = Path(out)
    job = stored_job(out, overrides, "sheets")
    check_files(Ledger(out))
    with _failures() as failed:
        return _sheets(stored_manifest(out), job, open_store(out), failed)


def animate_store(out: str | Path, *overrides: str, report: Report | None = None) -> tuple[Path, ...]:
    """Write the animations of a store anew, with the settings of its job and `animation.key=value` overrides."""
    out, report = Path(out), report or Silent()
    job = stored_job(out, overrides, "animation")
    check_files(Ledger(out))
    with _failures() as failed:
        return _animate(open_store(out), stored_manifest(out), job, report, failed)


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
