"""Set how Parquet keeps the columns of a store: image bytes as they are, all else compressed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["page_options"]

IMAGE = ("image.bytes", "image.path")  # stored plainly, uncompressed and without a dictionary


def page_options(schema: pa.Schema) -> dict[str, Any]:
    """Return pyarrow's options for writing a table of a schema, with checksums by which a file can be checked by itself.

    Parquet sets compression leaf by leaf: of a list `tags` the leaf is `tags.list.element`, and one without an entry would
    not be compressed.
    """
    others = [leaf for leaf in _leaves(schema) if leaf not in IMAGE]
    return {
        "use_dictionary": others,
        "compression": dict.fromkeys(IMAGE, "none") | dict.fromkeys(others, "zstd"),
        "write_page_index": True,
        "write_page_checksum": True,
    }


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of a schema's leaves as Parquet names them."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema):
        pass  # without a row
    leaves = pq.ParquetFile(sink.getvalue()).schema
    return [leaves.column(place).path for place in range(len(leaves))]
