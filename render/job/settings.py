"""Read job files and overrides as dotted keys with values; hide from OmegaConf text that it would interpret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from render.core import JobError, shorten, why_unreadable, without_secrets
from render.job.yaml_text import TEXT_MAX, YamlError, parse_yaml

__all__ = [
    "check_section",
    "hide_signs",
    "is_secret",
    "is_whole",
    "leaves",
    "override",
    "public",
    "read_yaml",
    "show_signs",
    "shown",
]

SECRET = "notify"  # the key whose values are secret
NOT_SECRET = {"notify_on", "notify_stalled_s"}
WHOLE = ("sweep", "columns", "splits")  # keys whose values are not split into further keys, even when they are mappings
STAND_INS = {"$": "\udc24", "?": "\udc3f"}  # halves of surrogate pairs, which no file or command line in UTF-8 holds
HIDE = str.maketrans(STAND_INS)
SHOW = str.maketrans({stand_in: sign for sign, stand_in in STAND_INS.items()})


def read_yaml(path: Path) -> dict[str, Any]:
    if why := why_unreadable(path):
        none = why == "no such file or directory"
        required, got = ("a job file", "no such file") if none else ("a YAML file", why)
        raise JobError(f"{shorten(path)}: required {required}, got {got}")
    try:
        with path.open(encoding="utf-8") as file:
            value = parse_yaml(file.read(TEXT_MAX + 1))
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise JobError(f"{path}: required a YAML file, got {error}") from error
    if not isinstance(value, dict):
        raise JobError(f"{path}: required a mapping of keys, got {type(value).__name__}")
    return value


def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of every leaf of a nested mapping."""
    for key, value in tree.items():
        if isinstance(value, dict) and value and f"{prefix}{key}" not in WHOLE:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def is_whole(key: str) -> bool:
    """Return True for a key whose value has a parser of its own, and for one entry of it: `columns`, `columns.NAME`."""
    return key.partition(".")[0] in WHOLE


def override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise JobError(f"override {shorten(repr(shown(text)))}: required key=value, got no '='")
    try:
        return key, parse_yaml(value)
    except YamlError as error:
        required = f"override {shorten(repr(shown(text)))}: required a YAML value after '='"
        if is_secret(key):
            raise JobError(f"{required}, got another text") from None
        why = str(error).splitlines()[0]
        raise JobError(f"{required}, got {shorten(repr(value))} ({why})") from error


def is_secret(key: str) -> bool:
    """Return True for the key whose values are secret, also where its name is mistyped.

    >>> is_secret("notify"), is_secret("notfy"), is_secret("notify_on"), is_secret("output")
    (True, True, False, False)
    """
    return key not in NOT_SECRET and bool(difflib.get_close_matches(key, [SECRET], 1, 0.7))


def shown(text: str) -> str:
    """Return an override as errors show it.

    >>> shown("notify=[tgram://TOKEN/1]"), shown("output=s3://KEY:SECRET@bucket/out")
    ('notify=…', 'output=s3://…@bucket/out')
    """
    key = re.split(r"[=:\s]", text, maxsplit=1)[0]
    return f"{key}=…" if is_secret(key) else without_secrets(text)


def public(overrides: Sequence[str]) -> list[str]:
    """Return overrides as a command that is shown may have them: without those that are secret."""
    return [without_secrets(text) for text in overrides if not is_secret(text.partition("=")[0])]


def hide_signs(value: Any) -> Any:
    """Replace `$` and `?` by stand-ins, so that OmegaConf takes `${…}` and `???` as text. Raises JobError for a stand-in.

    >>> show_signs(hide_signs(["${x}", {"path": "???"}]))
    ['${x}', {'path': '???'}]
    """
    if isinstance(value, str):
        if any(stand_in in value for stand_in in STAND_INS.values()):
            raise JobError(f"required text in UTF-8, got {value!r}")
        return value.translate(HIDE)
    if isinstance(value, dict):
        return {name: hide_signs(part) for name, part in value.items()}
    return [hide_signs(part) for part in value] if isinstance(value, list) else value


def show_signs(value: Any) -> Any:
    """Undo hide_signs, in values that were made of hidden ones too: paths, tuples, dataclasses."""
    if isinstance(value, str):
        return value.translate(SHOW)
    if isinstance(value, Path):
        return Path(str(value).translate(SHOW))
    if isinstance(value, dict):
        return {name: show_signs(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(show_signs(part) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{part.name: show_signs(getattr(value, part.name)) for part in fields(value)})
    return value


def check_section(overrides: Sequence[str], section: str) -> None:
    """Raise JobError for overrides outside one section: all other keys stay as they were when the images were made."""
    others = [text for text in overrides if not override(text)[0].startswith(f"{section}.")]
    if others:
        raise JobError(
            "\n".join(f"override {shown(text)!r}: required a key of {section}.*, got another" for text in others)
        )
