"""The flow of an export: check, choose, write part by part, then what belongs to the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from render.catalog import Catalog
from render.core import RunError, counted, plain_reason
from render.export.checks import check_export
from render.export.describe import describe
from render.export.notes import begin_or_resume, is_done, locked, note_done, note_part, noted_parts
from render.export.samples import PartSamples, read_samples
from render.export.selection import select
from render.export.targets import TARGETS
from render.export.value import Export, Exported
from render.export.work import Part, Work

__all__ = ["export_store"]

Say = Callable[[str], object]


def export_store(out: str | Path, export: Export, say: Say = lambda _: None) -> Exported:
    """Write the frames of a store for others: a dataset, tar files, a training folder.

    The store is only read, and may still be rendered; what is committed is exported. A killed export goes on with the
    same call: parts that were written stay. `say` gets lines of progress and warnings. Raises JobError for an export that
    can't be, before anything is written, StoreError for a folder of another export or a damaged store, and RunError when
    writing fails.
    """
    with Catalog(out) as catalog, _plain_end():
        choice = check_export(export, catalog)
        selection = select(catalog, choice)
        work = Work(choice, catalog.out.name, selection.schema, selection.frames)
        for split, frames in selection.frames.items():
            if not frames:
                say(f"warning: split {split!r} has no frames: there are too few prompts for its share")
        if begin_or_resume(work, selection):
            say(f"{export.folder}: goes on with the export that was begun there")
        with locked(work):
            written = 0 if is_done(work) else _write(catalog, work, say)
        parts = {split: noted_parts(work, split) for split in work.frames}
    files = [part for found in parts.values() for part in found]
    return Exported(
        folder=export.folder,
        frames={split: sum(part["rows"] for part in found) for split, found in parts.items()},
        files=len(files) if TARGETS[export.to].rows is None else sum(part["rows"] for part in files),
        size_bytes=sum(part["bytes"] for part in files),
        left_out=selection.left_out,
        written=written,
    )


@contextmanager
def _plain_end() -> Iterator[None]:
    """Raise RunError for a folder that can't be written: a full disk, no rights."""
    try:
        yield
    except BrokenPipeError:  # of whoever reads what is said
        raise
    except OSError as error:
        raise RunError(plain_reason(error)) from error


def _write(catalog: Catalog, work: Work, say: Say) -> int:
    """Write what is missing of an export; returns the number of frames that were written."""
    written = 0
    for split, frames in work.frames.items():
        if frames:
            written += _write_split(catalog, work, split, say)
    counts = {split: len(noted_parts(work, split)) for split, frames in work.frames.items() if frames}
    TARGETS[work.choice.export.to].finish(replace(work, parts=counts))
    describe(catalog, work)
    note_done(work)
    for file in work.notes.glob("*.lines"):
        file.unlink()
    return written


def _write_split(catalog: Catalog, work: Work, split: str, say: Say) -> int:
    target, done = TARGETS[work.choice.export.to], noted_parts(work, split)
    rows = begun = sum(part["rows"] for part in done)
    samples = PartSamples(read_samples(catalog, work.choice, split, begun), target.rows, work.choice.shard_bytes)
    number = len(done)
    while not samples.is_last:
        samples.begin()
        part = Part(split, number, rows)
        target.write_part(work, part, iter(samples))
        note_part(work, part, samples.rows, samples.size_bytes)
        rows, number = rows + samples.rows, number + 1
        say(f"{split}: {rows:,} of {counted(work.frames[split], 'frame')}")
    return rows - begun
