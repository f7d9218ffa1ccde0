"""Take back what lies in data/ without a record: a shard that is whole is committed, a compact file gets its record anew.

A worker that dies between publishing and committing leaves such a shard; so does the loss of a commit record. Nobody can
tell which it was, and nobody need: the shard says of itself which frames it has. What can't be taken back, and no record
says where its frames are, is moved to `.run/damaged/`. So nothing that was rendered is deleted for want of a record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from render.core import Receipt, Unit, counted
from render.mending.compact_files import is_superfluous, restore_compactions, unnamed
from render.mending.contents import Content, contents_of
from render.mending.rebuilt import first_run, receipt_of
from render.mending.splits import restore_splits
from render.store import Ledger, is_accounted, own_shards, slots_above, slots_of, split_of, unit_of

__all__ = ["TakenBack", "take_back"]

Units = Callable[[], Iterable[Unit]]  # gives the units of the plan, again and again


@dataclass(frozen=True, slots=True)
class TakenBack:
    """Shards that had no record."""

    frames: int = 0  # that are committed now
    aside: tuple[str, ...] = ()  # files that are not whole, or that the plan does not know; now in `.run/damaged/`

    @property
    def told(self) -> str:
        """The same in words; "" for nothing."""
        had = "had no commit record (a worker that died, or lost records)"
        texts = [f"{counted(self.frames, 'frame')} {had}: taken back"] if self.frames else []
        if self.aside:
            texts.append(f"{counted(len(self.aside), 'file')} without a record moved to .run/damaged/")
        return "; ".join(texts)


def take_back(ledger: Ledger, units: Units) -> TakenBack:
    """Commit the whole shards in data/ whose units have no commit, and set those aside that nothing accounts for.

    The caller holds the lock, and has checked that the store is not damaged. Compact files are taken back, too.
    """
    before = {receipt.unit for receipt in ledger.receipts()}
    if not unnamed(ledger) and not _hanging(ledger):
        return TakenBack()
    restore_compactions(ledger, units)
    broken: set[str] = set()
    while _commit_shards(ledger, units, broken) or restore_splits(ledger, units(), _open_slots(ledger, broken)):
        pass  # each unit that is taken back may show slots below it
    records, _ = ledger.read_records()
    aside = []
    for name in unnamed(ledger):
        slot = unit_of(name)
        if slot is None and is_superfluous(ledger, name, units):
            (ledger.folder.data / name).unlink(missing_ok=True)
        elif slot is None or not is_accounted(slot, records):
            aside.append(name)
    ledger.set_aside(aside)
    new = [receipt for receipt in ledger.receipts() if receipt.unit not in before]
    return TakenBack(sum(receipt.frames for receipt in new), tuple(aside))


def _open_slots(ledger: Ledger, broken: set[str]) -> dict[str, list[str]]:
    """Return slot → its shards, of the slots of which no record says where their frames are; without the broken ones."""
    records, _ = ledger.read_records()
    own = {slot: [name for name in names if name not in broken] for slot, names in own_shards(ledger.folder).items()}
    return {slot: names for slot, names in own.items() if names and not is_accounted(slot, records)}


def _hanging(ledger: Ledger) -> list[str]:
    """Return the slots whose records stand below a slot without one."""
    records, _ = ledger.read_records()
    return [slot for slot in records if slots_above(slot)[1:2] and slots_above(slot)[1] not in records]


def _commit_shards(ledger: Ledger, units: Units, broken: set[str]) -> bool:
    """Commit whole shards of empty slots. Returns True if there were any; `broken` gets the names of the others."""
    own = _open_slots(ledger, broken)
    records, faults = ledger.read_records()
    damaged = {fault.slot for fault in faults}
    numbers = {slot.partition("-")[0] for slot in [*own, *_hanging(ledger)]}
    found = False
    for planned in units():
        for unit, receipt in slots_of(planned, records) if planned.id in numbers else ():
            if receipt is None and unit.id not in records and unit.id not in damaged:
                found |= _commit_one(ledger, unit, own, broken) or _commit_above_retry(ledger, unit, records, own)
    return found


def _commit_one(ledger: Ledger, unit: Unit, own: Mapping[str, Sequence[str]], broken: set[str]) -> bool:
    """Commit the first whole shard of a unit."""
    for name in own.get(unit.id, ()):
        content = contents_of(ledger.folder.data / name)
        receipt = _receipt(unit, content, name) if content else None
        if receipt is not None:
            return ledger.commit(receipt)
        broken.add(name)
    return False


def _commit_above_retry(
    ledger: Ledger, unit: Unit, records: Mapping[str, Receipt | None], own: Mapping[str, Sequence[str]]
) -> bool:
    """Write the record of a unit anew whose own shard is gone, by that of its retry: the frames there had failed.

    The others count as lost, to be rendered again. Nothing is written where frames of the retry have failed as well, unless
    it was of all frames of the unit.
    """
    slot = f"{unit.id}-r"
    retry, failed = records.get(slot), Receipt.of_quarantined(unit)
    if retry is not None and retry.frames + len(retry.quarantined) + len(retry.lost) == len(unit.frames):
        return ledger.commit(failed)
    if slot in records and (retry is None or retry.file is None or retry.quarantined):
        return False
    for name in own.get(slot, ()) if retry is None else (str(retry.file),):
        content = contents_of(ledger.folder.data / name)
        taken = first_run(unit, content.rows) if content else []
        if content and taken and len(taken) == len(content.rows):
            lost = sorted({*range(len(unit.frames))} - {*taken})
            return ledger.commit(replace(failed, quarantined=tuple(taken), lost=tuple(lost)))
    return False


def _receipt(unit: Unit, content: Content, name: str) -> Receipt | None:
    """Return the receipt of a shard of a unit; None where its rows are no frames of the unit, in their order.

    A shard of another split than the unit's was renamed: `datasets` would train on what is tested.
    """
    taken = first_run(unit, content.rows)
    if len(taken) != len(content.rows) or not taken or split_of(name) != unit.split:
        return None
    return receipt_of(unit, taken, content.rows, name, (content.size_bytes, content.sha256))
