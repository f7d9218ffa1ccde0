"""What to do next with an output folder, each step with its command, as a shell takes it. Standard library only."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["next_steps"]


def next_steps(out: Path, damaged: int, missing: int, failed: int, blank: int, command: str = "") -> tuple[str, ...]:
    """Return what to do about damage, and about frames that are missing, failed or blank; the most urgent first.

    `command` is that of the run, where it is known.
    """

    def shown(name: str) -> str:
        return f"`{shlex.join(['render', name, str(out)])}`"

    run = f"`{command}`" if command else "the command of the run"
    steps = []
    if damaged:
        steps.append(f"the store is damaged: {shown('repair')}")
    if missing:
        steps.append(f"{missing:,} frames are missing: {run}, or {shown('repair')}")
    if failed:
        steps.append(f"{failed:,} frames are in quarantine: {shown('retry')}")
    if blank:
        steps.append(f"{blank:,} images are of a single colour: `render verify` names none of them; look at them")
    return tuple(steps) or (f"nothing is left to do; {shown('verify')} reads every byte",)
