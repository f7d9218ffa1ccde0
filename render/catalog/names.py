"""Names and types of columns."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["is_list", "quoted"]


def quoted(name: str) -> str:
    """Return a name as SQL writes it, in double quotes."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def is_list(kind: pa.DataType) -> bool:
    """Return True for the types of embeddings."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))
