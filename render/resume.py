"""Record a run in a new output folder, and check a resume against the record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from render.compiling import check_toolchain
from render.core import MAIN, StoreError, replacing, write_atomically
from render.job import JobConfig, check_section, choose_workforce, load_job, to_yaml
from render.manifest import Manifest, read_stored, stored_fingerprint
from render.plan import Plan
from render.prepare import Prepared, largest_bytes
from render.store import OutputFolder

__all__ = ["load_plan", "record_or_resume", "restore_manifest", "stored_job", "stored_manifest"]


def record_or_resume(prepared: Prepared) -> Prepared:
    """Write job, manifest, sounds and plan to a new output folder; in a begun one take the plan that it records.

    Batch size, unit sizes and threads that the job leaves open are those of the first run, so that a resume gives the
    same bits on another machine of the same kind of device and dtype. Raises StoreError for a folder that was begun with
    another job, which names the differences, and for one with other files in it.
    """
    job, folder = prepared.job, OutputFolder(prepared.job.output)
    if job.output.is_file():
        raise StoreError(f"{job.output}: required a new or empty folder, or one of a run; got a file")
    if not folder.plan.exists():
        _check_empty(folder)
        _record(prepared, folder)
        return prepared
    recorded = load_plan(job.output)
    if differing := list(_differences(recorded, prepared)):
        raise StoreError(
            f"{job.output}: required the job that the folder was begun with, got another:\n  "
            + "\n  ".join(differing)
            + "\nGive it another output=FOLDER, or finish the first job as it was."
        )
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
    for sha256, audio in prepared.manifest.sounds.items():
        kept = folder.sound(audio, sha256)
        kept.parent.mkdir(exist_ok=True)
        with replacing(kept) as temporary:
            shutil.copyfile(prepared.job.media_root / audio, temporary)
    prepared.manifest.write(folder.manifest)
    write_atomically(folder.job, to_yaml(prepared.job).encode())
    write_atomically(folder.plan, json.dumps(prepared.plan.to_dict(), indent=1).encode())


def load_plan(out: Path) -> Plan:
    """Return the recorded plan of an output folder. Raises StoreError for anything else, and for another version's."""
    try:
        return Plan.from_dict(json.loads(OutputFolder(out).plan.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        got = "a file" if out.is_file() else "one without .run/plan.json" if out.is_dir() else "no such folder"
        raise StoreError(f"{out}: required the output folder of a run, got {got}") from None
    except (KeyError, TypeError, ValueError) as error:
        got = f"another plan: {type(error).__name__}: {error}"
        raise StoreError(f"{out}: required an output folder of this version of nightrender, got {got}") from error


def restore_manifest(prepared: Prepared) -> bool:
    """Write the stored manifest anew where it can't be read or was changed: the job's is the same. Returns if it was."""
    folder = OutputFolder(prepared.job.output)
    if stored_fingerprint(folder.manifest) == prepared.manifest.fingerprint:
        return False
    prepared.manifest.write(folder.manifest)
    return True


def stored_manifest(out: Path) -> Manifest:
    """Return the manifest of an output folder, with every default filled in."""
    return read_stored(OutputFolder(out).manifest)


def stored_job(out: Path, overrides: Sequence[str] = (), section: str = "") -> JobConfig:
    """Return the job of an output folder, with other settings in one section. Raises InputError."""
    load_plan(out)
    check_section(overrides, section)
    return load_job(OutputFolder(out).job, overrides)


def _differences(recorded: Plan, prepared: Prepared) -> Iterator[str]:
    now, job = prepared.plan, prepared.job
    for name in {**recorded.fingerprint, **now.fingerprint}:
        if recorded.fingerprint.get(name) != now.fingerprint.get(name):
            yield f"{name}: {recorded.fingerprint.get(name)} then, {now.fingerprint.get(name)} now"
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
        ("workers.batch_rows", job.workers.batch_rows, recorded.batch_rows, now.batch_rows),
        ("workers.compile", compile_asked, compile_then, compile_now),
        ("workers.cpus", job.workers.cpus, recorded.threads, now.threads),
        ("store.unit_frames", job.store.unit_frames, recorded.unit_frames, now.unit_frames),
    )
    for name, asked, then, wanted in choices:
        if asked is not None and then != wanted:
            yield f"{name}: {then} then, {wanted} now"
