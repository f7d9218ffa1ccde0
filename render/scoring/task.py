"""Score some frames of a store in a worker's process: read, decode, score in batches, write one file for each score."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from render.catalog import ScoreFiles
from render.scoring.batch import Batch, Score, Scorer
from render.scoring.kinds import KINDS, load_scorer
from render.store import open_parquet

__all__ = ["Done", "Part", "ScoreTask", "score_frames"]

BATCH = 32  # pictures that are scored at once


@dataclass(frozen=True, slots=True)
class Part:
    """Frames of one shard, by their rows."""

    shard: Path
    rows: tuple[int, ...]  # ascending


@dataclass(frozen=True, slots=True)
class ScoreTask:
    """Frames, and the scores that they get; small enough to be sent anywhere."""

    out: Path
    parts: tuple[Part, ...]
    scores: tuple[Score, ...]
    device: str
    threads: int

    @property
    def frames(self) -> int:
        return sum(len(part.rows) for part in self.parts)


@dataclass(slots=True)
class Done:
    """What became of a task."""

    frames: int = 0  # that were scored
    unreadable: list[str] = field(default_factory=list)  # places of pictures that can't be decoded, and why


@dataclass(frozen=True, slots=True)
class _Picture:
    key: str
    prompt: str
    image: Image.Image


def score_frames(task: ScoreTask) -> Done:
    """Score the frames of a task; their scores are stored when it returns, each table whole or not at all.

    A picture that can't be decoded is left out and named. Raises StoreError, ModelError, OSError.
    """
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if any(KINDS[score.kind].takes_model for score in task.scores):
        _use_threads(task.threads)
    done = Done()
    columns: dict[str, dict[str, list[Any]]] = {
        score.name: {name: [] for name in KINDS[score.kind].schema(score.name).names} for score in task.scores
    }
    pictures = _pictures(task, done)
    while some := list(islice(pictures, BATCH)):
        batch = Batch([one.image for one in some], [one.prompt for one in some])
        for score in task.scores:
            kept = columns[score.name]
            kept["key"] += [one.key for one in some]
            values = _scorer(score, task.device)(batch)
            for part, found in values.items():
                kept[f"{score.name}_{part}" if part else score.name] += found
        done.frames += len(some)
    for score in task.scores if done.frames else ():
        table = pa.table(columns[score.name], KINDS[score.kind].schema(score.name))
        ScoreFiles(task.out, score.name).write(table, score.settings)
    return done


def _pictures(task: ScoreTask, done: Done) -> Iterator[_Picture]:
    for part in task.parts:
        file, end, rows = open_parquet(part.shard), 0, iter(part.rows)
        row = next(rows, None)
        for group in range(file.num_row_groups):
            first, end = end, end + file.metadata.row_group(group).num_rows
            if row is None or row >= end:
                continue
            table = file.read_row_group(group, columns=["image", "key", "prompt"])
            while row is not None and row < end:
                found = table.slice(row - first, 1).to_pylist()[0]
                try:
                    image = Image.open(io.BytesIO(found["image"]["bytes"])).convert("RGB")
                    yield _Picture(found["key"], found["prompt"], image)
                except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises of broken files
                    done.unreadable.append(f"{part.shard.name}, row {row}: {error}")
                row = next(rows, None)


@cache
def _scorer(score: Score, device: str) -> Scorer:
    """Load a score's model once for all tasks of this process."""
    return load_scorer(score, device)


@cache
def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
