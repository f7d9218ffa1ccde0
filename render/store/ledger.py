"""Record which unit is done, by which file: the ledger, the only truth about a run. Standard library only.

Every unit has one slot, a file `commits/ID.json`. It is created exclusively: of two workers that rendered the same unit
one wins. A slot holds the unit's receipt, or the note that the unit was split. Then each half has a slot of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO
from uuid import uuid4

from render.core import PARTIAL, Receipt, StoreError, Unit, create_exclusively, publish, sync, write_atomically
from render.store.compaction import Compaction, parse_compaction
from render.store.folder import OutputFolder
from render.store.records import SPLIT, RecordFault, is_own_shard, parse_record, second_records, slots_of

__all__ = ["Ledger"]

FAULTS_MAX = 20  # damaged records that an error lists


class Ledger:
    """Commit records of an output folder."""

    def __init__(self, out: Path) -> None:
        self.folder = OutputFolder(out)
        self._commits = self.folder.commits
        self._known: dict[str, Receipt | None] = {}  # the records read so far: a record never changes
        self._compact: dict[str, Compaction] = {}  # unit → the compact file that has its frames, by the last reading

    def create(self) -> None:
        """Create the folders of OUT."""
        own = self.folder
        for folder in (own.data, own.commits, own.scratch, own.quarantine, own.batches):
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the output folder for one driver; the lock ends with its process.

        Raises StoreError when another holds it, with its host, process and start. What a dead process left in the file
        holds nobody up.
        """
        with self.folder.lock.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"{self.folder.out}: required that no other run writes there, got one that does: {_holder(file)}"
                ) from error
            since = datetime.now(UTC).isoformat(timespec="seconds")
            file.truncate(0)
            file.write(json.dumps({"host": platform.node(), "process": os.getpid(), "since": since}))
            file.flush()
            yield
            file.truncate(0)

    def commit(self, receipt: Receipt) -> bool:
        """Claim the unit's slot. Returns False when it was taken: the caller's shard is then superfluous."""
        return self._claim(receipt.unit, receipt.to_json())

    def split(self, unit: Unit) -> bool:
        """Give the unit's slot to its two halves. Returns False when it was taken."""
        return self._claim(unit.id, SPLIT)

    def _claim(self, unit: str, record: str) -> bool:
        return create_exclusively(self._commits / f"{unit}.json", record)

    def receipts(self) -> list[Receipt]:
        """Return all receipts, sorted by unit id. Raises StoreError that names every record with a fault."""
        return [record for record in self._records().values() if record is not None]

    def read_records(self) -> tuple[dict[str, Receipt | None], list[RecordFault]]:
        """Return (unit id → receipt, None for a unit that was split; the records that can't be used, or are too many)."""
        found: dict[str, Receipt | None] = {}
        faults = []
        for name in sorted(path.name for path in self._commits.iterdir()):
            slot, suffix = os.path.splitext(name)
            if suffix != ".json" or name.startswith("."):
                continue
            try:
                known = slot in self._known
                found[slot] = self._known[slot] if known else parse_record(slot, (self._commits / name).read_bytes())
            except StoreError as error:
                faults.append(RecordFault(slot, str(error)))
            except OSError as error:
                faults.append(RecordFault(slot, f"required a commit record, got {error.strerror}"))
        self._known = dict(found)
        self._compact, more = self._read_compactions(found)
        faults += more
        for slot, other in second_records(found).items():
            faults.append(
                RecordFault(slot, f"names the shard of unit {other}, whose frames would be there twice", True)
            )
            del found[slot]
        return found, faults

    def _read_compactions(
        self, records: Mapping[str, Receipt | None]
    ) -> tuple[dict[str, Compaction], list[RecordFault]]:
        """Return (unit → compaction, damaged records): a compaction holds if each of its units has a receipt."""
        found: dict[str, Compaction] = {}
        faults = []
        folder = self.folder.compactions
        for path in sorted(folder.glob("[!.]*.json")) if folder.is_dir() else ():
            try:
                compaction = parse_compaction(path.stem, path.read_bytes())
                lost = [unit for unit, frames in compaction.units if not _has(records.get(unit), frames)]
                if lost:
                    raise StoreError(f"required a commit record of each unit in it, got none of {lost[0]}")
                found |= {unit: compaction for unit, _ in compaction.units}
            except StoreError as error:
                faults.append(RecordFault(path.stem, str(error), folder="compactions"))
        return found, faults

    def compaction_of(self, unit: str) -> Compaction | None:
        """Return the compaction that has a unit's frames, as of the last reading of the records."""
        return self._compact.get(unit)

    def file_of(self, receipt: Receipt) -> str | None:
        """Return the file in data/ that has a unit's frames: its shard, or the compact file in the place of it."""
        compaction = self._compact.get(receipt.unit)
        return compaction.file if compaction is not None and receipt.file is not None else receipt.file

    def files(self) -> list[str]:
        """Return the names of the committed files in data/, in the order of their units, each once."""
        return list(dict.fromkeys(filter(None, map(self.file_of, self.receipts()))))

    def compact(self, compaction: Compaction) -> bool:
        """Publish a compact file from scratch and put it in the place of its units' shards. False: another has done it."""
        publish(self.folder.scratch / compaction.file, self.folder.data / compaction.file)
        self.folder.compactions.mkdir(exist_ok=True)
        return create_exclusively(self.folder.compactions / f"{compaction.file}.json", compaction.to_json())

    def _records(self) -> dict[str, Receipt | None]:
        """Read unit id → receipt; None for a unit that was split. Raises StoreError for records that can't be used."""
        records, faults = self.read_records()
        if faults:
            out = self.folder.out
            more = [f"… and {len(faults) - FAULTS_MAX} more"] if len(faults) > FAULTS_MAX else []
            lines = "\n  ".join([*map(str, faults[:FAULTS_MAX]), *more])
            raise StoreError(f"{out}: damaged commit records; `render repair {out}` mends them:\n  {lines}")
        return records

    def slots(self, units: Iterator[Unit]) -> Iterator[tuple[Unit, Receipt | None]]:
        """Yield the slots that hold the units' frames by now: units, halves, quarantined frames; None for an empty slot."""
        records = self._records()
        for unit in units:
            yield from slots_of(unit, records)

    def outstanding(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """Return the units that are still to be rendered; of split or partly failed units, what is left of them."""
        return (unit for unit, receipt in self.slots(units) if receipt is None)

    def restore_split(self, slot: str) -> None:
        """Write the note that a unit was split in the place of its record that is lost or damaged."""
        write_atomically(self._commits / f"{slot}.json", SPLIT.encode())

    def withdraw(self, slot: str, shards: Iterable[str] = ()) -> None:
        """Take a damaged record, and the shards of its unit, out of the store, so that the unit is rendered again.

        They are moved to `.run/damaged/`, the record last: until then it says that its unit is damaged, whatever is killed
        when, so that a second repair goes on.
        """
        damaged = self.folder.damaged
        damaged.mkdir(exist_ok=True)
        for shard in shards:
            with suppress(FileNotFoundError):
                publish(self.folder.data / shard, damaged / shard)
        with suppress(FileNotFoundError):
            publish(self._commits / f"{slot}.json", damaged / f"{slot}.{uuid4().hex[:8]}.json")
        sync(self._commits)
        self._known.pop(slot, None)

    def withdraw_compaction(self, name: str) -> None:
        """Take the record of a compaction out of the store, when no unit of it is committed any more."""
        with suppress(FileNotFoundError):
            publish(self.folder.compactions / f"{name}.json", self.folder.damaged / f"{name}.json")

    def shards_of(self, slot: str) -> list[str]:
        """Return the names in data/ that a worker gave shards of a unit, committed or not."""
        names = [path.name for path in self.folder.data.iterdir()]
        return [name for name in names if name.startswith(f"train-{slot}-of-") and is_own_shard(name)]

    def withdrawn(self) -> set[str]:
        """Return the slots whose records were ever withdrawn."""
        return {path.name.partition(".")[0] for path in self.folder.damaged.glob("*.json")}

    def delete_orphans(self) -> int:
        """Delete files of ours that no commit names: shards, scratch and temporary files of dead workers.

        What has another name than we give is left alone. Returns the number of files.
        """
        named = set(self.files())
        own = self.folder
        orphans = [path for path in own.data.iterdir() if path.name not in named and is_own_shard(path.name)]
        orphans += [*own.scratch.iterdir(), *self._commits.glob(".*"), *own.batches.glob(".*")]
        orphans += [*own.compactions.glob(".*")] if own.compactions.is_dir() else []
        orphans += [path for made in (own.animations, own.sheets) for path in made.rglob(f"{PARTIAL}*")]
        orphans = [path for path in orphans if not path.is_dir() or path.is_symlink()]
        for path in orphans:
            with suppress(FileNotFoundError):
                path.unlink()
        return len(orphans)


def _has(receipt: Receipt | None, frames: int) -> bool:
    return receipt is not None and receipt.frames == frames


def _holder(file: TextIO) -> str:
    """Return who holds the lock, by the file that the holder wrote."""
    file.seek(0)
    try:
        holder = json.loads(file.read())
        return f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"
