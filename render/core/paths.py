"""Paths to pipes, sockets and devices, which can't be read to an end. Standard library only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from render.core.objects import ObjectPath

__all__ = ["special_kind"]

KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def special_kind(path: Path) -> str:
    """Return `a pipe`, `a socket` or `a device`; "" for a file, a folder and a path to nothing."""
    if isinstance(path, ObjectPath):
        return ""
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except (OSError, ValueError):  # none such, or no name that there can be
        return ""
