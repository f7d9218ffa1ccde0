"""Find files of ours in an output folder: shards by the units in their names, and what dead processes left unfinished."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from render.core import PARTIAL, PROBE, ObjectPath
from render.store.folder import OutputFolder
from render.store.records import unit_of

__all__ = ["delete_partial_records", "own_shards", "unfinished_files"]

PROBE_S = 600.0  # age of a probe whose process is gone


def own_shards(folder: OutputFolder) -> dict[str, list[str]]:
    """Return unit id → names in data/ that workers gave its shards, committed or not; compact files are not among them."""
    found: dict[str, list[str]] = {}
    for path in folder.data.iterdir():
        if (unit := unit_of(path.name)) is not None and (isinstance(path, ObjectPath) or not path.is_dir()):
            found.setdefault(unit, []).append(path.name)
    return found


def unfinished_files(folder: OutputFolder) -> list[Path]:
    """Return scratch, temporary files and probes of dead processes; of a bucket, end their uploads as well."""
    if isinstance(folder.out, ObjectPath):
        with suppress(OSError):  # not every store lists them; what is left costs its place, nothing else
            folder.out.abort_uploads()
        return [path for path in folder.run.glob(f"{PROBE}*") if _is_old(path)]
    hidden = [path for own in (folder.commits, folder.batches, folder.compactions) for path in own.glob(".*")]
    found = [*folder.scratch.iterdir(), *hidden]
    found += [path for made in (folder.animations, folder.sheets) for path in made.rglob(f"{PARTIAL}*")]
    return [path for path in found if not path.is_dir() or path.is_symlink()]


def delete_partial_records(folder: OutputFolder) -> int:
    """Delete what runs that were killed left of the card, the job, the manifest and the plan. Returns their number.

    Call it when the frames are done: a second run that begins beside this one writes such files before it is refused.
    """
    if isinstance(folder.out, ObjectPath):  # unfinished files of a bucket are local
        return 0
    places = (folder.out, folder.run, folder.run / "audio")
    left = [path for place in places for path in place.glob(f"{PARTIAL}*")]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _is_old(probe: Path) -> bool:
    """Return True for a probe that no living process is trying the bucket with."""
    with suppress(FileNotFoundError):
        return isinstance(probe, ObjectPath) and probe.facts().age_s > PROBE_S
    return False
