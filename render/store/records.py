"""Read commit records, and name those that are damaged or do not belong. Standard library only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from render.core import Receipt, StoreError, Unit

__all__ = [
    "SPLIT",
    "RecordFault",
    "as_recorded",
    "is_accounted",
    "is_own_shard",
    "is_retry",
    "misfit",
    "parse_record",
    "second_records",
    "shard_name",
    "slots_above",
    "slots_of",
    "split_of",
    "unit_of",
    "without_shard",
]

SPLIT = '{"split":true}'
OWN_SHARD = re.compile(r"[a-z][a-z0-9_]*-[0-9]+(-[01ar])*-(of|to)-[0-9]+(-[01ar])*-[0-9a-f]{8}\.parquet")
COUNTS = ("frames", "size_bytes", "batch_rows", "rows", "padding")


@dataclass(frozen=True, slots=True)
class RecordFault:
    """One commit record that can't be used, or that is one too many."""

    slot: str  # unit id, by the record's file name
    problem: str
    is_second: bool = False  # it names the shard of another record
    folder: str = "commits"  # or compactions

    @property
    def file(self) -> str:
        """The record's path below OUT."""
        return f".run/{self.folder}/{self.slot}.json"

    def __str__(self) -> str:
        return f"{self.file}: {self.problem}"


def is_own_shard(name: str) -> bool:
    """Return True for a name that `write_shard` gives. A file in data/ with another name is not ours to delete."""
    return OWN_SHARD.fullmatch(name) is not None


def split_of(file: str) -> str:
    """Return the split of the data set that a shard or a compact file is of, by its name.

    >>> split_of("train-00007-0-of-00064-0123abcd.parquet")
    'train'
    """
    return file.partition("-")[0]


def shard_name(unit: Unit, attempt: str) -> str:
    """Return the name of a unit's shard, which no other attempt has; `datasets` finds a split's by the first word."""
    return f"{unit.split}-{unit.id}-of-{unit.of:05d}-{attempt}.parquet"


def unit_of(shard: str) -> str | None:
    """Return the id of the unit that a shard is named after; None for a compact file, and for a name that we do not give.

    >>> unit_of("train-00007-0-of-00064-0123abcd.parquet"), unit_of("train-00007-to-00009-0123abcd.parquet")
    ('00007-0', None)
    """
    unit, of, _ = shard.partition("-")[2].partition("-of-")
    return unit if of and is_own_shard(shard) else None


def parse_record(slot: str, data: bytes) -> Receipt | None:
    """Return the receipt of a commit record, None for a unit that was split. Raises StoreError with the fault alone."""
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError):
        got = "an empty file" if not data.strip() else "a damaged file"
        raise StoreError(f"required a commit record, got {got}") from None
    if not isinstance(fields, dict):
        raise StoreError(f"required a commit record, got a JSON {type(fields).__name__}")
    if fields.get("split") is True and len(fields) == 1:
        return None
    receipt = Receipt.from_json(data.decode())
    if wrong := [name for name, right in _checks(receipt) if not right]:
        raise StoreError(f"required a commit record, got one with a wrong {wrong[0]}")
    if receipt.unit != slot:
        raise StoreError(f"required the record of unit {slot}, got one of unit {receipt.unit}")
    return receipt


def _checks(receipt: Receipt) -> Iterable[tuple[str, bool]]:
    """Yield (field, its value can be right) of the fields that are used as paths, positions and sums."""
    values: dict[str, Any] = {name: getattr(receipt, name) for name in COUNTS}
    yield from ((name, type(value) is int and value >= 0) for name, value in values.items())
    yield "unit", isinstance(receipt.unit, str)
    file: Any = receipt.file
    yield "file", file is None or (isinstance(file, str) and file.strip(".") != "" and not set(file) & set("/\\\0"))
    yield "sha256", isinstance(receipt.sha256, str)
    yield "exact", isinstance(receipt.exact, bool)
    for name in ("seconds", "waiting_s", "decode_s", "write_s"):
        yield name, isinstance(getattr(receipt, name), int | float)
    for name in ("blank", "quarantined", "seed_shifts", "lost"):
        places: Any = getattr(receipt, name)
        yield name, isinstance(places, tuple) and all(type(place) is int and place >= 0 for place in places)


