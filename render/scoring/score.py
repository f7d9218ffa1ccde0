"""Score what an output folder has: find the frames without a score, hand them to workers, group near-duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from render.catalog import Catalog, ScoreFiles
from render.core import JobError, counted
from render.job import choose_workforce
from render.prepare import look_at, plain_end, stored_job
from render.scoring.batch import Score
from render.scoring.duplicates import DISTANCE, SCHEMA, near_duplicates
from render.scoring.kinds import parse_scores
from render.scoring.models import find_model, model_folder
from render.scoring.task import Part, ScoreTask, score_frames

__all__ = ["Scored", "score_store"]

TASK_FRAMES = 1024  # of a task at most: what is done twice when a worker dies
TASKS_A_WORKER = 4  # at least, where there are enough frames
HASH, NEAR = "phash", "near"  # kind that near-duplicates follow from; name of the table of their groups


@dataclass(frozen=True, slots=True)
class Scored:
    """What `score_store` did."""

    scores: tuple[str, ...]  # names
    frames: int  # that got scores now
    before: int  # that had all of them
    failed: tuple[str, ...]  # what could not be scored, and why; the same command tries again


@plain_end()
def score_store(
    out: str | Path,
    scores: Sequence[str],
    *overrides: str,
    told: Callable[[int, int], None] | None = None,
) -> Scored:
    """Give scores to the committed frames that have none; what is there stays.

    `scores` are KIND, KIND=MODEL or NAME:KIND=MODEL, the kinds of KINDS. `overrides` set the job's `workers.…` keys. `told`
    hears how many frames of how many are done. Raises JobError, ModelError, StoreError for bad input, before anything
    starts; RunError when Ray ends: the same call goes on.
    """
    asked = tuple(find_model(score) for score in parse_scores(scores))
    if not any(score.model for score in asked):
        overrides = *overrides, "workers.device=cpu"
    with Catalog(out) as catalog:
        job = stored_job(catalog.out, overrides, "workers")
        _check_settings(catalog.out, asked)
        wanted = [*_missing(catalog, asked)]
        weights = max((_weights_bytes(score) for score in asked), default=0)
        force = choose_workforce(job, weights, max(1, len(wanted)), look_at(job.workers.address))
        size = max(
            1, min(TASK_FRAMES, sum(len(one.rows) for one, _ in wanted) // (TASKS_A_WORKER * (force.count or 1)))
        )
        tasks = [ScoreTask(catalog.out, parts, some, force.device, force.threads) for parts, some in _cut(wanted, size)]
    total, done, failed = sum(task.frames for task in tasks), 0, []
    if tasks:
        from render.cluster import Tasks

        with Tasks(force, job.workers.address) as workers:
            for task, result, error in workers.map(score_frames, tasks):
                if result is None:
                    failed.append(f"{counted(task.frames, 'frame')} of {task.parts[0].shard.name}: {error}")
                    continue
                done += result.frames
                failed += result.unreadable
                if told is not None:
                    told(done, total)
    with Catalog(out) as catalog:
        for score in asked:
            if score.kind == HASH:
                _group(catalog, score)
        keys = catalog.query("SELECT count(DISTINCT key) AS n FROM frames")["n"][0].as_py()
        return Scored(tuple(score.name for score in asked), done, keys - total, tuple(failed))


def _check_settings(out: Path, scores: Sequence[Score]) -> None:
    """Raise JobError for scores that are there already by another kind or model, or have a name of our own."""
    for score in scores:
        if score.name == NEAR:
            raise JobError(f"--with {score.name}: required another name than that of the groups of near-duplicates")
        files = ScoreFiles(out, score.name)
        there = files.settings()
        if there is not None and there != score.settings:
            raise JobError(
                f"--with {score.name}: required the kind and model that {files.folder} was made with,"
                f" {there.get('kind')}={there.get('model')} {there.get('fingerprint')}, got {score.kind}={score.model}"
                f" {score.fingerprint}; give another name, NAME:{score.kind}=…, or delete the folder"
            )


def _missing(catalog: Catalog, scores: Sequence[Score]) -> Iterator[tuple[Part, tuple[Score, ...]]]:
    """Yield the frames that lack scores: those of a shard that lack the same, each key once."""
    known = {score.name: ScoreFiles(catalog.out, score.name).keys() for score in scores}
    found = catalog.query("SELECT key, min((shard, row)) AS place FROM frames GROUP BY key ORDER BY place")
    lacking: list[tuple[int, tuple[Score, ...], int]] = []
    for key, place in zip(found["key"].to_pylist(), found["place"].to_pylist(), strict=True):
        shard, row = place.values()
        if some := tuple(score for score in scores if key not in known[score.name]):
            lacking.append((shard, some, row))
    lacking.sort(key=lambda one: (one[0], [score.name for score in one[1]], one[2]))
    for (shard, some), rows in groupby(lacking, key=lambda one: one[:2]):
        yield Part(catalog.shards[shard], tuple(row for _, _, row in rows)), some


def _cut(
    wanted: Sequence[tuple[Part, tuple[Score, ...]]], size: int
) -> Iterator[tuple[tuple[Part, ...], tuple[Score, ...]]]:
    """Yield the parts in tasks of up to `size` frames, each of frames that lack the same."""
    for scores, parts in groupby(
        sorted(wanted, key=lambda one: [score.name for score in one[1]]), key=lambda one: one[1]
    ):
        held: list[Part] = []
        for part, _ in parts:
            for first in range(0, len(part.rows), size):
                rows = part.rows[first : first + size]
                if held and sum(len(one.rows) for one in held) + len(rows) > size:
                    yield tuple(held), scores
                    held = []
                held.append(Part(part.shard, rows))
        yield tuple(held), scores


def _weights_bytes(score: Score) -> int:
    if not score.model:
        return 0
    found = model_folder(score)
    return sum(path.stat().st_size for path in ([found] if found.is_file() else found.glob("*.safetensors")))


def _group(catalog: Catalog, score: Score) -> None:
    """Write the groups of near-duplicates of all frames that have a hash, in the place of those before."""
    tables = [*ScoreFiles(catalog.out, score.name).read(columns=["key", score.name])]
    if not tables:
        return
    table = pa.concat_tables(tables)
    hashes = dict(zip(table["key"].to_pylist(), table[score.name].to_pylist(), strict=True))
    ordered = catalog.query("SELECT key FROM frames GROUP BY key ORDER BY min((shard, row))")["key"].to_pylist()
    keys = [key for key in ordered if key in hashes]
    groups = near_duplicates(keys, [hashes[key] for key in keys])
    assert groups.schema == SCHEMA
    ScoreFiles(catalog.out, NEAR).replace(groups, {"kind": NEAR, "of": score.name, "distance": DISTANCE})
