"""Repair a store: what is damaged is taken out and rendered again; what is right stays, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from render.core import ManifestError, Receipt, Unit
from render.mending.inspect import Finding, Inspection, manifest_finding
from render.mending.look import Looker
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
)
from render.store import Ledger, OutputFolder, misfit, reach_output

__all__ = ["Repair", "repair_store"]


@dataclass(frozen=True, slots=True)
class Repair:
    """The outcome of a repair."""

    findings: tuple[Finding, ...]  # what was wrong; `foreign` files are left where they are
    rendered: int  # frames that were rendered again, or for the first time
    failed: int  # of those, frames that could not be rendered and are in quarantine


@plain_end()
def repair_store(
    out: str | Path,
    deep: bool = False,
    report: Report | None = None,
    note: Callable[[Finding], object] = lambda _: None,
) -> Repair:
    """Render again what is damaged or missing in an output folder, and nothing else.

    Damage is what `verify_store` finds, with `deep` undecodable images, too. Damaged shards and records are moved to
    `OUT/.run/damaged/`. A repair that is stopped is finished by another one. Frames in quarantine are left to `retry_store`.

    Raises StoreError when `out` is not an output folder or a run goes on in it, InputError when models or media are not
    there as they were, and RunError when rendering can't go on.
    """
    out, report = reach_output(out), report or Silent()
    ledger, findings = begun_ledger(out), []
    with ledger.lock() as check_lock:
        prepared = prepare_again(out)
        for finding in chain(_mend_manifest(prepared), _inspected(prepared, ledger, deep)):
            findings.append(finding)
            note(finding)
        check_lock()  # reading all of a store takes hours; another run may have it by now
        withdraw_damaged(ledger, findings)
        ledger.delete_orphans()
        done = ledger.receipts()
        before = {receipt.unit for receipt in done}
        report.begin(prepared, sum(receipt.frames for receipt in done))
        render_units(prepared, ledger, _concerned(ledger, prepared), report, check_lock)
        check_lock()
        ledger.delete_orphans()
    new = [receipt for receipt in ledger.receipts() if receipt.unit not in before]
    return Repair(tuple(findings), sum(one.frames for one in new), sum(len(one.quarantined) for one in new))


def _mend_manifest(prepared: Prepared) -> Iterator[Finding]:
    """Yield what is wrong with the stored manifest, and write it anew."""
    out = prepared.job.output
    try:
        planned_manifest(out)
    except ManifestError as error:
        yield manifest_finding(error)
        prepared.manifest.write(OutputFolder(out).manifest)


def _inspected(prepared: Prepared, ledger: Ledger, deep: bool) -> Iterator[Finding]:
    """Yield the findings of a store whose notes of splits are written anew."""
    restore_splits(ledger, _units(prepared))
    yield from Inspection(ledger, _units(prepared), Looker(deep=deep))


def _units(prepared: Prepared) -> Iterator[Unit]:
    return plan_units(prepared.manifest.walks, prepared.plan)


def _concerned(ledger: Ledger, prepared: Prepared) -> Iterator[Unit]:
    """Yield the units without a commit, except retries of frames in quarantine that were never committed.

    Frames that a retry had rendered with other seeds get these again.
    """
    withdrawn = ledger.withdrawn()
    for unit in ledger.outstanding(_units(prepared)):
        if not unit.id.endswith("-r") or unit.id in withdrawn:
            shifts = withdrawn.get(unit.id, ())
            yield unit.with_seeds(shifts) if len(shifts) == len(unit.frames) else unit


def restore_splits(ledger: Ledger, units: Iterable[Unit]) -> None:
    """Write the notes anew that a unit was split, where halves of it are committed and its own record can't be read."""
    records, _ = ledger.read_records()
    if split := set(_split_slots(records)):
        for unit in units:
            _restore_splits(ledger, unit, records, split)


def _split_slots(slots: Iterable[str]) -> Iterator[str]:
    """Yield the slots whose halves are among the slots."""
    for slot in slots:
        parts = slot.split("-")
        yield from ("-".join(parts[:end]) for end in range(1, len(parts)) if parts[end] in ("0", "1"))


def _restore_splits(ledger: Ledger, unit: Unit, records: Mapping[str, Receipt | None], split: set[str]) -> None:
    receipt = records.get(unit.id)
    if receipt is not None:
        if receipt.quarantined and not misfit(unit, receipt):
            _restore_splits(ledger, unit.part("r", receipt.quarantined), records, split)
        return
    if unit.id not in split or len(unit.frames) < 2:
        return
    if unit.id not in records:
        ledger.restore_split(unit.id)
    for half in unit.halves():
        _restore_splits(ledger, half, records, split)


def withdraw_damaged(ledger: Ledger, findings: Iterable[Finding]) -> None:
    """Take damaged records, those of no unit, and their shards out of the store.

    The slots below a damaged one go with it, and go first: a run that comes between finds none that hangs in the air.
    """
    records, _ = ledger.read_records()
    findings = [one for one in findings if one.slot and one.kind in ("corrupt", "extra", "twice")]
    compactions = {one.slot for one in findings if one.where.startswith(".run/compactions/")}
    roots = {one.slot for one in findings} - compactions
    for slot in list(roots):
        found = ledger.compaction_of(slot)  # a compact file is right as a whole, or not at all
        if found and found.file not in compactions:
            compactions.add(found.file)
            roots |= {unit for unit, _ in found.units}
    below = {slot for slot in records if any(slot.startswith(f"{root}-") for root in _prefixes(slot) & roots)}
    going = roots | below
    kept = {ledger.file_of(other) for name, other in records.items() if other is not None and name not in going}
    own = ledger.own_shards()
    for slot in sorted(going, key=len, reverse=True):
        receipt = records.get(slot)
        file = ledger.file_of(receipt) if receipt is not None else None
        ledger.withdraw(slot, sorted(({file} if file else set(own.get(slot, ()))) - kept))
    for name in compactions:  # the last, so that a repair in between finds a record without its units
        ledger.withdraw_compaction(name)


def _prefixes(slot: str) -> set[str]:
    """Return the slots above a slot: of 00007-0-r these are 00007-0 and 00007."""
    parts = slot.split("-")
    return {"-".join(parts[:end]) for end in range(1, len(parts))}
