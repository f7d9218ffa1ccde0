"""Makers of files that nobody should open: reading them would wait, or never end."""

from __future__ import annotations

import os
from pathlib import Path


def pipe(path: Path) -> None:
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")
