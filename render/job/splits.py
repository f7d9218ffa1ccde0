"""Parse the job's key `splits`: the share of every split of the data set. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from render.core import SPLIT_REQUIRED, shorten, split_meant

__all__ = ["parse_splits"]

KEY = "splits"
ROUNDING = 1e-6  # by which shares may miss 1


def parse_splits(settings: Iterable[tuple[str, str, Any]], errors: list[str]) -> dict[str, float]:
    """Return split → its share, from the (place, key, value) of all keys in their order; {} for none.

    Adds what is wrong to `errors`. A value of `splits` replaces those before it; one of `splits.NAME` adds to them, or
    changes one.

    >>> parse_splits([("job", "splits", {"train": 0.9, "test": 0.1})], [])
    {'train': 0.9, 'test': 0.1}
    """
    found: dict[str, float] = {}
    before, last = len(errors), KEY
    for where, key, value in settings:
        if key.partition(".")[0] != KEY:
            continue
        last = where
        given = value if key == KEY else {key.removeprefix(f"{KEY}."): value}
        if given is not None and not isinstance(given, dict):
            required = "names with shares, such as {train: 0.9, test: 0.1}"
            errors.append(f"{where}: key {KEY!r}: required {required}; got {shorten(repr(given))}")
            continue
        found = found if key != KEY else {}
        for name, share in (given or {}).items():
            if fault := _fault(name, share):
                errors.append(f"{where}: key {shorten(repr(f'{KEY}.{name}'))}: {fault}")
            else:
                found[str(split_meant(name))] = float(share)
    total = math.fsum(found.values())
    if found and len(errors) == before and abs(total - 1) > ROUNDING:
        shares = ", ".join(f"{name} {share:g}" for name, share in found.items())
        errors.append(f"{last}: key {KEY!r}: required shares that add up to 1; got {total:g} ({shares})")
    return found


def _fault(name: object, share: object) -> str:
    """Return what is wrong with one entry, "" for nothing."""
    if not isinstance(name, str) or split_meant(name) is None:
        return f"required {SPLIT_REQUIRED}; got {shorten(repr(name))}"
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        return f"required a share above 0, up to 1; got {shorten(repr(share))}"
    return ""
