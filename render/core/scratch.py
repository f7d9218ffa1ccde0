"""Local folders that belong to one process, and go with it or with the next one of its user. Standard library only."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

__all__ = ["OwnedFolder", "scratch_folder"]

PREFIX = "render-scratch-"
LOCK = "lock"
NEW_S = 600.0  # a folder without a lock that is older was left by a process that died while it made it


@lru_cache(maxsize=1)
def scratch_folder() -> Path:
    """Return this process' own folder for files on their way to or from an object store; it goes with the process.

    A process that was killed leaves its folder. The next one of the same user deletes it: its lock is free.
    """
    owned = OwnedFolder(PREFIX)
    atexit.register(owned.delete)
    files = owned.path / "files"
    files.mkdir()
    return files


class OwnedFolder:
    """A new folder, by default in the folder of temporary files, locked as long as this process lives."""

    def __init__(self, prefix: str, end: Callable[[Path], object] = lambda _: None, place: Path | None = None) -> None:
        """Delete the folders of dead processes of this user with the same prefix first, each after `end(folder)`."""
        place = place or Path(tempfile.gettempdir())
        _sweep(place, prefix, end)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        new = self.path / f".{LOCK}"
        self._held = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX)
            new.rename(self.path / LOCK)  # nobody sees it before it is locked
        except OSError:
            self.delete()
            raise

    def delete(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            os.close(self._held)


def _sweep(place: Path, prefix: str, end: Callable[[Path], object]) -> None:
    """Delete the folders of dead processes of this user."""
    for folder in place.glob(f"{prefix}*"):
        with suppress(OSError):  # not there any more, not ours, or just being made
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            if not (folder / LOCK).exists() and time.time() - folder.stat().st_mtime > NEW_S:
                (folder / f".{LOCK}").unlink(missing_ok=True)
                folder.rmdir()  # if it is empty
                continue
            with _lock_of_dead(folder):
                end(folder)
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock_of_dead(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. Raises OSError where there is none, or while its process lives.

    A lock ends with its process. So another process with the same number is no proof of life, as it would be of a number
    that is written down.
    """
    held = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(held)
