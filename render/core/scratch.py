"""A local folder for files on their way to or from an object store. Standard library only."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["scratch_folder"]

PREFIX = "render-scratch-"
LOCK = "lock"


@lru_cache(maxsize=1)
def scratch_folder() -> Path:
    """Return this process' own folder in the folder of temporary files; it goes with the process.

    A process that was killed leaves its folder. The next one of the same user deletes it: its lock is free.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    held = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)  # open as long as the process lives
    fcntl.flock(held, fcntl.LOCK_EX)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = folder / "files"
    files.mkdir()
    return files


def _sweep() -> None:
    """Delete the folders of dead processes of this user."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # not there any more, not ours, or just being made
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            held = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)
