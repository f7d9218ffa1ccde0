"""store."""

from __future__ import annotations

from render.store.encode import rendered
from render.store.folder import OutputFolder
from render.store.ledger import Ledger
from render.store.reader import Frames, ImageStore, StoredFrame, open_store
from render.store.shard import Failure, Origin, Rendered, shard_schema, write_quarantine, write_shard

__all__ = [
    "Failure",
    "Frames",
    "ImageStore",
    "Ledger",
    "Origin",
    "OutputFolder",
    "Rendered",
    "StoredFrame",
    "open_store",
    "rendered",
    "shard_schema",
    "write_quarantine",
    "write_shard",
]
