"""Weights in prompts: `(word:1.3)`, `((word))` and `[word]` → parts of text, each with its weight."""

from __future__ import annotations

import re
from typing import TypeAlias

from render.core.errors import InputError

__all__ = ["SYNTAXES", "WEIGHT_MAX", "WeightedText", "parse_weights"]

SYNTAXES = ("plain", "weighted")  # of prompts: every sign is text, or brackets give weights
WEIGHT_MAX = 10.0  # of a part, in either direction; larger ones leave no picture
STRONGER = 1.1  # weight of a pair of round brackets; a pair of square ones divides by it
WeightedText: TypeAlias = tuple[tuple[str, float], ...]  # (text, weight), neighbours of other weights

SIGN = re.compile(
    r"""(?P<escaped>\\[()\[\]\\])
    | :\s*(?P<weight>[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))\s*\)
    | (?P<bracket>[()\[\]])
    | [^\\()\[\]:]+ | [:\\]""",
    re.VERBOSE,
)
SCHEDULE = re.compile(r"\[.*(?:\|.*|:\s*[0-9]*\.?[0-9]+\s*)\]", re.DOTALL)  # [a:b:0.5], [a|b]: no weight


def parse_weights(prompt: str) -> WeightedText:
    r"""Return the parts of a prompt with their weights, by the rules of AUTOMATIC1111's web UI.

    A pair of round brackets multiplies the weight by 1.1, or by the number in `(word:1.3)`; a pair of square brackets
    divides it by 1.1. A bracket that is not closed reaches to the end. Behind a backslash a bracket is text. `[a:b:0.5]`
    and `[a|b]`, which change a prompt during sampling there, stay text. Raises InputError for a weight beyond WEIGHT_MAX.

    >>> parse_weights(r"an (important:1.3) [minor] word \(1990\), [cat|dog]")
    (('an ', 1.0), ('important', 1.3), (' ', 1.0), ('minor', 0.9090909090909091), (' word (1990), [cat|dog]', 1.0))
    """
    parts: list[tuple[str, float]] = []
    opened: dict[str, list[tuple[int, int]]] = {"(": [], "[": []}  # (number of its part, place in the prompt)
    for found in SIGN.finditer(prompt):
        sign = found[0]
        if sign in opened:
            opened[sign].append((len(parts), found.start()))
            parts.append(("", 1.0))  # becomes the bracket again if it is text
        elif not found["escaped"] and sign.endswith(")") and opened["("]:
            _scale(parts, opened["("].pop()[0], float(found["weight"] or STRONGER))
        elif sign == "]" and opened["["]:
            first, place = opened["["].pop()
            if SCHEDULE.fullmatch(prompt, place, found.end()):
                parts[first] = "[", parts[first][1]
                parts.append((sign, 1.0))
            else:
                _scale(parts, first, 1 / STRONGER)
        else:
            parts.append((sign[1] if found["escaped"] else sign, 1.0))
    for sign, factor in (("(", STRONGER), ("[", 1 / STRONGER)):
        for first, _ in opened[sign]:
            _scale(parts, first, factor)
    return _merge(parts)


def _scale(parts: list[tuple[str, float]], first: int, factor: float) -> None:
    parts[first:] = [(text, weight * factor) for text, weight in parts[first:]]


def _merge(parts: list[tuple[str, float]]) -> WeightedText:
    """Join neighbours of one weight. Raises InputError for a weight beyond WEIGHT_MAX."""
    merged: list[tuple[str, float]] = []
    for text, weight in parts:
        if not text:
            continue
        if abs(weight) > WEIGHT_MAX:
            required = f"weights of {-WEIGHT_MAX:g} … {WEIGHT_MAX:g}"
            raise InputError(f"prompt: required {required}, got {weight:g} for {text.strip()[:60]!r}")
        if merged and merged[-1][1] == weight:
            merged[-1] = merged[-1][0] + text, weight
        else:
            merged.append((text, weight))
    return tuple(merged)
