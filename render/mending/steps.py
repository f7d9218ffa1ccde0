"""What to do next with an output folder, each step with its command, as a shell takes it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from render.core import counted, to_go_on

__all__ = ["Left", "next_steps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left to do of an output."""

    damaged: int = 0  # records and files
    unrecorded: int = 0  # shards without a commit record
    missing: int = 0  # frames
    failed: int = 0  # frames in quarantine
    blank: int = 0  # frames of a single colour


def next_steps(out: Path, left: Left, command: str = "") -> tuple[str, ...]:
    """Return what to do about what is left, the most urgent first; `command` is that of the run, where it is known."""
    repair, run = to_go_on("repair", out), f"`{command}`" if command else "the command of the run"
    steps = []
    if left.damaged:
        steps.append(f"the store is damaged: {repair}")
    if left.unrecorded:
        lack = counted(left.unrecorded, "shard has", "shards have")
        steps.append(f"{lack} no commit record: {repair}, or {run}, takes back what is whole")
    if left.missing:
        steps.append(f"{counted(left.missing, 'frame is', 'frames are')} missing: {run}, or {repair}")
    if left.failed:
        steps.append(f"{counted(left.failed, 'frame is', 'frames are')} in quarantine: {to_go_on('retry', out)}")
    if left.blank:
        found = counted(left.blank, "image is", "images are")
        steps.append(f"{found} of a single colour, which is no damage: the column `blank` of the store names them")
    return tuple(steps) or (f"nothing is left to do; {to_go_on('verify', out)} reads every byte",)
