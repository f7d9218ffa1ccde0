"""Columns to combine: the values of each, and the conditions under which they are drawn."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

__all__ = ["PLACE", "ROWS_MAX", "Choice", "Combination", "Condition", "Options", "Range", "Spec", "Uniform", "filled"]

PLACE = re.compile(
    r"(?<!\$)\{([A-Za-z_]\w*)\}"
)  # `{colour}`, the value of a column above; `${x}` is dynamicprompts' own
ROWS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """Values to draw one of, and their weights."""

    values: tuple[Any, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Uniform:
    """A number between two others, both included: an integer if both are, else rounded to `decimals`."""

    low: float
    high: float
    decimals: int | None  # None: integers


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float


Choice: TypeAlias = Options | Uniform
Condition: TypeAlias = Mapping[str, tuple[Any, ...] | Range]  # column → its values; all columns have to hold


@dataclass(frozen=True, slots=True)
class Spec:
    """One column: the first of its cases that holds says what is drawn, or else `otherwise`."""

    name: str
    cases: tuple[tuple[Condition, Choice], ...]
    otherwise: Choice | None

    @property
    def choices(self) -> list[Choice]:
        return [choice for _, choice in self.cases] + ([self.otherwise] if self.otherwise else [])

    @property
    def values(self) -> list[Any]:
        """Every value that it can have, in order; of text with places, before these are filled."""
        own = [value for choice in self.choices if isinstance(choice, Options) for value in choice.values]
        return list({(type(value), value): value for value in own}.values())

    @property
    def is_open(self) -> bool:
        """True where the values are not known before they are drawn: numbers of a range, and text with places."""
        texts = (value for value in self.values if isinstance(value, str))
        return any(isinstance(choice, Uniform) for choice in self.choices) or any(map(PLACE.search, texts))


@dataclass(frozen=True, slots=True)
class Combination:
    """A combination file."""

    specs: tuple[Spec, ...]
    exclude: tuple[Condition, ...]
    count: int | Mapping[Any, int] | None  # rows of each, or in all; None: every combination once
    each: tuple[str, ...]  # columns whose values are the classes
    seed: int | None
    drop: frozenset[str]  # columns that the manifest does not get


def filled(value: Any, row: Mapping[str, Any]) -> Any:
    """Return a value with the columns of a row in its places.

    >>> filled("{size} {thing}, ${x}", {"size": 3, "thing": "cats"})
    '3 cats, ${x}'
    """
    if not isinstance(value, str):
        return value
    return PLACE.sub(lambda place: "" if row[place[1]] is None else str(row[place[1]]), value)
