"""Columns of the table of frames, and their names in SQL."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

__all__ = ["CatalogColumn", "is_list", "quoted"]


@dataclass(frozen=True, slots=True)
class CatalogColumn:
    """One column of the table `frames`."""

    name: str
    type: str  # in DuckDB's words: VARCHAR, BIGINT, DOUBLE, BOOLEAN, TIMESTAMP WITH TIME ZONE …
    source: str  # store, label, mark, or the name of a scorer


def quoted(name: str) -> str:
    """Return a name as SQL writes it, in double quotes."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def is_list(kind: pa.DataType) -> bool:
    """Return True for the types of embeddings."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))
