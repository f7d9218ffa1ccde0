"""The store: committed frames in an output folder, one Parquet shard a unit. The only truth about a run.

Workers write with `write_shard` and commit with `Ledger`; everybody else reads with `open_store`. OUT is touched through
`OutputFolder`, which alone spells its paths.

Promises: a shard is complete and checked before it has its name. A unit is committed exactly once, however often it
was rendered. Nothing here needs torch or Ray. A new column is one entry of STORE_TABLE (`columns.py`).
"""

from __future__ import annotations

from render.store.access import check_access, reach_output
from render.store.columns import IMAGE, STORE_COLUMNS, STORE_TABLE, Origin
from render.store.compaction import COMPACT_BYTES, Compaction, write_compact
from render.store.encode import Rendered, encode_image, read_parameters, rendered
from render.store.event_log import EventLog
from render.store.event_reader import LogTail, read_events
from render.store.folder import OutputFolder
from render.store.holder import Holder, find_holder
from render.store.ledger import Ledger
from render.store.picture_text import picture_text, public_name
from render.store.ranges import is_damage, open_parquet
from render.store.reader import Frames, ImageStore, StoredFrame, open_store
from render.store.records import (
    RecordFault,
    as_recorded,
    is_accounted,
    is_own_shard,
    is_retry,
    misfit,
    shard_name,
    slots_above,
    slots_of,
    split_of,
    unit_of,
)
from render.store.run_state import RunState, SeenWorker
from render.store.shard import (
    ROW_GROUP_BYTES,
    Failure,
    feature_of,
    shard_schema,
    with_split,
    write_quarantine,
    write_shard,
)
from render.store.sweep import delete_partial_records, own_shards

__all__ = [
    "COMPACT_BYTES",
    "IMAGE",
    "ROW_GROUP_BYTES",
    "STORE_COLUMNS",
    "STORE_TABLE",
    "Compaction",
    "EventLog",
    "Failure",
    "Frames",
    "Holder",
    "ImageStore",
    "Ledger",
    "LogTail",
    "Origin",
    "OutputFolder",
    "RecordFault",
    "Rendered",
    "RunState",
    "SeenWorker",
    "StoredFrame",
    "as_recorded",
    "check_access",
    "delete_partial_records",
    "encode_image",
    "feature_of",
    "find_holder",
    "is_accounted",
    "is_damage",
    "is_own_shard",
    "is_retry",
    "misfit",
    "open_parquet",
    "open_store",
    "own_shards",
    "picture_text",
    "public_name",
    "reach_output",
    "read_events",
    "read_parameters",
    "rendered",
    "shard_name",
    "shard_schema",
    "slots_above",
    "slots_of",
    "split_of",
    "unit_of",
    "with_split",
    "write_compact",
    "write_quarantine",
    "write_shard",
]
