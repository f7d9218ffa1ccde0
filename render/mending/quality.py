"""What the frames of an output are like, by labels, scores and marks: diversity, coverage, near-duplicates, examples."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from render.catalog import Catalog, CatalogColumn, ScoreFiles, quoted, score_names

__all__ = ["Coverage", "Diversity", "Example", "Histogram", "Quality", "quality_of"]

BINS = 24  # of a histogram
VALUES_MAX = 24  # different values of a label whose counts are given
LEAST = 8  # prompts of least diversity that are named
EXAMPLES = 6  # best and worst pictures of a score
THUMBNAIL = 128  # pixels of an example's longer side
NUMBERS = ("FLOAT", "DOUBLE", "INTEGER", "BIGINT", "SMALLINT", "TINYINT")


@dataclass(frozen=True, slots=True)
class Diversity:
    """How much pictures of one prompt differ: the mean distance of all their pairs."""

    prompt: str
    frames: int
    distance: float  # 0 … 1: cosine distance of embeddings, or share of the bits of hashes


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many frames each value of a label has, the most first."""

    label: str
    counts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the values of a score are spread, over BINS equal stretches from `low` to `high`."""

    score: str
    low: float
    high: float
    mean: float
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A picture with a high or a low score."""

    walk: str
    frame: int
    prompt: str
    value: float
    picture: str  # small WebP as a data URI; "" for one that can't be decoded


@dataclass(frozen=True, slots=True)
class Quality:
    """What the frames of an output are like."""

    frames: int
    prompts: int  # that differ
    measure: str  # that diversity is by: `embeddings` or `hashes`; "" without a score of either
    diversity: float  # mean over the prompts of several pictures
    least_diverse: tuple[Diversity, ...]
    coverage: tuple[Coverage, ...]
    near_groups: int
    near_frames: int  # in groups of near-duplicates
    histograms: tuple[Histogram, ...]
    flags: tuple[tuple[str, int], ...]  # blank, keep, reject, rated 1 … 5, with their frames
    best: tuple[tuple[str, tuple[Example, ...]], ...]  # of each model's score
    worst: tuple[tuple[str, tuple[Example, ...]], ...]


def quality_of(out: Path) -> Quality:
    """Return what the frames of an output are like. Raises StoreError for a damaged shard or table."""
    with Catalog(out) as catalog:
        return _quality(catalog)


def _quality(catalog: Catalog) -> Quality:
    measure, by_prompt = _diversity(catalog)
    scores = [column for column in catalog.columns if column.source not in {"store", "label", "mark"}]
    numbers = [column for column in scores if column.type in NUMBERS and column.name != "near_count"]
    near = {"groups": 0, "frames": 0}
    if any(column.name == "near_group" for column in scores):
        near = _row(catalog, "SELECT count(DISTINCT near_group) AS groups, count(near_group) AS frames FROM frames")
    judged = [column for column in numbers if column.name.endswith("_score")] or numbers[:1]
    counts = _row(catalog, "SELECT count(*) AS frames, count(DISTINCT prompt) AS prompts FROM frames")
    return Quality(
        frames=counts["frames"],
        prompts=counts["prompts"],
        measure=measure,
        diversity=float(np.mean([one.distance for one in by_prompt])) if by_prompt else 0.0,
        least_diverse=tuple(sorted(by_prompt, key=lambda one: one.distance)[:LEAST]),
        coverage=tuple(_coverage(catalog)),
        near_groups=near["groups"],
        near_frames=near["frames"],
        histograms=tuple(_histograms(catalog, numbers)),
        flags=tuple(_flags(catalog)),
        best=tuple((column.name, _examples(catalog, column, "DESC")) for column in judged),
        worst=tuple((column.name, _examples(catalog, column, "ASC")) for column in judged),
    )


def _row(catalog: Catalog, sql: str) -> dict[str, Any]:
    row: dict[str, Any] = catalog.query(sql).to_pylist()[0]
    return row


def _diversity(catalog: Catalog) -> tuple[str, list[Diversity]]:
    """Return what distances are by, and the prompts that have several pictures."""
    kinds = {name: (ScoreFiles(catalog.out, name).settings() or {}).get("kind") for name in score_names(catalog.out)}
    for kind, part, measure, read in (("clip", "_embedding", "embeddings", _vectors), ("phash", "", "hashes", _bits)):
        if name := next((name for name, of in kinds.items() if of == kind), ""):
            return measure, [*_by_prompt(catalog, ScoreFiles(catalog.out, name), f"{name}{part}", read)]
    return "", []


