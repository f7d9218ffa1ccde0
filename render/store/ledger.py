"""Record which unit is done, by which file: the ledger, the only truth about a run. Standard library only.

Every unit has one slot, a file `commits/ID.json`. It is created exclusively: of two workers that rendered the same unit
one wins. A slot holds the unit's receipt, or the note that the unit was split. Then each half has a slot of its own.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from render.core import PARTIAL, PROBE, ObjectPath, Receipt, StoreError, Unit, create_exclusively, read_many
from render.store.folder import OutputFolder
from render.store.lease import lease

__all__ = ["Ledger"]

SPLIT = '{"split":true}'


class Ledger:
    """Commit records of an output folder."""

    def __init__(self, out: Path) -> None:
        self.folder = OutputFolder(out)
        self._commits = self.folder.commits

    def create(self) -> None:
        """Create the folders of OUT."""
        own = self.folder
        for folder in (own.data, own.commits, own.scratch, own.quarantine, own.batches):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[Callable[[], None]]:
        """Hold the output folder for one driver; the lock ends with its process. Raises StoreError when another holds it.

        Gives a check that raises RunError when the lock was lost, which can happen in a bucket only.
        """
        path = self.folder.lock
        if isinstance(path, ObjectPath):
            with lease(path) as check:
                yield check
            return
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"{self.folder.out}: required that no other run writes there, got one that does"
                ) from error
            yield lambda: None

    def commit(self, receipt: Receipt) -> bool:
        """Claim the unit's slot. Returns False when it was taken: the caller's shard is then superfluous."""
        return self._claim(receipt.unit, receipt.to_json())

    def split(self, unit: Unit) -> bool:
        """Give the unit's slot to its two halves. Returns False when it was taken."""
        return self._claim(unit.id, SPLIT)

    def _claim(self, unit: str, record: str) -> bool:
        return create_exclusively(self._commits / f"{unit}.json", record)

    def receipts(self) -> list[Receipt]:
        """Return all receipts, sorted by unit id."""
        return [record for record in self._records().values() if record is not None]

    def _records(self) -> dict[str, Receipt | None]:
        """Read unit id → receipt; None for a unit that was split."""
        records: dict[str, Receipt | None] = {}
        paths: list[Path] = sorted(self._commits.glob("[!.]*.json"))
        for path, data in zip(paths, read_many(paths), strict=True):
            text = data.decode()
            records[path.stem] = None if json.loads(text).get("split") else Receipt.from_json(text)
        return records

    def slots(self, units: Iterator[Unit]) -> Iterator[tuple[Unit, Receipt | None]]:
        """Yield the slots that hold the units' frames by now: units, halves, quarantined frames; None for an empty slot."""
        records = self._records()
        for unit in units:
            yield from _slots(unit, records)

    def outstanding(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """Return the units that are still to be rendered; of split or partly failed units, what is left of them."""
        return (unit for unit, receipt in self.slots(units) if receipt is None)

    def delete_orphans(self) -> int:
        """Delete files that no commit names: shards, scratch and temporary files of dead workers. Returns their number."""
        own = self.folder
        shards = list(own.data.iterdir())  # before the commits: a dying worker may be about to commit one
        named = {receipt.file for receipt in self.receipts()}
        orphans = [path for path in shards if path.name not in named]
        if isinstance(own.out, ObjectPath):
            orphans += own.run.glob(f"{PROBE}*")
            with suppress(OSError):  # not every store lists them; what is left costs its place, nothing else
                own.out.abort_uploads()
        else:
            orphans += [*own.scratch.iterdir(), *self._commits.glob(".*"), *own.batches.glob(".*")]
            orphans += [path for made in (own.animations, own.sheets) for path in made.rglob(f"{PARTIAL}*")]
        for path in orphans:
            with suppress(FileNotFoundError):
                path.unlink()
        return len(orphans)

    def delete_partial_records(self) -> int:
        """Delete what runs that were killed left of the card, the job, the manifest and the plan. Returns their number.

        Call it when the frames are done: a second run that begins beside this one writes such files before it is refused.
        """
        own = self.folder
        if isinstance(own.out, ObjectPath):  # unfinished files of a bucket are local
            return 0
        left = [path for folder in (own.out, own.run, own.run / "audio") for path in folder.glob(f"{PARTIAL}*")]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)


def _slots(unit: Unit, records: dict[str, Receipt | None]) -> Iterator[tuple[Unit, Receipt | None]]:
    if unit.id in records and records[unit.id] is None:
        for half in unit.halves():
            yield from _slots(half, records)
        return
    receipt = records.get(unit.id)
    yield unit, receipt
    if receipt is not None and receipt.quarantined:
        yield from _slots(unit.part("r", receipt.quarantined), records)
