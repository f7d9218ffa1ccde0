"""Rebuild commit records from the rows of files that are whole."""

from __future__ import annotations

from collections.abc import Sequence

from render.core import Frame, Receipt, Unit
from render.mending.contents import Row

__all__ = ["first_run", "receipt_of"]


def receipt_of(unit: Unit, taken: Sequence[int], rows: Sequence[Row], name: str, file: tuple[int, str]) -> Receipt:
    """Return the receipt of rows that are the frames at the places `taken` of a unit; `file` is (bytes, SHA-256).

    The other frames of the unit count as failed. What the rows don't say, such as the host, stays empty.
    """
    shifts = [0] * len(unit.frames)
    for place, row in zip(taken, rows, strict=True):
        shifts[place] = row.seed_shift
    return Receipt(
        unit=unit.id,
        file=name,
        frames=len(taken),
        size_bytes=file[0],
        sha256=file[1],
        seconds=rows[0].render_ms * len(unit.frames) / 1000,
        batch_rows=rows[0].batch_rows,
        blank=tuple(place for place, row in zip(taken, rows, strict=True) if row.blank),
        quarantined=tuple(sorted({*range(len(unit.frames))} - {*taken})),
        exact=all(row.exact for row in rows),
        seed_shifts=tuple(shifts) if any(shifts) else (),
    )


def first_run(unit: Unit, rows: Sequence[Row]) -> list[int]:
    """Return the places in a unit of the first rows, as far as they are frames of it in their order."""
    places = {(frame.walk, frame.index): place for place, frame in enumerate(unit.frames)}
    taken: list[int] = []
    for row in rows:
        place = places.get((row.walk, row.frame))
        if place is None or (taken and place <= taken[-1]) or row.key != _key(unit.frames[place], row.seed_shift):
            break
        taken.append(place)
    return taken


def _key(frame: Frame, shift: int) -> str:
    return frame.recipe.with_seeds(shift - frame.seed_shift).key
