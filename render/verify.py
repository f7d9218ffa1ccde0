"""The check of a store: every planned frame committed once, every file and every pixel as it was hashed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from render.core import Receipt, StoreError, Unit, file_sha256, local_copy
from render.plan import plan_units
from render.resume import load_plan, stored_manifest
from render.store import Ledger, reach_output

__all__ = ["Verdict", "verify_store"]

LOSSLESS = {"PNG", "WEBP"}  # formats whose pixels are those that were hashed


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a verification."""

    frames: int  # committed and right
    problems: tuple[str, ...]


def verify_store(out: str | Path) -> Verdict:
    """Check an output folder against its plan, to the last pixel. Raises StoreError when `out` is not an output folder."""
    out = reach_output(out)
    plan, manifest, ledger = load_plan(out), stored_manifest(out), Ledger(out)
    problems, frames = [], 0
    if manifest.fingerprint != plan.fingerprint["manifest"]:
        problems.append(".run/manifest.parquet: not the manifest that was planned")
    named = set()
    for unit, receipt in ledger.slots(plan_units(manifest.walks, plan)):
        if receipt is None:
            problems.append(f"unit {unit.id}: {len(unit.frames)} frames are not committed")
        elif receipt.file is not None:
            named.add(receipt.file)
            found = list(_shard_problems(ledger.folder.data / receipt.file, unit, receipt))
            problems += [f"data/{receipt.file}: {problem}" for problem in found]
            frames += 0 if found else receipt.frames
    problems += [
        f"data/{path.name}: no commit names it"
        for path in sorted(ledger.folder.data.iterdir())
        if path.name not in named
    ]
    return Verdict(frames, tuple(problems))


def _shard_problems(path: Path, unit: Unit, receipt: Receipt) -> Iterator[str]:
    if not path.is_file():
        yield "is missing"
        return
    with local_copy(path) as file:
        yield from _file_problems(file, unit, receipt)


def _file_problems(path: Path, unit: Unit, receipt: Receipt) -> Iterator[str]:
    if file_sha256(path) != receipt.sha256:
        yield "the file's hash is not the committed one"
        return
    expected = [frame for position, frame in enumerate(unit.frames) if position not in receipt.quarantined]
    try:
        rows = list(_rows(path))
    except (OSError, pa.ArrowException, StoreError) as error:
        yield str(error)
        return
    if [(walk, index, key) for walk, index, key, _ in rows] != [(f.walk, f.index, f.recipe.key) for f in expected]:
        yield "its frames are not the planned ones"
    yield from (f"{walk} {index}: {problem}" for walk, index, _, problem in rows if problem)


def _rows(path: Path) -> Iterator[tuple[str, int, str, str]]:
    """Yield walk, frame, key and the fault of the pixels ("" for none) of every row."""
    for batch in pq.ParquetFile(path).iter_batches(64, columns=["walk", "frame", "key", "sha256", "image"]):
        for row in batch.to_pylist():
            yield row["walk"], row["frame"], row["key"], _pixel_problem(row["image"]["bytes"], row["sha256"])


def _pixel_problem(data: bytes, sha256: str) -> str:
    try:
        image = Image.open(io.BytesIO(data))
        pixels = image.convert("RGB").tobytes()
    except (OSError, SyntaxError, ValueError) as error:  # all of which Pillow raises of broken files
        return f"its image can't be decoded: {error}"
    if image.format in LOSSLESS and hashlib.sha256(pixels).hexdigest() != sha256:
        return "its pixels are not those that were hashed"
    return ""
