"""YAML text → plain values, in bounded time and memory; what may be meant in two ways is refused."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml

__all__ = ["TEXT_MAX", "YamlError", "parse_yaml"]

TEXT_MAX = 8 * 2**20  # characters
DEPTH_MAX = 50  # of nested lists and mappings
REPEATED_MAX = 100_000  # nodes that aliases repeat; each alias of a group repeats all that is in it
INTEGER_BITS = 1000  # about 300 digits
MERGE = "tag:yaml.org,2002:merge"
BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same values by the C library, where PyYAML has it


class YamlError(ValueError):
    """A text that is no YAML, or is refused; the message says what was got."""


class Loader(BASE):  # type: ignore[misc]
    """Loader of plain values that refuses twin keys, and scalars that Python can't make a value of."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping, every key of it once; `<<` may give a key that stands there as well."""
        lines: dict[Hashable, int] = {}
        for name, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            key = None if name.tag == MERGE else self.construct_object(name, deep=True)
            if key is None or not isinstance(key, Hashable):
                continue
            line = name.start_mark.line + 1
            if key in lines:
                raise YamlError(f"key {key!r} on line {lines[key]} and again on line {line}")
            lines[key] = line
        found: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return found

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep)
        except YamlError:
            raise
        except (ValueError, OverflowError, AttributeError, KeyError, IndexError) as error:
            digits = f"an integer of {len(node.value):,} digits" if "digits" in str(error) else str(error)
            raise YamlError(f"{digits} on line {node.start_mark.line + 1}") from error
        if isinstance(value, int) and value.bit_length() > INTEGER_BITS:
            raise YamlError(f"an integer of more than 300 digits on line {node.start_mark.line + 1}")
        return value


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text: lists, dictionaries and scalars. Raises YamlError.

    >>> parse_yaml("{steps: 20, seeds: [1, 2]}")
    {'steps': 20, 'seeds': [1, 2]}
    """
    if len(text) > TEXT_MAX:
        raise YamlError(f"{len(text):,} characters, over {TEXT_MAX:,} (rows belong in a manifest)")
    try:
        _check_shape(text)
        return yaml.load(text, Loader)  # a subclass of the safe loader
    except yaml.YAMLError as error:
        raise YamlError(", ".join(line.strip() for line in str(error).splitlines())) from error
    except UnicodeEncodeError as error:  # halves of surrogate pairs, as a command line in another encoding has them
        raise YamlError("text that is not in UTF-8") from error


def _check_shape(text: str) -> None:
    """Refuse deep nesting, an anchor inside itself and aliases that repeat too much, without building anything."""
    sizes: dict[str, int] = {}  # of each finished anchor: the nodes below it, aliases written out
    inside: list[tuple[str | None, int]] = []  # the open groups: anchor, nodes so far
    repeated = 0
    for event in yaml.parse(text, BASE):
        count = 1
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, 1))
            sizes.pop(event.anchor or "", None)
            if len(inside) > DEPTH_MAX:
                raise YamlError(f"more than {DEPTH_MAX} levels on line {_line(event)}")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, count = inside.pop()
        elif isinstance(event, yaml.AliasEvent):
            anchor, count = None, sizes.get(event.anchor or "", 0)
            if not count and event.anchor in (name for name, _ in inside):
                raise YamlError(f"anchor {event.anchor!r} inside of itself on line {_line(event)}")
            repeated += count
        elif isinstance(event, yaml.ScalarEvent):
            anchor = event.anchor
        else:
            continue
        if anchor:
            sizes[anchor] = count
        if repeated > REPEATED_MAX or count > 10 * TEXT_MAX:
            raise YamlError(f"aliases that repeat over {REPEATED_MAX:,} values, by line {_line(event)}")
        if inside:
            inside[-1] = inside[-1][0], inside[-1][1] + count


def _line(event: Any) -> int:
    line: int = event.start_mark.line + 1
    return line
