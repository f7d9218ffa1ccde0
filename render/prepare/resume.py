"""Record a run in a new output folder, and check a resume against the record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from render.core import (
    MAIN,
    SOUND_BYTES,
    JobError,
    ManifestError,
    ObjectPath,
    StoreError,
    local_copy,
    local_file,
    media_path,
    replacing,
    to_go_on,
    why_unreadable,
    write_atomically,
)
from render.job import JobConfig, check_section, choose_workforce, load_job, to_yaml
from render.manifest import Manifest, read_stored, stored_fingerprint
from render.plan import Plan, count_alike
from render.prepare.compiling import check_toolchain
from render.prepare.extend import Asked, Record, extended, find_addition, refusal, whole_job
from render.prepare.job_plan import Prepared, largest_bytes, plan_counts
from render.store import Ledger, OutputFolder, check_access

__all__ = [
    "begun_ledger",
    "load_plan",
    "planned_manifest",
    "record_or_resume",
    "restore_job",
    "restore_manifest",
    "resume_record",
    "stored_job",
    "stored_manifest",
    "write_manifest_anew",
]

ABSENT = {"no such file or directory", "not a directory"}
ADDED = "required that no other run adds rows, got one that did"


def record_or_resume(prepared: Prepared, asked: Asked | None = None) -> Prepared:
    """Write job, manifest, sounds and plan to a new output folder; in a begun one take the plan that it records.

    Batch size, unit sizes and threads that the job leaves open are those of the first run, so that a resume gives the
    same bits on another machine of the same kind of device and dtype. Rows that the job's table adds are recorded behind
    the others if that is asked. Raises StoreError for a folder that was begun with another job, which names the
    differences, and for one with other files in it.
    """
    job, folder = prepared.job, OutputFolder(prepared.job.output)
    asked = asked or Asked(False, "render run TARGET --extend", lambda _: prepared)
    if job.output.is_file():
        raise StoreError(f"{job.output}: required a new or empty folder, or one of a run; got a file")
    if not folder.plan.exists():
        if asked.extend:
            raise StoreError(f"{job.output}: required the output folder of a run, to add rows to; got none")
        _check_empty(folder)
        _record(prepared, folder)
        return prepared
    recorded = load_plan(job.output)
    is_whole = recorded.fingerprint["manifest"] == prepared.plan.fingerprint["manifest"]
    if is_whole and not recorded.extensions:
        if differing := list(_differences(recorded, prepared, prepared.plan)):
            raise refusal(job.output, differing)
        return _resumed(prepared, recorded)
    record = Record(job.output, stored_job(job.output), recorded, planned_manifest(job.output))
    differing = list(_differences(recorded, prepared, _begun_plan(prepared, record)))
    addition = None if is_whole else find_addition(prepared, asked, record, differing)
    if differing:
        raise refusal(job.output, differing)
    if addition is not None:
        record = extended(record, addition)
        _record_extension(record, addition.prepared.job, folder)
    return whole_job(prepared, record)


def resume_record(prepared: Prepared, record: Record) -> Prepared:
    """Return a job of all rows of an output with the plan that the output records. Raises StoreError when models differ."""
    if differing := list(_differences(record.plan, prepared, _begun_plan(prepared, record))):
        raise refusal(record.out, differing)
    return whole_job(prepared, record)


def _begun_plan(prepared: Prepared, record: Record) -> Plan:
    """Return what a job would plan for the rows that an output began with."""
    begun = record.manifest.part(0, record.plan.rows)
    counts, weights = count_alike(begun.alike(), record.plan.targets), largest_bytes(prepared.models)
    first = plan_counts(prepared.job, counts, record.plan.targets, {}, weights)
    return replace(first, threads=prepared.plan.threads)


def _resumed(prepared: Prepared, recorded: Plan) -> Prepared:
    """Return the job with the plan that its output records."""
    job = prepared.job
    like_then = replace(job, workers=replace(job.workers, cpus=recorded.threads))
    workforce = choose_workforce(like_then, largest_bytes(prepared.models), recorded.units)
    if recorded.compile:
        check_toolchain(job, workforce)
    return replace(prepared, plan=recorded, workforce=workforce)


def _check_empty(folder: OutputFolder) -> None:
    """Raise StoreError for a folder with files that are no run's."""
    if folder.out.exists() and any(path != folder.run for path in folder.out.iterdir()):
        raise StoreError(f"{folder.out}: required a new or empty folder, or one of a run; got one with other files")


