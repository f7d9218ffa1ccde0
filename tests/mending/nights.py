"""Outputs of small jobs of which frames fail, painted in no time; the pictures depend on recipe and batch size."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from painters import Painter, paint
from PIL import Image

from render import open_store, run_job
from render.core import Receipt, Unit
from render.store import Failure, Rendered, rendered, write_shard

JOB = ("sampling.steps=2", "store.unit_frames=4", "workers.count=1", "workers.batch_rows=4", "animation.formats=[]")
SHEETS = "sheets.kinds=[]"
TABLE = """\
walk,prompt,seed,frames
a,3d dog,1,3
a,3d cat,2,
,3d apple,3,
,3d pear,4,
,3d tree,5,
,3d lake,6,
,3d hill,7,
,3d sea,8,
"""
FRAMES = 10  # in the units 00000 (a 0-3), 00001 (apple, pear, tree, lake) and 00002 (hill, sea)


class Night(Painter):
    """A cluster in which frames of some prompts fail, and whose pictures are others at another batch size."""

    bad: frozenset[str] = frozenset()
    seen: list[str]  # ids of the units, as they came

    def render(self, units: Iterator[Unit], listener: Any) -> Iterator[Receipt]:
        for unit in units:
            self.seen.append(unit.id)
            results = [self._result(unit, place) for place in range(len(unit.frames))]
            receipt = replace(write_shard(self._ledger, unit, results, self._origin, self._schema, 1.0), rows=4)
            assert self._ledger.commit(receipt)
            yield receipt

    def _result(self, unit: Unit, place: int) -> Rendered | Failure:
        frame = unit.frames[place]
        if frame.keyframe.prompt in self.bad:
            return Failure("ValueError: no")
        image = paint(frame.recipe)
        return image if unit.batch_rows == 4 else _turned(image)


def _turned(image: Rendered) -> Rendered:
    """The picture that another batch size gives."""
    return rendered(255 - np.asarray(Image.open(io.BytesIO(image.data)).convert("RGB")), "png")


@contextmanager
def at_night(*bad: str) -> Iterator[list[str]]:
    """Have runs paint while the context lasts, frames of these prompts but failing. Gives the ids of the units rendered."""
    seen: list[str] = []
    cluster = type("Night", (Night,), {"bad": frozenset(bad), "seen": seen})
    with patch("render.cluster.Cluster", cluster):
        yield seen


def begin(folder: Path, *overrides: str) -> Path:
    """Run the job in `folder`. Returns its output folder."""
    (folder / "m.csv").write_text(TABLE)
    return run_job(folder / "m.csv", *JOB, SHEETS, f"output={folder / 'out'}", *overrides).out


def kept(out: Path) -> dict[str, str]:
    """Shards and records → hash of their bytes."""
    paths = [path for room in ("data", ".run/commits", ".run/compactions") for path in (out / room).glob("*.*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def told(out: Path) -> dict[tuple[str, int], tuple[str, str, int, int]]:
    """Place → key, hash of the pixels, batch size, what was added to the seed."""
    columns = ["walk", "frame", "key", "sha256", "batch_rows", "seed_shift"]
    rows = open_store(out).dataset().to_table(columns=columns).to_pylist()
    found = {(row["walk"], row["frame"]): tuple(row[name] for name in columns[2:]) for row in rows}
    assert len(found) == len(rows)
    return found


def shard_of(out: Path, slot: str) -> Path:
    (path,) = (out / "data").glob(f"train-{slot}-of-*")
    return path


def record_of(out: Path, slot: str) -> Path:
    return out / ".run" / "commits" / f"{slot}.json"


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
