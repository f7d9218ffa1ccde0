"""Repair a store: what is damaged is taken out and rendered again; what is right stays, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from render.core import ManifestError, Unit
from render.mending.compact_files import restore_compactions
from render.mending.inspect import Finding, Inspection, manifest_finding
from render.mending.look import Looker
from render.mending.splits import restore_splits
from render.mending.take_back import take_back
from render.plan import plan_units
from render.prepare import (
    Prepared,
    Report,
    Silent,
    begun_ledger,
    plain_end,
    planned_manifest,
    prepare_again,
    render_units,
    write_manifest_anew,
)
from render.store import Ledger, as_recorded, is_retry, misfit, reach_output, slots_above, slots_of

__all__ = ["Repair", "repair_store"]


@dataclass(frozen=True, slots=True)
class Repair:
    """The outcome of a repair."""

    findings: tuple[Finding, ...]  # what was wrong; `foreign` files are left where they are
    rendered: int  # frames that were rendered again, or for the first time
    failed: int  # of those, frames that could not be rendered and are in quarantine
    taken_back: int = 0  # frames of whole shards without a record, which have one now
    aside: tuple[str, ...] = ()  # files in data/ without a record that are not whole; now in `.run/damaged/`


@plain_end()
def repair_store(
    out: str | Path,
    deep: bool = False,
    report: Report | None = None,
    note: Callable[[Finding], object] = lambda _: None,
    overrides: Sequence[str] = (),
) -> Repair:
    """Render again what is damaged or missing in an output folder, and nothing else.

    Damage is what `verify_store` finds, with `deep` undecodable images, too. Damaged shards and records are moved to
    `OUT/.run/damaged/`. Whole shards without a record get one anew, instead of being rendered again. A repair that is
    stopped is finished by another one. Frames in quarantine are left to `retry_store`. `overrides` are `key=value` strings
    for what has moved: `media`, `workers.address`, `workers.count`, `workers.gpus`, and `id` and `loras` of a model.

    Raises StoreError when `out` is not an output folder or a run goes on in it, InputError when models or media are not
    there as they were, and RunError when rendering can't go on.
    """
    out, report = reach_output(out), report or Silent()
    ledger, findings = begun_ledger(out), []
    with ledger.lock() as check_lock:
        prepared = prepare_again(out, overrides)
        for finding in chain(_mend_manifest(prepared), _inspected(prepared, ledger, deep)):
            findings.append(finding)
            note(finding)
        check_lock()  # reading all of a store takes hours; another run may have it by now
        units = partial(_units, prepared)
        withdraw_records(ledger, findings)
        restore_compactions(ledger, units)
        withdraw_shards(ledger, findings)
        taken = take_back(ledger, units)
        if any(one.slot for one in findings):
            withdraw_unreached(ledger, units())
        ledger.delete_orphans()
        done = ledger.receipts()
        before = {receipt.unit for receipt in done}
        report.begin(prepared, sum(receipt.frames for receipt in done))
        _render_concerned(prepared, ledger, report, check_lock)
        check_lock()
        ledger.delete_orphans()
    new = [receipt for receipt in ledger.receipts() if receipt.unit not in before]
    rendered, failed = sum(one.frames for one in new), sum(len(one.quarantined) for one in new)
    return Repair(tuple(findings), rendered, failed, taken.frames, taken.aside)


def _mend_manifest(prepared: Prepared) -> Iterator[Finding]:
    """Yield what is wrong with the stored manifest, and write it anew."""
    out = prepared.job.output
    try:
        planned_manifest(out)
    except ManifestError as error:
        yield manifest_finding(error)
        write_manifest_anew(prepared.manifest, out)


def _inspected(prepared: Prepared, ledger: Ledger, deep: bool) -> Iterator[Finding]:
    """Yield the findings of a store whose notes of splits are written anew."""
    restore_splits(ledger, _units(prepared))
    yield from Inspection(ledger, _units(prepared), Looker(deep=deep))


def _units(prepared: Prepared) -> Iterator[Unit]:
    return plan_units(prepared.manifest.walks, prepared.plan)


def _render_concerned(prepared: Prepared, ledger: Ledger, report: Report, check_lock: Callable[[], None]) -> None:
    """Render what is concerned; again, where frames have failed by then that a retry had rendered before."""
    waiting = {unit.id for unit in _concerned(ledger, prepared)}
    while waiting:
        render_units(prepared, ledger, _concerned(ledger, prepared), report, check_lock)
        left = {unit.id for unit in _concerned(ledger, prepared)}
        waiting = left if left - waiting else set()


def _concerned(ledger: Ledger, prepared: Prepared) -> Iterator[Unit]:
    """Yield the units without a commit, except retries of frames in quarantine that were never committed.

    A unit whose record was withdrawn gets the seeds and the batch size that this says.
    """
    withdrawn = ledger.withdrawn()
    for unit in ledger.outstanding(_units(prepared)):
        slot = unit.id
        while slot not in withdrawn and slot[-2:] in ("-0", "-1"):  # a half of what was withdrawn
            slot = slot[:-2]
        receipt = withdrawn.get(slot)
        if receipt is not None and slot == unit.id and not misfit(unit, receipt):
            yield as_recorded(unit, receipt)
        elif slot in withdrawn or not is_retry(unit.id):
            yield unit


def withdraw_records(ledger: Ledger, findings: Iterable[Finding]) -> None:
    """Take damaged records out of the store. Their shards stay in data/, to be taken back."""
    records = [one for one in findings if one.slot and one.kind in ("corrupt", "twice")]
    for one in records:
        if one.where.startswith(".run/commits/"):
            ledger.withdraw(one.slot)
        elif one.where.startswith(".run/compactions/"):
            ledger.withdraw_compaction(one.slot)


def withdraw_shards(ledger: Ledger, findings: Iterable[Finding]) -> None:
    """Take damaged files, and the records of their units, out of the store.

    A unit of which a retry has rendered frames keeps its record: it says from then on which of the others are lost.
    """
    records, _ = ledger.read_records()
    damaged = {one.slot: one.where for one in findings if one.slot and one.where.startswith("data/")}
    slots, compactions = set(), set()
    for slot, where in damaged.items():
        receipt = records.get(slot)
        if receipt is None or where != f"data/{ledger.file_of(receipt)}":  # a compact file has it again
            continue
        slots.add(slot)
        if found := ledger.compaction_of(slot):  # it is right as a whole, or not at all
            compactions.add(found.file)
            slots |= {unit for unit, _ in found.units}
    kept = {ledger.file_of(other) for name, other in records.items() if other is not None and name not in slots}
    for slot in sorted(slots, key=len, reverse=True):
        receipt = records.get(slot)
        file = ledger.file_of(receipt) if receipt is not None else None
        if receipt is not None and file is not None and f"{slot}-r" in records:
            ledger.note_lost(receipt, file)
        else:
            ledger.withdraw(slot, {file} - kept if file else ())
    for name in compactions:  # the last, so that a repair in between finds a record without its units
        ledger.withdraw_compaction(name)


def withdraw_unreached(ledger: Ledger, units: Iterable[Unit]) -> None:
    """Take records out of the store, and their shards, that no unit of the plan has."""
    records, _ = ledger.read_records()
    reached = {one for planned in units for unit, _ in slots_of(planned, records) for one in slots_above(unit.id)}
    for slot in sorted(records.keys() - reached, key=len, reverse=True):
        receipt = records[slot]
        file = receipt.file if receipt is not None and not ledger.compaction_of(slot) else None
        ledger.withdraw(slot, [file] if file else ())
