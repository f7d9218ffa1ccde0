"""Ask the table of frames for what a dataset card tells: counts of labels and settings, histograms of scores, samples."""

from __future__ import annotations

import io
from collections.abc import Iterable
from math import isfinite
from typing import Any

from PIL import Image, ImageOps

from render.catalog import Catalog, CatalogColumn, quoted
from render.export.card import CardColumn, CardModel, Histogram
from render.models import model_terms
from render.store import STORE_TABLE, public_name

__all__ = ["described_columns", "label_counts", "models_of", "recipe_counts", "sample_sheet", "score_histograms"]

VALUES, VALUES_MAX = 20, 1000  # of a label or a setting that are told; a label with more than the latter is no class
BINS = 10
SETTINGS = {  # of a recipe → its SQL
    "scheduler": "sampler",
    "steps": "step",
    "guidance": "cfg",
    "size": "width || 'x' || height",
    "dtype": "dtype",
}
NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL")
COLUMNS, ROWS, CELL = 6, 4, 160  # of the sheet of samples; pixels


def described_columns(columns: Iterable[CatalogColumn]) -> tuple[CardColumn, ...]:
    """Return the columns of a dataset with what they mean, the picture first."""
    known = {column.name: column for column in STORE_TABLE}
    picture = CardColumn("image", str(known["image"].type), known["image"].meaning)
    sources = {"label": "a label: a column of the manifest", "mark": "a mark that somebody made"}
    return picture, *(
        CardColumn(one.name, str(known[one.name].type), known[one.name].meaning)
        if one.source == "store"
        else CardColumn(one.name, one.type, sources.get(one.source, f"a score of {one.source}"))
        for one in columns
    )


def label_counts(catalog: Catalog, frames: str, columns: Iterable[CatalogColumn]) -> tuple[CardColumn, ...]:
    """Return the labels with their most frequent values; `frames` is the SQL of a table."""
    found = []
    for column in columns:
        if column.source != "label":
            continue
        counts = _counts(catalog, frames, quoted(column.name))
        told = counts if len(counts) <= VALUES_MAX else []
        found.append(CardColumn(column.name, column.type, counts=tuple(told[:VALUES]), values=len(counts)))
    return tuple(found)


def recipe_counts(catalog: Catalog, frames: str) -> tuple[tuple[str, tuple[tuple[str, int], ...]], ...]:
    """Return the settings of the recipes, each with its most frequent values and their frames."""
    return tuple((name, tuple(_counts(catalog, frames, sql)[:VALUES])) for name, sql in SETTINGS.items())


def _counts(catalog: Catalog, frames: str, expression: str) -> list[tuple[str, int]]:
    sql = f"""SELECT CAST({expression} AS VARCHAR) AS value, count(*) AS frames FROM {frames}
        GROUP BY value ORDER BY frames DESC, value LIMIT {VALUES_MAX + 1}"""
    return [("none" if row["value"] is None else row["value"], row["frames"]) for row in catalog.query(sql).to_pylist()]


def score_histograms(catalog: Catalog, frames: str, columns: Iterable[CatalogColumn]) -> tuple[Histogram, ...]:
    """Return the histograms of all scores that are numbers."""
    found = []
    for column in columns:
        if column.source in ("store", "label", "mark") or not column.type.startswith(NUMBERS):
            continue
        value = f"CAST({quoted(column.name)} AS DOUBLE)"
        finite = f"(SELECT {value} AS value FROM {frames} WHERE isfinite({value}))"
        (ends,) = catalog.query(f"SELECT min(value) AS low, max(value) AS high FROM {finite}").to_pylist()
        low, high = ends["low"], ends["high"]
        if low is None or not isfinite(high - low):
            continue
        high = high if high > low else low + 1
        place = f"least({BINS - 1}, CAST(floor((value - {low!r}) / {high - low!r} * {BINS}) AS INTEGER))"
        rows = catalog.query(f"SELECT {place} AS bin, count(*) AS frames FROM {finite} GROUP BY bin").to_pylist()
        by_bin = {row["bin"]: row["frames"] for row in rows}
        found.append(Histogram(column.name, low, high, tuple(by_bin.get(n, 0) for n in range(BINS))))
    return tuple(found)


def models_of(catalog: Catalog, frames: str) -> tuple[CardModel, ...]:
    """Return the models of the frames, with what they say of themselves."""
    rows: list[dict[str, Any]] = catalog.query(
        f"SELECT model, revision, count(*) AS frames FROM {frames} GROUP BY model, revision ORDER BY frames DESC, model"
    ).to_pylist()
    return tuple(
        CardModel(public_name(row["model"]), row["revision"], "", model_terms(row["model"], row["revision"]))
        for row in rows
    )


def sample_sheet(catalog: Catalog, frames: str) -> bytes:
    """Return a JPEG of up to 24 frames, spread evenly over a table; b"" for none."""
    (row,) = catalog.query(f"SELECT count(*) AS n FROM {frames}").to_pylist()
    apart = max(1, row["n"] // (COLUMNS * ROWS))
    sql = f"""SELECT shard, row FROM (SELECT shard, row, row_number() OVER (ORDER BY shard, row) - 1 AS place FROM {frames})
        WHERE place % {apart} = 0 ORDER BY shard, row LIMIT {COLUMNS * ROWS}"""
    places = [(one["shard"], one["row"]) for one in catalog.query(sql).to_pylist()]
    if not places:
        return b""
    lines = -(-len(places) // COLUMNS)
    sheet = Image.new("RGB", (CELL * min(COLUMNS, len(places)), CELL * lines), (255, 255, 255))
    for number, picture in enumerate(catalog.pictures(places)):
        with Image.open(io.BytesIO(picture.data)) as image:
            cell = ImageOps.pad(image.convert("RGB"), (CELL, CELL), color=(255, 255, 255))
        sheet.paste(cell, (CELL * (number % COLUMNS), CELL * (number // COLUMNS)))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
