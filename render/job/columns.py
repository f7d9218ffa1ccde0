"""Parse the job's key `columns`: what the columns of its table are called here. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from render.core import JobError

__all__ = ["is_of_columns", "parse_columns"]

KEY = "columns"


def is_of_columns(key: str) -> bool:
    """Return True for the key `columns` and for `columns.NAME`, one entry of it."""
    return key == KEY or key.startswith(f"{KEY}.")


def parse_columns(settings: Iterable[tuple[str, str, Any]], errors: list[str]) -> dict[str, str]:
    """Return name in the table → our column, a label or `ignore`, from (place, key, value) in their order.

    A value of `columns` replaces those before it; one of `columns.NAME` adds to them. Adds what is wrong to `errors`.

    >>> parse_columns([("job", "columns", {"cfgs": "guidance"}), ("override", "columns.file", "ignore")], [])
    {'cfgs': 'guidance', 'file': 'ignore'}
    """
    found: dict[str, str] = {}
    for where, key, value in settings:
        try:
            found = _mapping(value) if key == KEY else found | _mapping({key.removeprefix(f"{KEY}."): value})
        except JobError as error:
            errors.append(f"{where}: key {key!r}: {error}")
    return found


def _mapping(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise JobError(
            f"required names with what they are, such as {{cfgs: guidance, filename: ignore}}; got {value!r}"
        )
    return dict(value)
