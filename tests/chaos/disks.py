"""Small disks that can be full or read-only. They need the right to mount."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

__all__ = ["Disk", "can_mount", "small_disk"]


class Disk:
    """A file system in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size_kb: int) -> None:
        self._remount(f"size={size_kb}k")

    def set_read_only(self, read_only: bool) -> None:
        self._remount("ro" if read_only else "rw")

    def _remount(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", self.path], check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, size_kb: int) -> Iterator[Disk]:
    """Mount an empty disk; it is unmounted in the end, with all that is on it."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "chaos", path], check=True, capture_output=True)
    try:
        yield Disk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=False, capture_output=True)


@lru_cache(maxsize=1)
def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_disk(Path(folder), 64):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False
