"""Commit records as values: the slots that they open, and the shards that they make superfluous."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_ledger import make_receipt, make_unit

from render.core import Receipt
from render.store.records import is_accounted, misfit, slots_of


def receipt(unit: str, **values: Any) -> Receipt:
    return replace(make_receipt(unit), **{"batch_rows": 8, **values})


def test_slots_of_lost_and_failed_frames() -> None:
    unit = make_unit(7)
    above = receipt("00007", file=None, frames=0, quarantined=(1,), lost=(0, 2, 3), seed_shifts=(5, 5, 5, 5))
    assert misfit(unit, above) == ""
    assert misfit(unit, receipt("00007", frames=1, quarantined=(1,), lost=(1, 2)))
    slots = {one.id: (one, found) for one, found in slots_of(unit, {"00007": above})}
    assert list(slots) == ["00007", "00007-a", "00007-r"]
    again, _ = slots["00007-a"]
    assert (again.seed_shifts, again.batch_rows, again.rows_are_fixed) == ((5, 5, 5), 8, True)
    retried, _ = slots["00007-r"]
    assert (retried.seed_shifts, retried.batch_rows, retried.rows_are_fixed) == ((), unit.batch_rows, False)


@pytest.mark.parametrize(
    ("slot", "is_told"),
    [
        ("00007", True), ("00007-0", True), ("00008", False), ("00009-0", False), ("00009-r", True),
        ("00010-r", False), ("00010-a", True), ("00010-r-0", False), ("00011", False),
    ],
)  # fmt: skip
def test_a_superfluous_shard_is_one_whose_frames_are_told(slot: str, is_told: bool) -> None:
    records = {
        "00007": receipt("00007"),
        "00009": None,
        "00010": receipt("00010", frames=3, quarantined=(1,)),
        "00011": receipt("00011", lost=(0,)),
    }
    assert is_accounted(slot, records) == is_told
