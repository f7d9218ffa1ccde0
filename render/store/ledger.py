"""Record which unit is done, by which file: the ledger, the only truth about a run. Standard library only.

Every unit has one slot, a file `commits/ID.json`. It is created exclusively: of two workers that rendered the same unit
one wins. A slot holds the unit's receipt, or the note that the unit was split. Then each half has a slot of its own.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from render.core import (
    ObjectPath,
    Receipt,
    StoreError,
    Unit,
    create_exclusively,
    publish,
    read_many,
    sync,
    to_go_on,
    why_unreadable,
    write_atomically,
)
from render.store.access import make_folder
from render.store.compaction import Compaction, parse_compaction
from render.store.file_lock import file_lock
from render.store.folder import OutputFolder
from render.store.holder import find_holder
from render.store.lease import lease
from render.store.records import SPLIT, RecordFault, is_accounted, parse_record, second_records, slots_of, without_shard
from render.store.sweep import own_shards, unfinished_files

__all__ = ["Ledger"]

UNREADABLE = {"a pipe", "a socket", "a device", "a symbolic link to itself"}  # opening one may wait, or fail
FAULTS_MAX = 20  # damaged records that an error lists


class Ledger:
    """Commit records of an output folder."""

    def __init__(self, out: Path) -> None:
        self.folder = OutputFolder(out)
        self._commits = self.folder.commits
        self._known: dict[str, Receipt | None] = {}  # the records read so far: a record never changes
        self._known_compactions: dict[str, Compaction] = {}
        self._compact: dict[str, Compaction] = {}  # unit → the compact file that has its frames, by the last reading

    def create(self) -> None:
        """Create the folders of OUT."""
        for name in ("data", "commits", "scratch", "quarantine", "batches"):
            make_folder(getattr(self.folder, name))

    @contextmanager
    def lock(self) -> Iterator[Callable[[], None]]:
        """Hold the output folder for one driver; the lock ends with its process.

        Gives a check that raises RunError when the lock was lost, which can happen in a bucket only. Raises StoreError when
        another driver holds it, with its host, process and start.
        """
        path = self.folder.lock
        if isinstance(path, ObjectPath):
            with lease(path) as check:
                yield check
            return
        with file_lock(path):
            yield lambda: None

    def going_on(self) -> str:
        """Return which run holds the output folder, "" for none; one of another machine counts where nothing is known."""
        holder = find_holder(self.folder.lock)
        return "" if holder is None or holder.lives is False else str(holder)

    def commit(self, receipt: Receipt) -> bool:
        """Claim the unit's slot. Returns False when it was taken: the caller's shard is then superfluous.

        A record that names the same shard is no other's: the next run has taken the shard for a dead worker's.
        """
        if self._claim(receipt.unit, receipt.to_json()):
            return True
        with suppress(StoreError, OSError):
            taken = parse_record(receipt.unit, (self._commits / f"{receipt.unit}.json").read_bytes())
            return taken is not None and taken.file is not None and taken.file == receipt.file
        return False

    def split(self, unit: Unit) -> bool:
        """Give the unit's slot to its two halves. Returns False when it was taken."""
        return self._claim(unit.id, SPLIT)

    def _claim(self, unit: str, record: str) -> bool:
        return create_exclusively(self._commits / f"{unit}.json", record)

    # Reading.

    def receipts(self) -> list[Receipt]:
        """Return all receipts, sorted by unit id. Raises StoreError that names every record with a fault."""
        return [record for record in self._records().values() if record is not None]

    def receipt(self, unit: str) -> Receipt | None:
        """Return the receipt in one unit's slot, read now; None when there is none, or the unit was split."""
        data = _content(self._commits / f"{unit}.json")
        return parse_record(unit, data) if isinstance(data, bytes) else None

    def read_records(self) -> tuple[dict[str, Receipt | None], list[RecordFault]]:
        """Return (unit id → receipt, None for a unit that was split; the records that can't be used, or are too many).

        Raises OSError when the store can't be read: that is no fault of a record.
        """
        found: dict[str, Receipt | None] = {}
        faults = []
        for slot, data in self._read_new(self._commits, self._known):
            try:
                if data is None:
                    found[slot] = self._known[slot]
                elif isinstance(data, OSError):
                    raise StoreError(f"required a commit record, got {data.strerror or 'none'}")
                else:
                    found[slot] = parse_record(slot, data)
            except StoreError as error:
                faults.append(RecordFault(slot, str(error)))
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
        faults, known = [], {}
        for name, data in self._read_new(self.folder.compactions, self._known_compactions):
            try:
                if isinstance(data, OSError):
                    raise StoreError(f"required the record of a compaction, got {data.strerror or 'none'}")
                compaction = self._known_compactions[name] if data is None else parse_compaction(name, data)
                known[name] = compaction
                lost = [unit for unit, frames in compaction.units if not _has(records.get(unit), frames)]
                if lost:
                    raise StoreError(f"required a commit record of each unit in it, got none of {lost[0]}")
                found |= {unit: compaction for unit, _ in compaction.units}
            except StoreError as error:
                faults.append(RecordFault(name, str(error), folder="compactions"))
        self._known_compactions = known
        return found, faults

    def _read_new(
        self, folder: Path, known: Mapping[str, object]
    ) -> Iterator[tuple[str, bytes | FileNotFoundError | IsADirectoryError | None]]:
        """Yield (name, content) of the records in a folder, sorted; None for the content of those that are known."""
        files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        names = sorted(name.removesuffix(".json") for name in files if name.endswith(".json") and name[0] != ".")
        new = [name for name in names if name not in known]
        read = dict(zip(new, read_many([folder / f"{name}.json" for name in new], _content), strict=True))
        yield from ((name, read.get(name)) for name in names)

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

    def _records(self) -> dict[str, Receipt | None]:
        """Read unit id → receipt; None for a unit that was split. Raises StoreError for records that can't be used."""
        records, faults = self.read_records()
        if faults:
            out = self.folder.out
            more = [f"… and {len(faults) - FAULTS_MAX} more"] if len(faults) > FAULTS_MAX else []
            lines = "\n  ".join([*map(str, faults[:FAULTS_MAX]), *more])
            raise StoreError(f"{out}: damaged commit records; {to_go_on('repair', out)} mends them:\n  {lines}")
        return records

    def slots(self, units: Iterator[Unit]) -> Iterator[tuple[Unit, Receipt | None]]:
        """Yield the slots that hold the units' frames by now: units, halves, quarantined frames; None for an empty slot."""
        records = self._records()
        for unit in units:
            yield from slots_of(unit, records)

    def outstanding(self, units: Iterator[Unit]) -> Iterator[Unit]:
        """Return the units that are still to be rendered; of split or partly failed units, what is left of them."""
        return (unit for unit, receipt in self.slots(units) if receipt is None)

    # Changing what was committed.

    def compact(self, compaction: Compaction) -> bool:
        """Publish a compact file from scratch, then record it."""
        publish(self.folder.scratch / compaction.file, self.folder.data / compaction.file)
        return self.record_compaction(compaction)

    def record_compaction(self, compaction: Compaction) -> bool:
        """Put a compact file that lies in data/ in the place of its units' shards. False: another has done it."""
        make_folder(self.folder.compactions)
        return create_exclusively(self.folder.compactions / f"{compaction.file}.json", compaction.to_json())

    def restore_split(self, slot: str) -> None:
        """Write the note that a unit was split in the place of its record that is lost or damaged."""
        self._rewrite(slot, SPLIT)

    def note_lost(self, receipt: Receipt, file: str) -> None:
        """Take the damaged file of a unit out of the store, and note in its record that those frames are lost.

        They get a slot below it, so that what a retry has rendered of the unit's other frames stays where it is.
        """
        self.set_aside([file])
        self._rewrite(receipt.unit, without_shard(receipt).to_json())

    def _rewrite(self, slot: str, record: str) -> None:
        write_atomically(self._commits / f"{slot}.json", record.encode())
        self._known.pop(slot, None)

    def set_aside(self, files: Iterable[str]) -> None:
        """Move files of data/ to `.run/damaged/`."""
        make_folder(self.folder.damaged)
        for file in files:
            with suppress(FileNotFoundError):
                publish(self.folder.data / file, self.folder.damaged / file)

    def withdraw(self, slot: str, shards: Iterable[str] = ()) -> None:
        """Take a damaged record, and the shards of its unit, out of the store, so that the unit is rendered again.

        They are moved to `.run/damaged/`, the record last: until then it says that its unit is damaged, whatever is killed
        when, so that a second repair goes on.
        """
        self.set_aside(shards)
        with suppress(FileNotFoundError):
            publish(self._commits / f"{slot}.json", self.folder.damaged / f"{slot}.{uuid4().hex[:8]}.json")
        sync(self._commits)
        self._known.pop(slot, None)

    def withdraw_compaction(self, name: str) -> None:
        """Take the record of a compaction out of the store, when no unit of it is committed any more."""
        make_folder(self.folder.damaged)
        with suppress(FileNotFoundError):
            publish(self.folder.compactions / f"{name}.json", self.folder.damaged / f"{name}.json")
        self._known_compactions.pop(name, None)

    def withdrawn(self) -> dict[str, Receipt | None]:
        """Return unit id → its record, of the units whose records were ever withdrawn; None where it can't be read."""
        found: dict[str, Receipt | None] = {}
        paths = sorted(self.folder.damaged.glob("*.json"), key=_written_ns)  # the last one counts
        for path, data in zip(paths, read_many(paths, _content), strict=True):
            slot = path.name.partition(".")[0]
            found.setdefault(slot, None)
            with suppress(StoreError):
                found[slot] = parse_record(slot, data) if isinstance(data, bytes) else found[slot]
        return found

    def delete_orphans(self) -> int:
        """Delete files of ours that no commit names: shards, scratch and temporary files of dead workers.

        A shard goes only if records say where its frames are; one whose record may be lost stays. So does what has another
        name than we give. Returns the number of files.
        """
        shards = own_shards(self.folder)  # before the commits: a dying worker may be about to commit one
        named, records = set(self.files()), self._records()
        told = [name for slot, names in shards.items() if is_accounted(slot, records) for name in names]
        orphans = [self.folder.data / name for name in told if name not in named]
        orphans += unfinished_files(self.folder)
        for path in orphans:
            with suppress(FileNotFoundError):
                path.unlink()
        return len(orphans)


def _has(receipt: Receipt | None, frames: int) -> bool:
    return receipt is not None and receipt.frames == frames


def _written_ns(path: Path) -> int:
    with suppress(OSError):  # a link to itself
        return path.stat().st_mtime_ns
    return 0


def _content(path: Path) -> bytes | FileNotFoundError | IsADirectoryError:
    """Return the content of a record, or why there is none. Whatever else goes wrong is the store's fault, and is raised."""
    if not isinstance(path, ObjectPath) and (kind := why_unreadable(path)) in UNREADABLE:
        return IsADirectoryError(errno.EISDIR, kind)
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError) as error:
        return error
