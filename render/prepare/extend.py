"""Rows that are added to a begun output: find the table that a job brings among the recorded ones, and what is new in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from render.core import Group, StoreError, Target, input_path, is_url
from render.job import JobConfig, choose_workforce
from render.manifest import Manifest, append_rows, compare_manifests, same_rows
from render.plan import Extension, Plan, count_alike
from render.prepare.compiling import check_toolchain
from render.prepare.job_plan import Prepared, largest_bytes, plan_counts, resolve_models

__all__ = ["Addition", "Asked", "Record", "Table", "extended", "find_addition", "refusal", "tables_of", "whole_job"]

OTHER_OUTPUT = "Give it another output=FOLDER, or finish the first job as it was."


@dataclass(frozen=True)
class Asked:
    """The command that a run was started with."""

    extend: bool  # add the rows that the output does not have
    command: str  # that adds them
    prepare: Callable[[int], Prepared]  # plan the job with its rows numbered as if so many stood before them


@dataclass(frozen=True)
class Record:
    """What an output folder records."""

    out: Path
    job: JobConfig  # that it was begun with
    plan: Plan
    manifest: Manifest  # of all tables


@dataclass(frozen=True)
class Addition:
    """Rows that an output does not have yet."""

    prepared: Prepared  # the job that brings them
    rows: Manifest
    table: str  # path of a further table; "" for more rows of the last one


@dataclass(frozen=True)
class Table:
    """A table that an output was begun with or extended by."""

    path: Path
    start: int  # place of its first row in the manifest
    stop: int  # place behind its last one
    before: int  # number of the last row before it


def find_addition(prepared: Prepared, asked: Asked, record: Record, differing: list[str]) -> Addition | None:
    """Return the rows of a job's table that follow those of the output; None for a table that the output has whole.

    Raises StoreError for a table with other rows, which shows them after what is `differing` already, and for new rows
    that nobody asked to add.
    """
    tables = list(tables_of(record.job, record.plan))
    for table in tables:
        now = asked.prepare(table.before) if table.before else prepared
        if _begins(record.manifest.part(table.start, table.stop), now.manifest):
            more = now.manifest.part(table.stop - table.start)
            if not more.row_count:
                return None
            _check_growth(record, table, more, is_last=table is tables[-1])
            if not asked.extend:
                way = f"Rows may be added, never changed. This adds them: {asked.command}"
                raise refusal(record.out, differing + _lines(record, table, now), OTHER_OUTPUT if differing else way)
            return Addition(now, more, "")
    alike = [table for table in tables if _is_of(table, prepared, record.manifest)]
    if alike or not asked.extend:
        table, way = (alike or tables)[0], OTHER_OUTPUT
        now = asked.prepare(table.before) if table.before else prepared
        if not alike and not differing:
            way = f"Give it another output=FOLDER. As a further table, this adds it: {asked.command}"
        raise refusal(record.out, differing + _lines(record, table, now), way)
    now = asked.prepare(record.manifest.last_row)
    return Addition(now, now.manifest, str(prepared.job.manifest))


def tables_of(job: JobConfig, plan: Plan) -> Iterator[Table]:
    """Yield the tables that an output's rows are of, in their order."""
    table = Table(job.manifest, 0, plan.rows, 0)
    for part in plan.extensions:
        if part.table:
            yield table
            table = Table(input_path(part.table), table.stop, table.stop, part.after_row)
        table = replace(table, stop=table.stop + part.rows)
    yield table


def _begins(then: Manifest, now: Manifest) -> bool:
    """Return True for a manifest that begins with all rows of another one, under the same numbers."""
    if now.row_count < then.row_count:
        return False
    first = now.part(0, then.row_count)
    numbers = (one.select("source_row")["source_row"].to_pylist() for one in (then, first))
    return bool(same_rows(then, first).all()) and next(numbers) == next(numbers)


def _is_of(table: Table, prepared: Prepared, manifest: Manifest) -> bool:
    """Return True for a recorded table that the job's is a changed form of: the same file, or one with an equal row."""
    path = prepared.job.manifest
    if is_url(path) or is_url(table.path):
        same_file = str(path) == str(table.path)
    else:
        same_file = path.exists() and table.path.exists() and path.samefile(table.path)
    return same_file or bool(same_rows(manifest.part(table.start, table.stop), prepared.manifest).any())


