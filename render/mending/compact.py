"""Merge the small shards of a store into large ones, which open faster and upload in fewer requests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from render.core import Receipt, StoreError, counted, to_go_on
from render.mending.inspect import check_store
from render.mending.take_back import take_back
from render.plan import plan_units
from render.prepare import begun_ledger, load_plan, plain_end, planned_manifest
from render.store import COMPACT_BYTES, Ledger, is_own_shard, reach_output, split_of, write_compact

__all__ = ["Compacted", "compact_store"]


@dataclass(frozen=True, slots=True)
class Compacted:
    """The outcome of a compaction."""

    merged: int  # shards that are in larger files now
    files: int  # in data/ after it


@plain_end()
def compact_store(out: str | Path, size_bytes: int = COMPACT_BYTES) -> Compacted:
    """Merge committed shards into files of at most `size_bytes`, in the order of the units; nothing is rendered.

    A merged file is written, read back and compared with its shards, whose hashes are checked, before one record puts it in
    their place; only then they are deleted. What is compact already stays, so that a second call does nothing.

    Raises StoreError when `out` is not an output folder, is damaged, or a run goes on in it.
    """
    out = reach_output(out)
    ledger, merged = begun_ledger(out), 0
    with ledger.lock() as check_lock:
        plan, manifest = load_plan(out), planned_manifest(out)
        check_store(ledger, plan_units(manifest.walks, plan))
        _check_records(ledger)
        check_lock()
        take_back(ledger, lambda: plan_units(manifest.walks, plan))
        ledger.delete_orphans()
        slots = ledger.slots(plan_units(manifest.walks, plan))
        small = [one for _, one in slots if one is not None and one.file and not ledger.compaction_of(one.unit)]
        for group in _groups(iter(small), size_bytes):
            sources = [(ledger.folder.data / str(receipt.file), receipt) for receipt in group]
            compaction = write_compact(sources, ledger.folder.scratch)
            check_lock()
            ledger.compact(compaction)
            merged += len(group)
        check_lock()
        ledger.delete_orphans()
        return Compacted(merged, len(ledger.files()))


def _check_records(ledger: Ledger) -> None:
    """Raise StoreError for shards without a single commit record: that is damage, and no matter of merging."""
    out = ledger.folder.out
    if not ledger.files() and (shards := sum(is_own_shard(path.name) for path in ledger.folder.data.iterdir())):
        mend = f"{to_go_on('repair', out)} takes back those that are whole"
        raise StoreError(f"{out}: required commit records, got none for {counted(shards, 'shard')} in data/; {mend}")


def _groups(receipts: Iterator[Receipt], size_bytes: int) -> Iterator[list[Receipt]]:
    """Gather the receipts of a split into lists of at most `size_bytes`; a shard that stays alone is left as it is."""
    gathered: dict[str, list[Receipt]] = {}
    held: dict[str, int] = defaultdict(int)  # bytes
    for receipt in receipts:
        split = split_of(str(receipt.file))
        if held[split] + receipt.size_bytes > size_bytes and (full := gathered.pop(split, [])):
            if len(full) > 1:
                yield full
            held[split] = 0
        gathered.setdefault(split, []).append(receipt)
        held[split] += receipt.size_bytes
    yield from (rest for rest in gathered.values() if len(rest) > 1)
