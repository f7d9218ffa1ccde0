"""Compare tables that were written with those that read back."""

from __future__ import annotations

import pyarrow as pa

__all__ = ["same_values"]


def same_values(a: pa.Table, b: pa.Table) -> bool:
    """Compare schema and values of two tables. NaN, which a label may hold, counts as equal to itself."""
    columns = zip(a.columns, b.columns, strict=True)
    return a.schema.equals(b.schema) and all(
        x.equals(y) or repr(x.to_pylist()) == repr(y.to_pylist()) for x, y in columns
    )
