"""The commit ledger: which unit is done, by which file. The only truth about a run. Standard library only.

Every unit has one slot, a file `commits/ID.json` made by exclusive creation, so that of two workers with the same unit
one wins. A slot holds a receipt, or says that the unit was split and its halves have slots of their own.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from render.core import PARTIAL, Receipt, StoreError, Unit, partial, sync
from render.store.folder import OutputFolder

__all__ = ["Ledger"]

SPLIT = '{"split":true}'


class Ledger:
    """The commit records below an output folder."""

    def __init__(self, out: Path) -> None:
        self.folder = OutputFolder(out)
        self._commits = self.folder.commits

    def create(self) -> None:
        """Make the folders."""
        own = self.folder
        for folder in (own.data, own.commits, own.scratch, own.quarantine):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the output for one driver; the lock goes with the process. Raises StoreError where another holds it."""
        with self.folder.lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"{self.folder.out}: required that no other run writes there, got one that does"
                ) from error
            yield

    def commit(self, receipt: Receipt) -> bool:
        """Claim the unit's slot. False where it was claimed before: the caller's file is then one too many."""
        return self._claim(receipt.unit, receipt.to_json())

    def split(self, unit: Unit) -> bool:
        """Give the unit's slot to its halves. False where it was claimed before."""
        return self._claim(unit.id, SPLIT)

    def _claim(self, unit: str, record: str) -> bool:
        target, temporary = self._commits / f"{unit}.json", partial(self._commits / unit)
        try:
            temporary.write_text(record, encoding="utf-8")
            sync(temporary)
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        sync(self._commits)
        return True

    def receipts(self) -> list[Receipt]:
        """All receipts, by unit."""
        return [record for record in self._records().values() if record is not None]

    def _records(self) -> dict[str, Receipt | None]:
        """Unit id → receipt, None where the unit was split."""
        records: dict[str, Receipt | None] = {}
        for path in sorted(self._commits.glob("[!.]*.json")):
            text = path.read_text(encoding="utf-8")
            records[path.stem] = None if json.loads(text).get("split") else Receipt.from_json(text)
        return records

    def slots(self, units: Iterator[Unit]) -> Iterator[tuple[Unit, Receipt | None]]:
        """Every slot that the units' frames are in by now: units, halves and quarantined remainders, None where empty."""
        records = self._records()
        for unit in units:
            yield from _slots(unit, records)

    def outstanding(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """The units, halves and quarantined remainders that have no committed frames yet."""
        return (unit for unit, receipt in self.slots(units) if receipt is None)

    def delete_orphans(self) -> int:
        """Delete what no commit names: shards, scratch and temporary files of workers that died. Returns the count."""
        named = {receipt.file for receipt in self.receipts()}
        orphans = [path for path in self.folder.data.iterdir() if path.name not in named]
        orphans += [*self.folder.scratch.iterdir(), *self._commits.glob(".*")]
        orphans += [path for made in (self.folder.animations, self.folder.sheets) for path in made.rglob(f"{PARTIAL}*")]
        for path in orphans:
            with suppress(FileNotFoundError):
                path.unlink()
        return len(orphans)


def _slots(unit: Unit, records: dict[str, Receipt | None]) -> Iterator[tuple[Unit, Receipt | None]]:
    if unit.id in records and records[unit.id] is None:
        for half in unit.halves():
            yield from _slots(half, records)
        return
    receipt = records.get(unit.id)
    yield unit, receipt
    if receipt is not None and receipt.quarantined:
        yield from _slots(unit.part("r", receipt.quarantined), records)
