"""The folder of what may be kept between runs and lost at any time. Standard library only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

__all__ = ["cache_lock", "make_private", "user_cache"]


def user_cache(name: str) -> Path:
    """Return `nightrender/NAME` in the user's cache folder: `$XDG_CACHE_HOME`, by default `~/.cache`. Nothing is created."""
    own = Path(os.environ.get("XDG_CACHE_HOME", ""))
    root = own if own.is_absolute() else Path.home() / ".cache"  # by its standard a relative one is to be ignored
    return root / "nightrender" / name


def make_private(folder: Path) -> None:
    """Create a folder that nobody but its user can enter; one that is there is closed to others. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


@contextmanager
def cache_lock(entry: Path | None) -> Iterator[None]:
    """Hold the lock of a cache entry; without a lock where the cache can't be written. It goes with its process."""
    with ExitStack() as held:
        with suppress(OSError):
            if entry is not None:
                entry.parent.mkdir(parents=True, exist_ok=True)
                lock = os.open(entry.with_suffix(".lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
                held.callback(os.close, lock)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
