"""Job files and overrides as dotted keys with values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from render.recipe import JobError

__all__ = ["check_section", "leaves", "override", "read_yaml"]


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"{path}: required a job file, got no such file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise JobError(f"{path}: required a YAML file, got {error}") from error
    if not isinstance(value, dict):
        raise JobError(f"{path}: required a mapping of keys, got {type(value).__name__}")
    return value


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise JobError(f"override {text!r}: required key=value, got no '='")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise JobError(f"override {text!r}: required a YAML value after '=', got {value!r}") from error


def check_section(overrides: Sequence[str], section: str) -> None:
    """Raises JobError for every override of a key outside a section: all else is as it was when the images were made."""
    others = [text for text in overrides if not override(text)[0].startswith(f"{section}.")]
    if others:
        raise JobError("\n".join(f"override {text!r}: required a key of {section}.*, got another" for text in others))
