"""Templates of the pages: Jinja2 with everything escaped, and what they all need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from render.core import counted

__all__ = ["STATIC", "page", "shown_value"]

STATIC = resources.files("render.view") / "static"


def page(template: str, values: Mapping[str, Any]) -> str:
    """Return a page of `templates/`. Every value in it is escaped."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("render.view", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    found.filters |= {
        "value": shown_value,
        "json": json.dumps,
        "part": lambda text: quote(str(text), safe=""),
        "path": quote,
    }
    found.globals |= {"counted": counted}
    return found


def _printable(value: Any) -> Any:
    """Return a value without signs that no page may have; what is marked as safe stays."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in value)


def shown_value(value: Any) -> str:
    """Return a value of a column as text.

    >>> shown_value(0.123456789), shown_value(None), shown_value(True), shown_value(3.0)
    ('0.123457', '–', 'yes', '3')
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return str(value)
