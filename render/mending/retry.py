"""Try frames in quarantine again, as they were planned or with other seeds or smaller batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from render.core import JobError, Receipt, Unit
from render.mending.inspect import check_store
from render.mending.take_back import take_back
from render.plan import plan_units
from render.prepare import Prepared, Report, Silent, begun_ledger, plain_end, prepare_again, render_units
from render.store import Ledger, is_retry, reach_output

__all__ = ["Retry", "reseed_blank", "retry_store"]

RESEEDS_MAX = 3  # other seeds that a blank frame is tried with


@dataclass(frozen=True, slots=True)
class Retry:
    """The outcome of a retry."""

    tried: int  # frames
    failed: int  # of those, frames that are in quarantine still


@plain_end()
def retry_store(
    out: str | Path,
    seed_shift: int = 0,
    batch_rows: int | None = None,
    report: Report | None = None,
    overrides: Sequence[str] = (),
) -> Retry:
    """Render the frames in quarantine again, and nothing else.

    `seed_shift` is added to the seeds of their noise. The store's columns `seed`, `recipe`, `key` and `seed_shift` then tell
    what was rendered, and so does the commit record; the manifest stays as it is. `batch_rows` is the batch size, by default
    the recorded one. `overrides` are `key=value` strings for what has moved: `media`, `workers.address`, `workers.count`,
    `workers.gpus`, and `id` and `loras` of a model.

    Raises StoreError when `out` is not an output folder, is damaged, or a run goes on in it; InputError for settings that
    can't be, and when models or media are not as they were; RunError when rendering can't go on.
    """
    out, report = reach_output(out), report or Silent()
    ledger = begun_ledger(out)

    def changed(unit: Unit) -> Unit:
        own = replace(unit, batch_rows=batch_rows or unit.batch_rows, rows_are_fixed=batch_rows is not None)
        return own.with_seeds([seed_shift] * len(unit.frames))

    with ledger.lock() as check_lock:
        prepared = prepare_again(out, overrides)
        _check(prepared, seed_shift, batch_rows)
        check_store(ledger, plan_units(prepared.manifest.walks, prepared.plan))
        check_lock()
        take_back(ledger, lambda: plan_units(prepared.manifest.walks, prepared.plan))
        ledger.delete_orphans()
        report.begin(prepared, sum(receipt.frames for receipt in ledger.receipts()))
        return retry_units(prepared, ledger, changed, report, check_lock)


def retry_units(
    prepared: Prepared,
    ledger: Ledger,
    changed: Callable[[Unit], Unit | None],
    report: Report,
    check_lock: Callable[[], None],
) -> Retry:
    """Render the units of frames in quarantine, each as `changed` returns it; None leaves it there."""
    before = {receipt.unit for receipt in ledger.receipts()}
    units = filter(None, map(changed, _in_quarantine(prepared, ledger)))
    render_units(prepared, ledger, units, report, check_lock)
    check_lock()
    ledger.delete_orphans()
    new = [receipt for receipt in ledger.receipts() if receipt.unit not in before]
    failed = sum(len(receipt.quarantined) for receipt in new)
    return Retry(sum(receipt.frames for receipt in new) + failed, failed)


def reseed_blank(prepared: Prepared, ledger: Ledger, report: Report, check_lock: Callable[[], None]) -> None:
    """Render frames again that came out in a single colour or not finite, with 1, 2 … RESEEDS_MAX added to their seeds.

    Frames of the same unit that failed otherwise are tried once more, as they were planned.
    """
    for shift in range(1, RESEEDS_MAX + 1):
        above = {receipt.unit: receipt for receipt in ledger.receipts() if {*receipt.blank} & {*receipt.quarantined}}

        def changed(unit: Unit, shift: int = shift, above: Mapping[str, Receipt] = above) -> Unit | None:
            receipt = above.get(unit.id.removesuffix("-r"))
            if receipt is None:
                return None
            return unit.with_seeds([shift if place in receipt.blank else 0 for place in receipt.quarantined])

        if not above or not retry_units(prepared, ledger, changed, report, check_lock).tried:
            return


def _in_quarantine(prepared: Prepared, ledger: Ledger) -> Iterator[Unit]:
    units = ledger.outstanding(plan_units(prepared.manifest.walks, prepared.plan))
    return (unit for unit in units if is_retry(unit.id))


def _check(prepared: Prepared, seed_shift: int, batch_rows: int | None) -> None:
    if not 0 <= seed_shift < 2**53:
        raise JobError(f"seed shift: required a number from 0 to 2^53 - 1, got {seed_shift}")
    if batch_rows is None:
        return
    if not 1 <= batch_rows <= 4096:
        raise JobError(f"batch rows: required a number from 1 to 4096, got {batch_rows}")
    if prepared.workforce.device == "cpu" and batch_rows & (batch_rows - 1):
        raise JobError(f"batch rows: required a power of two on a CPU, got {batch_rows}")
