"""Splits of a data set: their names, and a split for every prompt by its hash. Standard library only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping

__all__ = ["SPLIT_REQUIRED", "TRAIN", "hashed_split", "in_split_order", "split_meant"]

TRAIN = "train"  # of every frame, where nothing else is said
USUAL = (TRAIN, "validation", "test")  # in the order in which they are listed
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
KEPT = {
    "all",
    "none",
    "null",
    "nan",
    "na",
}  # `datasets` reads `all` as the sum of all splits; the others are empty cells
SPLIT_REQUIRED = "a name such as train, validation or test: 1 … 40 letters, digits and _, a letter first, and not all"


def split_meant(text: str) -> str | None:
    """Return the split that a text names, in lower case; None for one that can't be.

    A name is part of file names and of `datasets`' own syntax (`train[:10%]`), so signs are few.

    >>> [split_meant(text) for text in (" Test ", "fold_1", "all", "my-split", "1")]
    ['test', 'fold_1', None, None, None]
    """
    name = text.strip().lower()
    return name if NAME.fullmatch(name) and name not in KEPT else None


def hashed_split(prompt: str, splits: Mapping[str, float]) -> str:
    """Return the split of a prompt by its SHA-256: the same on every machine, whatever other prompts there are.

    `splits` are the shares, which add up to 1; a prompt moves only between splits whose shares, in order, change.

    >>> [hashed_split(f"prompt {number}", {"train": 0.5, "test": 0.5}) for number in range(4)]
    ['train', 'train', 'train', 'test']
    """
    place = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:8]) / 2**64
    end = 0.0
    for name, share in splits.items():
        end += share
        if place < end:
            return name
    return name  # the shares add up to a little less than 1


def in_split_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once: train, validation and test first, then the others as they come.

    >>> in_split_order(["extra", "test", "train", "test"])
    ('train', 'test', 'extra')
    """
    distinct = dict.fromkeys(names)
    return (*(name for name in USUAL if name in distinct), *(name for name in distinct if name not in USUAL))
