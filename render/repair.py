"""Repair a store: what is damaged is taken out and rendered again; what is right stays, byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from render.again import has_sound_manifest, prepare_again
from render.core import Receipt, Unit
from render.inspect import Finding, Inspection
from render.look import Looker
from render.plan import plan_units
from render.prepare import Prepared
from render.rendering import Report, Silent, render_units
from render.store import Ledger, misfit, reach_output

__all__ = ["Repair", "repair_store"]


@dataclass(frozen=True, slots=True)
class Repair:
    """The outcome of a repair."""

    findings: tuple[Finding, ...]  # what was wrong; `foreign` files are left where they are
    rendered: int  # frames that were rendered again, or for the first time
    failed: int  # of those, frames that could not be rendered and are in quarantine


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
    prepared, ledger, findings = prepare_again(out), Ledger(out), []
    ledger.create()
    with ledger.lock() as check_lock:
        if not has_sound_manifest(out):
            findings.append(Finding("corrupt", ".run/manifest.parquet", "damaged or changed; written anew"))
            note(findings[0])
            prepared.manifest.write(ledger.folder.manifest)
        restore_splits(ledger, _units(prepared))
        for finding in Inspection(ledger, _units(prepared), Looker(deep=deep)):
            findings.append(finding)
            note(finding)
        withdraw_damaged(ledger, findings)
        ledger.delete_orphans()
        done = ledger.receipts()
        before = {receipt.unit for receipt in done}
        report.begin(prepared, sum(receipt.frames for receipt in done))
        render_units(prepared, ledger, _concerned(ledger, prepared), report, check_lock)
        ledger.delete_orphans()
    new = [receipt for receipt in ledger.receipts() if receipt.unit not in before]
    return Repair(tuple(findings), sum(one.frames for one in new), sum(len(one.quarantined) for one in new))


def _units(prepared: Prepared) -> Iterator[Unit]:
    return plan_units(prepared.manifest.walks, prepared.plan)


def _concerned(ledger: Ledger, prepared: Prepared) -> Iterator[Unit]:
    """Yield the units without a commit, except retries of frames in quarantine that were never committed."""
    withdrawn = ledger.withdrawn()
    for unit in ledger.outstanding(_units(prepared)):
        if not unit.id.endswith("-r") or unit.id in withdrawn:
            yield unit


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
        if found := ledger.compaction_of(slot):  # a compact file is right as a whole, or not at all
            compactions.add(found.file)
            roots |= {unit for unit, _ in found.units}
    below = {slot for slot in records if any(slot.startswith(f"{root}-") for root in _prefixes(slot) & roots)}
    going = roots | below
    kept = {ledger.file_of(other) for name, other in records.items() if other is not None and name not in going}
    for slot in sorted(going, key=len, reverse=True):
        receipt = records.get(slot)
        file = ledger.file_of(receipt) if receipt is not None else None
        ledger.withdraw(slot, sorted(({file} if file else set(ledger.shards_of([slot]))) - kept))
    for name in compactions:  # the last, so that a repair in between finds a record without its units
        ledger.withdraw_compaction(name)


def _prefixes(slot: str) -> set[str]:
    """Return the slots above a slot: of 00007-0-r these are 00007-0 and 00007."""
    parts = slot.split("-")
    return {"-".join(parts[:end]) for end in range(1, len(parts))}
