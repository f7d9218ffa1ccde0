"""What a target of an export is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from render.export.work import Part, Sample, Work

__all__ = ["Target"]


def _nothing(work: Work) -> None:
    """Write nothing more."""


@dataclass(frozen=True, slots=True)
class Target:
    """One form that frames are exported in. A part that is written twice has the same files as one written once."""

    name: str
    meaning: str  # for the help and the card
    write_part: Callable[[Work, Part, Iterator[Sample]], None]  # takes all samples of the part
    files: Callable[[str], str]  # split → pattern of its files, for the card
    finish: Callable[[Work], None] = _nothing
    rows: int | None = None  # pictures of a part at most; None: their bytes decide
    reserved: frozenset[str] = frozenset()  # names that no column may have
    reserved_ends: tuple[str, ...] = ()  # endings that no column's name may have
    missing: Callable[[], str] = lambda: ""  # says which library has to be installed
    opening: str = ""  # Python that opens a split from the variable `folder`; SPLIT and FILES stand for strings
    is_dataset: bool = False  # `datasets.load_dataset` takes the folder by the header of its card
    has_records: bool = False  # Croissant can describe its records
