"""What holds after a fault and the same command again: every frame once, the same pixels, and nothing left behind.

The shards are read with DuckDB and the images decoded with Pillow, not by the product's own reader.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
from PIL import Image

__all__ = ["Comparison", "Pixels", "compare", "left_in_output", "pixels_of"]

Pixels = dict[tuple[str, int], tuple[str, str]]  # (walk, frame) → (key of its recipe, hash of its pixels)


@dataclass(frozen=True)
class Comparison:
    """A store compared with that of an undisturbed run."""

    lost: int  # frames that are missing
    twice: int  # rows beyond the first of a frame
    differing: int  # frames with other pixels or another recipe, and frames that nobody asked for

    @property
    def is_equal(self) -> bool:
        return not (self.lost or self.twice or self.differing)


def rows_of(out: Path) -> Iterator[tuple[str, int, str, str]]:
    """Yield walk, frame, key and hash of the decoded pixels of every row of every file in data/."""
    files = sorted((out / "data").iterdir()) if (out / "data").exists() else []
    for file in files:
        query = "select walk, frame, key, image.bytes from read_parquet(?)"
        with duckdb.connect() as connection:
            rows = connection.execute(query, [str(file)]).fetchall()
        for walk, frame, key, image in rows:
            pixels = Image.open(io.BytesIO(image)).convert("RGB")
            yield walk, frame, key, hashlib.sha256(pixels.tobytes()).hexdigest()


def pixels_of(out: Path) -> Pixels:
    """Return the frames of an undisturbed run. Raises ValueError where one is there twice."""
    found: Pixels = {}
    for walk, frame, key, pixels in rows_of(out):
        if (walk, frame) in found:
            raise ValueError(f"{out}: frame {frame} of {walk} is there twice")
        found[walk, frame] = key, pixels
    return found


def compare(out: Path, expected: Pixels) -> Comparison:
    """Compare a store with an undisturbed run's."""
    found = list(rows_of(out))
    counts = Counter((walk, frame) for walk, frame, _, _ in found)
    differing = {(walk, frame) for walk, frame, *rest in found if expected.get((walk, frame)) != tuple(rest)}
    return Comparison(
        lost=len(expected.keys() - counts.keys()),
        twice=sum(count - 1 for count in counts.values()),
        differing=len(differing),
    )


def left_in_output(out: Path) -> Iterator[str]:
    """Yield the files of an output that no commit names, and those that were never finished."""
    named = {json.loads(path.read_bytes()).get("file") for path in (out / ".run" / "commits").glob("[!.]*")}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        where = path.relative_to(out)
        hidden = path.name.startswith(".")
        if (path.parent.name == "data" and path.name not in named) or hidden or path.parent.name == "scratch":
            yield f"orphan file {where}"
    for name in sorted(name for name in named if name and not (out / "data" / name).exists()):
        yield f"committed and not there: data/{name}"
