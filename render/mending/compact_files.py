"""Write the records of compact files anew, by their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter

from render.core import Receipt, Unit
from render.mending.contents import Content, Row, contents_of
from render.mending.rebuilt import first_run, receipt_of
from render.store import Compaction, Ledger, is_own_shard, is_retry, shard_name, slots_of, unit_of

__all__ = ["is_superfluous", "restore_compactions", "unnamed"]

Units = Callable[[], Iterable[Unit]]  # gives the units of the plan, again and again


def unnamed(ledger: Ledger) -> list[str]:
    """Return the names of our files in data/ that no record names."""
    records, _ = ledger.read_records()
    named = {ledger.file_of(receipt) for receipt in records.values() if receipt is not None}
    found = (path for path in ledger.folder.data.iterdir() if path.name not in named and is_own_shard(path.name))
    return sorted(path.name for path in found if not path.is_dir())


def restore_compactions(ledger: Ledger, units: Units) -> None:
    """Write the records of compact files anew that lie in data/ without one, while the shards of their units are gone.

    Commit records of their units that are lost, too, are written first. A file that has not exactly the frames of whole
    units is left alone.
    """
    names = [name for name in unnamed(ledger) if unit_of(name) is None]
    found = {name: content for name in names if (content := contents_of(ledger.folder.data / name))}
    if not found:
        return
    _commit_lost(ledger, units, found)
    missing = _without_file(ledger, units)
    for name, content in found.items():
        if parts := _parts(content.rows, missing):
            ledger.record_compaction(Compaction(name, content.size_bytes, content.sha256, tuple(parts)))
            missing = {slot: places for slot, places in missing.items() if slot not in dict(parts)}


def _without_file(ledger: Ledger, units: Units) -> dict[str, list[tuple[str, int, str]]]:
    """Return slot → (walk, frame, key) of the frames in its shard, of the slots whose shard is not there."""
    records, _ = ledger.read_records()
    there = {path.name for path in ledger.folder.data.iterdir()}
    return {
        unit.id: _places(unit, receipt)
        for planned in units()
        for unit, receipt in slots_of(planned, records)
        if receipt is not None and receipt.file and ledger.file_of(receipt) not in there
    }


def _places(unit: Unit, receipt: Receipt) -> list[tuple[str, int, str]]:
    elsewhere = {*receipt.quarantined, *receipt.lost}
    kept = (frame for place, frame in enumerate(unit.frames) if place not in elsewhere)
    return [(frame.walk, frame.index, frame.recipe.key) for frame in kept]


def _parts(rows: Sequence[Row], slots: Mapping[str, Sequence[tuple[str, int, str]]]) -> list[tuple[str, int]] | None:
    """Return (unit id, number of its rows) of a compact file's rows; None where these are not the frames of the slots."""
    firsts = {places[0]: slot for slot, places in slots.items() if places}
    parts, start = [], 0
    while start < len(rows):
        slot = firsts.get(rows[start].place)
        count = len(slots[slot]) if slot is not None else 0
        if slot is None or [row.place for row in rows[start : start + count]] != list(slots[slot]):
            return None
        parts.append((slot, count))
        start += count
    return parts


def is_superfluous(ledger: Ledger, name: str, units: Units) -> bool:
    """Return True for a compact file whose every frame lies in another file that is committed."""
    content = contents_of(ledger.folder.data / name)
    if content is None:
        return False
    records, _ = ledger.read_records()
    there = {path.name for path in ledger.folder.data.iterdir()}
    wanted = {row.place for row in content.rows}
    for planned in units():
        for unit, receipt in slots_of(planned, records):
            if receipt is not None and receipt.file and ledger.file_of(receipt) in there:
                wanted -= {*_places(unit, receipt)}
    return not wanted


def _commit_lost(ledger: Ledger, units: Units, found: Mapping[str, Content]) -> None:
    """Commit units of compact files whose commit records are lost, if every row of the file is of a unit then."""
    records, _ = ledger.read_records()
    numbered = ((name, number, row) for name, content in found.items() for number, row in enumerate(content.rows))
    rows = {(row.walk, row.frame): (name, number, row) for name, number, row in numbered}
    new: dict[str, list[Receipt]] = {name: [] for name in found}
    told = dict.fromkeys(found, 0)  # rows whose unit has a record
    for planned in units():
        if not any((frame.walk, frame.index) in rows for frame in planned.frames):
            continue
        for unit, receipt in slots_of(planned, records):
            own = [rows[place] for frame in unit.frames if (place := (frame.walk, frame.index)) in rows]
            for name in {name for name, _, _ in own}:
                stored = [row for _, row in sorted(((n, row) for of, n, row in own if of == name), key=itemgetter(0))]
                if receipt is None and unit.id not in records:
                    new[name] += _receipts(unit, stored, name.rpartition("-")[2].removesuffix(".parquet"))
                elif receipt is not None:
                    told[name] += len({*_places(unit, receipt)} & {row.place for row in stored})
    for name, receipts in new.items():
        if told[name] + sum(receipt.frames for receipt in receipts) == len(found[name].rows):
            for receipt in receipts:
                ledger.commit(receipt)


def _receipts(unit: Unit, rows: Sequence[Row], attempt: str) -> Iterator[Receipt]:
    """Yield receipts of a unit and its retries, by rows that stand in a compact file one slot after the other.

    The shards that the receipts name are gone; they are named so that nobody takes them for others.
    """
    taken = first_run(unit, rows)
    if taken:
        name = shard_name(unit, attempt)
        receipt = receipt_of(unit, taken, rows[: len(taken)], name, (0, ""))
    elif rows and not is_retry(unit.id):
        receipt = Receipt.of_quarantined(unit)
    else:
        return
    yield receipt
    if len(taken) < len(rows):
        yield from _receipts(unit.part("r", receipt.quarantined), rows[len(taken) :], attempt)
