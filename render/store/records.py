"""Read commit records, and name those that are damaged or do not belong. Standard library only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from render.core import Receipt, StoreError, Unit

__all__ = ["SPLIT", "RecordFault", "is_own_shard", "misfit", "parse_record", "second_records", "slots_of", "unit_of"]

SPLIT = '{"split":true}'
OWN_SHARD = re.compile(r"train-[0-9]+(-[01r])*-(of|to)-[0-9]+(-[01r])*-[0-9a-f]{8}\.parquet")
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


def unit_of(shard: str) -> str | None:
    """Return the id of the unit that a shard is named after; None for a compact file, and for a name that we do not give.

    >>> unit_of("train-00007-0-of-00064-0123abcd.parquet"), unit_of("train-00007-to-00009-0123abcd.parquet")
    ('00007-0', None)
    """
    unit, of, _ = shard.removeprefix("train-").partition("-of-")
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
    for name in ("blank", "quarantined", "seed_shifts"):
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
        if owner != slot and receipt.file.startswith(f"train-{slot}-of-"):
            owners[receipt.file] = slot
            seconds[owner] = slot
        elif owner != slot:
            seconds[slot] = owner
    return seconds


def slots_of(unit: Unit, records: Mapping[str, Receipt | None]) -> Iterable[tuple[Unit, Receipt | None]]:
    """Yield the slots that hold a unit's frames by now, each with its receipt; None for an empty slot.

    A record with places that the unit does not have can't be this unit's: there is no slot below it.
    """
    if unit.id in records and records[unit.id] is None and len(unit.frames) > 1:
        for half in unit.halves():
            yield from slots_of(half, records)
        return
    receipt = records.get(unit.id)
    changed = receipt is not None and len(receipt.seed_shifts) == len(unit.frames)
    yield unit.with_seeds(receipt.seed_shifts) if receipt is not None and changed else unit, receipt
    if receipt is not None and receipt.quarantined and max(receipt.quarantined) < len(unit.frames):
        yield from slots_of(unit.part("r", receipt.quarantined), records)


def misfit(unit: Unit, receipt: Receipt) -> str:
    """Return why a receipt can't be this unit's: it counts other frames. "" if it can."""
    count = len(unit.frames)
    places = {*receipt.blank, *receipt.quarantined}
    right = receipt.frames + len(receipt.quarantined) == count and max(places, default=0) < count
    if right and len(receipt.seed_shifts) in (0, count):
        return ""
    return f"required a record of {count} frames, got one of {receipt.frames} and {len(receipt.quarantined)} failed"
