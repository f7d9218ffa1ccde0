"""Read text files of one entry a line: templates, and wildcards' values."""

from __future__ import annotations

from pathlib import Path

from render.core import special_kind

__all__ = ["is_entry", "read_lines"]


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 text file. Raises OSError or ValueError, whose text is the reason."""
    if kind := special_kind(path):
        raise ValueError(kind)
    return path.read_text(encoding="utf-8-sig").split("\n")


def is_entry(line: str) -> bool:
    """Tell entries from blank lines and from comments, which begin with #."""
    return bool(line.strip()) and not line.lstrip().startswith("#")