def second_records(records: Mapping[str, Receipt | None]) -> dict[str, str]:
    """Return slot → slot of the records that name a shard which another record names with better right.

    A shard's name holds its unit's id, which says whose it is; where it does not, the first record has it.
    """
    owners: dict[str, str] = {}
    seconds: dict[str, str] = {}
    for slot, receipt in records.items():
        if receipt is None or receipt.file is None:
            continue
        owner = owners.setdefault(receipt.file, slot)
        if owner != slot and receipt.file.partition("-")[2].startswith(f"{slot}-of-"):
            owners[receipt.file] = slot
            seconds[owner] = slot
        elif owner != slot:
            seconds[slot] = owner
    return seconds


def slots_of(
    unit: Unit, records: Mapping[str, Receipt | None], again: Unit | None = None
) -> Iterable[tuple[Unit, Receipt | None]]:
    """Yield the slots that hold a unit's frames by now, each with its receipt; None for an empty slot.

    `again` is the unit with the settings that its frames had before their shard was damaged; an empty slot gives it. A
    record with places that the unit does not have can't be this unit's: there is no slot below it.
    """
    again = again or unit
    if unit.id in records and records[unit.id] is None and len(unit.frames) > 1:
        for half, half_again in zip(unit.halves(), again.halves(), strict=True):
            yield from slots_of(half, records, half_again)
        return
    receipt = records.get(unit.id)
    if receipt is None:
        yield again, None
        return
    now = as_recorded(unit, receipt)
    yield now, receipt
    if receipt.lost and max(receipt.lost) < len(unit.frames):
        yield from slots_of(unit.part("a", receipt.lost), records, now.part("a", receipt.lost))
    if receipt.quarantined and max(receipt.quarantined) < len(unit.frames):
        yield from slots_of(unit.part("r", receipt.quarantined), records)


def as_recorded(unit: Unit, receipt: Receipt) -> Unit:
    """Return a unit with the seeds and the batch size that a record says it was rendered with."""
    shifts = receipt.seed_shifts if len(receipt.seed_shifts) == len(unit.frames) else ()
    return replace(unit.with_seeds(shifts), batch_rows=receipt.batch_rows or unit.batch_rows, rows_are_fixed=True)


def without_shard(receipt: Receipt) -> Receipt:
    """Return the record of a unit whose shard is gone: the frames in it are lost, those that had failed stay so."""
    elsewhere = {*receipt.quarantined, *receipt.lost}
    lost = {*range(receipt.frames + len(elsewhere))} - elsewhere
    blank = tuple(place for place in receipt.blank if place in receipt.quarantined)
    places = tuple(sorted({*lost, *receipt.lost}))
    return replace(receipt, file=None, frames=0, size_bytes=0, sha256="", blank=blank, lost=places)


def slots_above(slot: str) -> list[str]:
    """Return a slot and those above it, the nearest first.

    >>> slots_above("00007-0-r")
    ['00007-0-r', '00007-0', '00007']
    """
    parts = slot.split("-")
    return ["-".join(parts[:end]) for end in range(len(parts), 0, -1)]


def is_retry(slot: str) -> bool:
    """Return True for the slot of frames in quarantine: `-r`, or a half of it, but not what was damaged of a retry.

    >>> [is_retry(slot) for slot in ("00007", "00007-r", "00007-r-0", "00007-r-a", "00007-a-r")]
    [False, True, True, False, True]
    """
    return slot.rfind("r") > slot.rfind("a")


def is_accounted(slot: str, records: Mapping[str, Receipt | None]) -> bool:
    """Return True if records say where the frames of a slot are, so that a further shard of it is superfluous."""
    nearest = next((one for one in slots_above(slot) if one in records), None)
    if nearest is None:
        return False
    receipt, below = records[nearest], slot[len(nearest) + 1 :][:1]
    if receipt is None:
        return below not in ("0", "1")
    if not below:
        return not receipt.lost
    return not ((below == "r" and receipt.quarantined) or (below == "a" and receipt.lost))


def misfit(unit: Unit, receipt: Receipt) -> str:
    """Return why a receipt can't be this unit's: it counts other frames. "" if it can."""
    count = len(unit.frames)
    elsewhere = [*receipt.quarantined, *receipt.lost]
    places = {*receipt.blank, *elsewhere}
    right = receipt.frames + len(elsewhere) == count and len({*elsewhere}) == len(elsewhere)
    if right and max(places, default=0) < count and len(receipt.seed_shifts) in (0, count):
        return ""
    failed = f"{len(receipt.quarantined)} failed"
    return f"required a record of {count} frames, got one of {receipt.frames} and {failed}"
