"""Parse the job's key `columns`: what the columns of its table are called here. Standard library only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from render.core import JobError, shorten

__all__ = ["parse_columns"]

KEY = "columns"


def parse_columns(settings: Iterable[tuple[str, str, Any]], errors: list[str]) -> dict[str, str]:
    """Return name in the table → our column, a label or `ignore`, from the (place, key, value) of all keys in their order.

    A value of `columns` replaces those before it; one of `columns.NAME` adds to them. Adds what is wrong to `errors`.

    >>> parse_columns([("job", "columns", {"cfgs": "guidance"}), ("override", "columns.file", "ignore")], [])
    {'cfgs': 'guidance', 'file': 'ignore'}
    """
    found: dict[str, str] = {}
    for where, key, value in settings:
        if key.partition(".")[0] != KEY:
            continue
        try:
            found = _mapping(value) if key == KEY else found | _mapping({key.removeprefix(f"{KEY}."): value})
        except JobError as error:
            errors.append(f"{where}: key {shorten(repr(key))}: {error}")
    return found


def _mapping(value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise JobError(
            f"required names with what they are, such as {{cfgs: guidance, filename: ignore}}; got {shorten(repr(value))}"
        )
    return dict(value)
