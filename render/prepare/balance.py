"""Count the frames of a job by its labels and splits, so that a lopsided data set shows before it is rendered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from render.core import Walk
from render.manifest import Manifest
from render.plan import legs

__all__ = ["Balance", "balance_of"]

VALUES_MAX = 20  # distinct values of a column that is counted
LOOK_ROWS = 10_000  # rows by which most columns of more values are known
SWEPT = "sweep"  # the label of a sweep's points: every point has the same frames


@dataclass(frozen=True, slots=True)
class Balance:
    """The frames of a job by the values of one column."""

    column: str  # a label, or `split`
    frames: tuple[tuple[Any, int], ...]  # (value, number of frames), the most first; None: an empty cell


def balance_of(manifest: Manifest) -> tuple[Balance, ...]:
    """Return the balance of every label with few distinct values, and of the splits if there are several.

    A still's frames are its images, a walk's those of its legs, each with the labels of the leg's keyframe. Stills are
    counted in Arrow, so that a million rows take about a second.
    """
    names = [name for name, _, _ in manifest.labels if name != SWEPT]
    if len(manifest.splits) > 1:
        names = ["split", *names]
    names = [name for name in names if _has_few(manifest.select(name)[name])]
    if not names:
        return ()
    counts: dict[str, Counter[Any]] = {name: Counter() for name in names}
    stills = manifest.select(*names, "images").filter(manifest.select("walk")["walk"].is_null())
    for name in names:
        pairs = pa.table({"value": stills[name], "images": stills["images"]})  # grouped, `.a` would be a path
        sums = pairs.group_by("value").aggregate([("images", "sum")])
        counts[name].update(dict(zip(sums["value"].to_pylist(), sums["images_sum"].to_pylist(), strict=True)))
    if stills.num_rows < manifest.row_count:
        for walk, frames, labels in _legs(walk for walk, _ in manifest.alike() if not walk.still):
            for name in names:
                counts[name][walk.split if name == "split" else labels[name]] += frames
    ordered = {name: sorted(own.items(), key=lambda pair: (-pair[1], str(pair[0]))) for name, own in counts.items()}
    return tuple(Balance(name, tuple(own)) for name, own in ordered.items())


def _has_few(column: Any) -> bool:
    """Return True for a column of at most VALUES_MAX values; most others are known by their first rows."""
    if pa.types.is_nested(column.type):
        return False
    return len(pc.unique(column.slice(0, LOOK_ROWS))) <= VALUES_MAX and len(pc.unique(column)) <= VALUES_MAX


def _legs(walks: Iterable[Walk]) -> Iterator[tuple[Walk, int, Any]]:
    """Yield (walk, frames, their labels) of walks; the last keyframe's own frame apart."""
    for walk in walks:
        for leg in legs(walk):
            own = leg.count - (leg.end is not None)
            if own:
                yield walk, own, leg.start.labels
            if leg.end is not None:
                yield walk, 1, leg.end.labels
