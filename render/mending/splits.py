"""Write the notes anew that units were split in halves, where the notes are lost and the halves are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from render.core import Receipt, Unit
from render.store import Ledger, misfit

__all__ = ["restore_splits"]


def restore_splits(ledger: Ledger, units: Iterable[Unit], slots: Iterable[str] = ()) -> bool:
    """Write the note that a unit was split where halves of it are committed, or among `slots`, and its record can't be read.

    Returns True if there was one to write. Halves are only rendered once the note is there, so they prove it.
    """
    records, _ = ledger.read_records()
    split = {*_split_slots(records), *_split_slots(slots)}
    return bool(split) and sum(_restore(ledger, unit, records, split) for unit in units) > 0


def _split_slots(slots: Iterable[str]) -> Iterator[str]:
    """Yield the slots whose halves are among the slots."""
    for slot in slots:
        parts = slot.split("-")
        yield from ("-".join(parts[:end]) for end in range(1, len(parts)) if parts[end] in ("0", "1"))


def _restore(ledger: Ledger, unit: Unit, records: Mapping[str, Receipt | None], split: set[str]) -> int:
    """Write the notes of a unit and of what is below it. Returns their number."""
    receipt = records.get(unit.id)
    if receipt is not None:
        right = not misfit(unit, receipt)
        parts = [("a", receipt.lost), ("r", receipt.quarantined)] if right else []
        return sum(_restore(ledger, unit.part(end, own), records, split) for end, own in parts if own)
    if unit.id not in split or len(unit.frames) < 2:
        return 0
    is_new = unit.id not in records
    if is_new:
        ledger.restore_split(unit.id)
    return is_new + sum(_restore(ledger, half, records, split) for half in unit.halves())
