"""The frames of an output folder as one table for SQL: the store's columns, labels, scores and marks.

Whoever shows, scores, selects or exports what was rendered asks a `Catalog`, which reads the committed shards and the
sidecars beside them. A sidecar is a table with the column `key`, in OUT/scores or OUT/marks.parquet: shards are never
rewritten. Neither torch nor Ray is needed. DuckDB is imported here alone.
"""

from __future__ import annotations

from render.catalog.catalog import Catalog
from render.catalog.columns import CatalogColumn, quoted
from render.catalog.sidecars import MARKS, ScoreFiles, read_marks, score_names, write_marks

__all__ = [
    "MARKS",
    "Catalog",
    "CatalogColumn",
    "ScoreFiles",
    "quoted",
    "read_marks",
    "score_names",
    "write_marks",
]
