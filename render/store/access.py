"""The first look at an output: a URL becomes a path, and a bucket that can't be used is an error within seconds."""

from __future__ import annotations

from pathlib import Path

from render.core import ObjectPath, StoreError, any_path, expand_home, why_unreadable

__all__ = ["check_access", "make_folder", "reach_output"]

NOT_EXCLUSIVE = (
    "required a store that creates objects exclusively (If-None-Match: *), got one that overwrites them: two workers "
    "could commit one unit. Render to a local folder and copy it, or take another store"
)


def reach_output(out: str | Path) -> Path:
    """Return the path of an output folder that is to be read. Raises StoreError for a URL or a bucket that can't be used."""
    try:
        path = expand_home(any_path(out))
    except ValueError as error:
        raise StoreError(str(error)) from None
    check_access(path, writes=False)
    return path


def make_folder(folder: Path) -> None:
    """Create a folder of OUT. Raises StoreError for a file in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        got = why_unreadable(folder) or "a file"
        raise StoreError(f"{folder}: required a folder, got {got} (move it away)") from None


def check_access(out: Path, writes: bool) -> None:
    """Check that a bucket answers and, if `writes`, that it creates objects exclusively. Raises StoreError.

    To find that out, an object below OUT/.run is created twice and deleted.
    """
    if not isinstance(out, ObjectPath):
        return
    try:
        is_exclusive = out.check(writes)
    except (ModuleNotFoundError, OSError) as error:
        raise StoreError(str(error)) from None
    if not is_exclusive:
        raise StoreError(f"{out}: {NOT_EXCLUSIVE}")