def _by_prompt(
    catalog: Catalog, scores: ScoreFiles, column: str, read: Callable[[pa.ChunkedArray], NDArray[np.float32]]
) -> Iterator[Diversity]:
    """Yield the mean distance of each prompt's pairs of pictures.

    Of n vectors with the sum S it is 1 - (|S|² - Σ|v|²) / (n (n - 1)), so that each vector is looked at once. Bits are
    vectors of ±1 / √64, for which half of that is the share of bits that differ.
    """
    rows = catalog.query("SELECT DISTINCT key, prompt FROM frames")
    prompt_of = dict(zip(rows["key"].to_pylist(), rows["prompt"].to_pylist(), strict=True))
    sums: dict[str, Any] = defaultdict(float)
    squares: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    seen: set[str] = set()
    for table in scores.read(columns=["key", column]):
        for key, vector in zip(table["key"].to_pylist(), read(table[column]), strict=True):
            if key in prompt_of and key not in seen:
                seen.add(key)
                prompt = prompt_of[key]
                sums[prompt] = sums[prompt] + vector
                squares[prompt] += float(vector @ vector)
                counts[prompt] += 1
    half = 0.5 if read is _bits else 1.0
    for prompt, n in counts.items():
        if n > 1:
            alike = (float(sums[prompt] @ sums[prompt]) - squares[prompt]) / (n * (n - 1))
            yield Diversity(prompt, n, half * max(0.0, squares[prompt] / n - alike))


def _vectors(column: pa.ChunkedArray) -> NDArray[np.float32]:
    return np.stack([np.asarray(one.as_py(), np.float32) for one in column])


def _bits(column: pa.ChunkedArray) -> NDArray[np.float32]:
    numbers = np.asarray([int(one, 16) for one in column.to_pylist()], np.uint64)
    bits = np.unpackbits(numbers[:, None].view(np.uint8), axis=1).astype(np.float32)
    signs: NDArray[np.float32] = (2 * bits - 1) / np.float32(8)
    return signs


def _coverage(catalog: Catalog) -> Iterator[Coverage]:
    for column in catalog.columns:
        if column.source != "label":
            continue
        name = quoted(column.name)
        counted = f"SELECT {name}::VARCHAR AS value, count(*) AS n FROM frames GROUP BY 1 ORDER BY 2 DESC, 1"
        rows = catalog.query(f"{counted} LIMIT {VALUES_MAX + 1}").to_pylist()
        if len(rows) <= VALUES_MAX:
            yield Coverage(column.name, tuple(("" if row["value"] is None else row["value"], row["n"]) for row in rows))


def _histograms(catalog: Catalog, columns: Sequence[CatalogColumn]) -> Iterator[Histogram]:
    for column in columns:
        values = catalog.query(f"SELECT {quoted(column.name)}::DOUBLE AS v FROM frames")["v"].drop_null().to_numpy()
        values = values[np.isfinite(values)]
        if len(values):
            counts, edges = np.histogram(values, BINS)
            yield Histogram(
                column.name, float(edges[0]), float(edges[-1]), float(values.mean()), tuple(counts.tolist())
            )


def _flags(catalog: Catalog) -> Iterator[tuple[str, int]]:
    for name, condition in (("blank", "blank"), ("keep", "mark = 'keep'"), ("reject", "mark = 'reject'")):
        yield name, _row(catalog, f"SELECT count(*) AS n FROM frames WHERE {condition}")["n"]
    rated = catalog.query("SELECT rating, count(*) AS n FROM frames WHERE rating IS NOT NULL GROUP BY 1 ORDER BY 1")
    for row in rated.to_pylist():
        yield f"rated {row['rating']}", row["n"]


def _examples(catalog: Catalog, column: CatalogColumn, order: str) -> tuple[Example, ...]:
    """Return the pictures of highest or lowest score, one a prompt."""
    name = quoted(column.name)
    rows = catalog.query(
        f"SELECT walk, frame, prompt, {name}::DOUBLE AS value, shard, row FROM frames WHERE {name} IS NOT NULL "
        f"QUALIFY row_number() OVER (PARTITION BY prompt ORDER BY {name} {order}, key) = 1 "
        f"ORDER BY {name} {order}, walk, frame LIMIT {EXAMPLES}"
    ).to_pylist()
    pictures = {(one.shard, one.row): one for one in catalog.pictures([(row["shard"], row["row"]) for row in rows])}
    return tuple(
        Example(
            row["walk"], row["frame"], row["prompt"], row["value"], _thumbnail(pictures[row["shard"], row["row"]].data)
        )
        for row in rows
    )


def _thumbnail(data: bytes) -> str:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            small = image.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
    except (OSError, SyntaxError, ValueError):  # all of which Pillow raises of broken files
        return ""
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