def _check_growth(record: Record, table: Table, more: Manifest, is_last: bool) -> None:
    """Raise StoreError for new rows that can't follow a table: another one does, or its last walk would grow."""
    first = more.select("walk", "source_row").slice(0, 1).to_pylist()[0]
    where = f"{record.out}: row {first['source_row'] - table.before}"
    if not is_last:
        required = "no more rows in a table that another one was added after"
        raise StoreError(f"{where}: required {required}, got some (put them into a table of their own)")
    last = record.manifest.select("walk")["walk"][table.stop - 1].as_py()
    if last is not None and first["walk"] == last:
        required = "a walk of another name: rows may be added, never changed"
        raise StoreError(f"{where}: required {required}, got another keyframe of {last!r}")


def _lines(record: Record, table: Table, now: Prepared) -> list[str]:
    """Return what differs between a recorded table and the job's, as lines of a refusal; rows have its own numbers."""
    then = record.manifest.part(table.start, table.stop)
    found = compare_manifests(then.after(-table.before), now.manifest.after(-table.before))
    told = [line for difference in found for line in difference.splitlines()]
    return [f"manifest: {line}" for line in told or ["the same rows under other numbers (blank lines between them?)"]]


def refusal(out: Path, differing: list[str], way: str = OTHER_OUTPUT) -> StoreError:
    """Return the error of a folder that was begun with another job."""
    lines = [f"{out}: required the job that the folder was begun with, got another:", *differing]
    return StoreError("\n".join(["\n  ".join(lines), way]))


def whole_job(prepared: Prepared, record: Record) -> Prepared:
    """Return the job of all tables of an output, as the record has them, with the settings of a job that brings one."""
    job = replace(
        prepared.job,
        manifest=record.job.manifest,
        media=record.job.media,
        models={**record.job.models, **prepared.job.models},
    )
    models = resolve_models(job, record.plan.targets, weights=True)
    job = replace(job, workers=replace(job.workers, cpus=record.plan.threads))
    workforce = choose_workforce(job, largest_bytes(models), record.plan.all_units, prepared.site)
    if record.plan.compile:
        check_toolchain(job, workforce)
    return replace(
        prepared,
        job=job,
        models=models,
        manifest=record.manifest,
        counts=count_alike(record.manifest.alike(), record.plan.targets),
        plan=record.plan,
        workforce=workforce,
    )


def extended(record: Record, addition: Addition) -> Record:
    """Return the record with the rows of an addition. Raises StoreError for rows that the store can't take."""
    job, more = addition.prepared.job, addition.rows
    if faults := list(_faults(record, addition)):
        told = "".join(f"\n  {fault}" for fault in faults)
        raise StoreError(f"{record.out}: required rows that the output can take, got others:{told}")
    manifest = append_rows(record.manifest, more)
    new: dict[str, Target] = addition.prepared.plan.targets
    names = {f"model {name}" for name in new} | {"model"}
    fingerprint = {n: v for n, v in addition.prepared.plan.fingerprint.items() if n in names}
    weights = largest_bytes(addition.prepared.models)
    part = plan_counts(job, count_alike(more.alike(), new), new, {}, weights, addition.prepared.site)
    # Never smaller batches than those before: the few frames of an extension get the pixels that they had among many.
    rows = {group: max(rows, _batch_rows(record.plan, group)) for group, rows in part.batch_rows.items()}
    extension = Extension(
        after_row=record.manifest.last_row,
        rows=more.row_count,
        units=part.units,
        batch_rows=rows,
        unit_frames=part.unit_frames,
        table=addition.table,
        frames=part.frames,
    )
    plan = replace(
        record.plan,
        fingerprint={**record.plan.fingerprint, **fingerprint, "manifest": manifest.fingerprint},
        targets={**record.plan.targets, **new},
        extensions=(*record.plan.extensions, extension),
    )
    models = {**record.job.models, **job.models}
    return replace(record, job=replace(record.job, models=models), plan=plan, manifest=manifest)


def _batch_rows(plan: Plan, group: Group) -> int:
    """Return the largest batch size that a group of an output has so far, 0 for a new group."""
    sizes = [plan.batch_rows, *(part.batch_rows for part in plan.extensions)]
    return max(size.get(group, 0) for size in sizes)


def _faults(record: Record, addition: Addition) -> Iterator[str]:
    """Yield why the rows of an addition can't follow those of an output."""
    job, more = addition.prepared.job, addition.rows
    try:
        append_rows(record.manifest, more)
    except ValueError as fault:
        yield from str(fault).splitlines()
    names = [{walk.casefold() for walk in one.walk_names} for one in (record.manifest, more)]
    for name in sorted(names[0] & names[1]):
        yield f"walk {name!r}: there already, in rows before"
    if job.sweep != record.job.sweep:
        yield f"sweep: {record.job.sweep.written} then, {job.sweep.written} now"
    if job.media_root != record.job.media_root and (more.has_media or record.manifest.has_media):
        yield f"media: {record.job.media_root} then, {job.media_root} now"