def _record(prepared: Prepared, folder: OutputFolder) -> None:
    """Write what a resume needs, the plan last: with it the folder is begun."""
    folder.run.mkdir(parents=True, exist_ok=True)
    with Ledger(folder.out).lock():
        if folder.plan.exists():
            required = "required that no other run begins the same output"
            raise StoreError(f"{folder.out}: {required}, got one that did just now; the same command looks again")
        _keep_sounds(prepared.manifest, prepared.job, folder)
        prepared.manifest.write(folder.manifest)
        write_atomically(folder.job, to_yaml(prepared.job).encode())
        _write_plan(prepared.plan, folder)


def _record_extension(record: Record, brought_by: JobConfig, folder: OutputFolder) -> None:
    """Write the record of an output with more rows, the plan last: until then the rows past the old plan's don't count."""
    ledger = Ledger(folder.out)
    ledger.create()
    with ledger.lock():
        if load_plan(folder.out).all_rows != record.plan.all_rows - record.plan.extensions[-1].rows:
            raise StoreError(f"{folder.out}: {ADDED}")
        _keep_sounds(record.manifest.part(record.plan.all_rows - record.plan.extensions[-1].rows), brought_by, folder)
        record.manifest.write(folder.manifest)
        write_atomically(folder.job, to_yaml(record.job).encode())
        _write_plan(record.plan, folder)


def _keep_sounds(manifest: Manifest, job: JobConfig, folder: OutputFolder) -> None:
    """Copy the sounds of the walks into the output folder."""
    for sha256, audio in manifest.sounds.items():
        kept = folder.sound(audio, sha256)
        kept.parent.mkdir(exist_ok=True)
        with replacing(kept) as temporary:
            shutil.copyfile(local_file(media_path(job.media_root, audio), SOUND_BYTES, sha256), temporary)


def _write_plan(plan: Plan, folder: OutputFolder) -> None:
    write_atomically(folder.plan, json.dumps(plan.to_dict(), indent=1).encode())


def load_plan(out: Path) -> Plan:
    """Return the recorded plan of an output folder. Raises StoreError for anything else, and for another version's."""
    file = OutputFolder(out).plan
    try:
        kind = "" if isinstance(file, ObjectPath) else why_unreadable(file)  # opening a pipe would wait for a writer
        if kind and kind not in ABSENT:
            raise ValueError(f"required a file, got {kind}")
        return Plan.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        got = "a file" if out.is_file() else "one without .run/plan.json" if out.is_dir() else "no such folder"
        raise StoreError(f"{out}: required the output folder of a run, got {got}") from None
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        got = f"another plan: {type(error).__name__}: {error}"
        raise StoreError(f"{out}: required an output folder of this version of nightrender, got {got}") from error


def begun_ledger(out: Path) -> Ledger:
    """Return the ledger of an output folder, for whoever changes it. Raises StoreError for anything else."""
    load_plan(out)
    check_access(out, writes=True)
    ledger = Ledger(out)
    ledger.create()
    return ledger


def stored_manifest(out: Path) -> Manifest:
    """Return the manifest of an output folder, with every default filled in: the rows that its plan knows.

    Raises ManifestError with the command that mends it, when it is damaged.
    """
    file, rows = OutputFolder(out).manifest, load_plan(out).all_rows
    got = "" if isinstance(file, ObjectPath) else why_unreadable(file)
    if got and got not in ABSENT:
        raise _damaged(out, got)
    try:
        with local_copy(file) as local:
            manifest = read_stored(local)
    except FileNotFoundError:
        got = "no file"
    except ManifestError as error:
        got = str(error).partition("got ")[2] or str(error)
    else:
        if manifest.row_count >= rows:
            return manifest.part(0, rows)
        got = f"{manifest.row_count:,} of its {rows:,} rows"
    raise _damaged(out, got)


