"""The folder of what may be kept between runs and lost at any time. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache(name: str) -> Path:
    """Return `nightrender/NAME` in the user's cache folder: `$XDG_CACHE_HOME`, by default `~/.cache`. Nothing is created."""
    own = os.environ.get("XDG_CACHE_HOME", "")
    root = (
        Path(own) if Path(own).is_absolute() else Path.home() / ".cache"
    )  # a relative one is to be ignored: the standard
    return root / "nightrender" / name
