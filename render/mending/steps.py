"""What to do next with an output folder, each step with its command, as a shell takes it. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from render.core import counted, to_go_on

__all__ = ["Left", "next_steps"]


@dataclass(frozen=True, slots=True)
class Left:
    """What is left to do in an output folder: numbers of frames, if nothing else is said."""

    damaged: int = 0  # findings
    unrecorded: int = 0  # shards without a commit record
    missing: int = 0
    failed: int = 0  # in quarantine
    blank: int = 0  # images of a single colour
    is_cut_short: bool = False  # the last run did not end as it should


def next_steps(out: Path, left: Left, going_on: str = "", command: str = "") -> tuple[str, ...]:
    """Return what to do next, the most urgent first.

    `going_on` names the run that has the output, and `command` is that of the run, where they are known.
    """
    steps, repair = [], to_go_on("repair", out)
    run = f"`{command}`" if command else "the command of the run"
    if going_on:
        steps.append(f"a run goes on there, {going_on}: let it end first")
    if left.damaged:
        steps.append(f"the store is damaged: {repair}")
    if left.unrecorded:
        lack = counted(left.unrecorded, "shard has", "shards have")
        steps.append(f"{lack} no commit record: {repair}, or {run}, takes back what is whole")
    if left.missing:
        steps.append(f"{counted(left.missing, 'frame is', 'frames are')} missing: {run}, or {repair}")
    elif left.is_cut_short:
        steps.append(f"the last run was cut short when all frames were done: {run} writes animations, sheets and card")
    if left.failed:
        steps.append(f"{counted(left.failed, 'frame is', 'frames are')} in quarantine: {to_go_on('retry', out)}")
    if left.blank:
        found = counted(left.blank, "image is", "images are")
        steps.append(f"{found} of a single colour, which is no damage: the column `blank` of the store names them")
    return tuple(steps) or (f"nothing is left to do; {to_go_on('verify', out)} reads every byte",)