def planned_manifest(out: Path) -> Manifest:
    """Return the manifest of an output folder, if its content is what was planned. Raises ManifestError."""
    manifest = stored_manifest(out)
    if manifest.fingerprint != load_plan(out).fingerprint["manifest"]:
        raise _damaged(out, "one that was changed since")
    return manifest


def _damaged(out: Path, got: str) -> ManifestError:
    required = "required the manifest that was planned"
    return ManifestError(
        f"{OutputFolder(out).manifest}: {required}, got {got}; {to_go_on('repair', out)} writes it anew"
    )


def write_manifest_anew(manifest: Manifest, out: Path) -> None:
    """Write the stored manifest of an output in the place of a damaged one. Raises StoreError for a folder in its place."""
    file = OutputFolder(out).manifest
    if not isinstance(file, ObjectPath) and file.is_dir():
        raise StoreError(f"{file}: required a file, got a folder (move it away)")
    manifest.write(file)


def restore_job(prepared: Prepared) -> bool:
    """Write the stored job anew where it can't be read: the job is that of the same plan. Returns if it was.

    Of an output with added rows nothing is written: its job names all of its models.
    """
    folder = OutputFolder(prepared.job.output)
    if prepared.plan.extensions:
        return False
    try:
        load_job(folder.job)
    except JobError:
        if not isinstance(folder.job, ObjectPath) and folder.job.is_dir():
            raise
        write_atomically(folder.job, to_yaml(prepared.job).encode())
        return True
    return False


def restore_manifest(prepared: Prepared) -> bool:
    """Write the stored manifest anew where it is damaged: the job's is the same. Returns if it was.

    Raises StoreError when rows were added since the job was prepared.
    """
    folder, planned = OutputFolder(prepared.job.output), prepared.plan.fingerprint["manifest"]
    if load_plan(folder.out) != prepared.plan:
        raise StoreError(f"{folder.out}: {ADDED}")
    if stored_fingerprint(folder.manifest) == planned:
        return False
    try:
        planned_manifest(folder.out)  # with rows behind it that a crash left, it is no damage
    except ManifestError:
        write_manifest_anew(prepared.manifest, folder.out)
        return True
    return False


def stored_job(out: Path, overrides: Sequence[str] = (), section: str = "") -> JobConfig:
    """Return the job of an output folder, with other settings in one section. Raises InputError."""
    load_plan(out)
    check_section(overrides, section)
    try:
        load_job(OutputFolder(out).job)
    except JobError as error:
        raise JobError(f"{error}; the command of the run writes it anew") from error
    return load_job(OutputFolder(out).job, overrides)


def _differences(recorded: Plan, prepared: Prepared, begun: Plan) -> Iterator[str]:
    """Yield what differs beside the manifest. `begun` is what this job would plan for the rows that the output began with.

    Models count that both have: a table of an output need not use all of its models.
    """
    now, job = prepared.plan, prepared.job
    for name, then in recorded.fingerprint.items():
        if name != "manifest" and name in now.fingerprint and then != now.fingerprint[name]:
            yield f"{name}: {then} then, {now.fingerprint[name]} now"
    for name, target in now.targets.items():
        before = recorded.targets.get(name, target)
        if before.prompt_syntax != target.prompt_syntax:
            yield f"sampling.prompt_syntax: {before.prompt_syntax} then, {target.prompt_syntax} now"
        if before.tile_above != target.tile_above:
            key = "model" if name == MAIN else f"models.{name}"
            yield f"{key}.tile_above: {before.tile_above} then, {target.tile_above} now"
    compile_asked = None if job.workers.compile == "auto" else job.workers.compile
    compile_then, compile_now = ("on" if plan.compile else "off" for plan in (recorded, now))
    choices: tuple[tuple[str, object, object, object], ...] = (
        ("workers.batch_rows", job.workers.batch_rows, recorded.batch_rows, begun.batch_rows),
        ("workers.compile", compile_asked, compile_then, compile_now),
        ("workers.cpus", job.workers.cpus, recorded.threads, now.threads),
        ("store.unit_frames", job.store.unit_frames, recorded.unit_frames, begun.unit_frames),
    )
    for name, asked, chosen, wanted in choices:
        if asked is not None and chosen != wanted:
            yield f"{name}: {chosen} then, {wanted} now"
