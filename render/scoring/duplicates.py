"""Find groups of near-duplicates by their perceptual hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["DISTANCE", "SCHEMA", "near_duplicates"]

DISTANCE = 5  # bits of 64 that near-duplicates differ in at most
CHUNK = 2048  # hashes of one band that are compared at once
SCHEMA = pa.schema([("key", pa.string()), ("near_group", pa.string()), ("near_count", pa.int32())])


def near_duplicates(keys: Sequence[str], hashes: Sequence[str]) -> pa.Table:
    """Return a table of SCHEMA: the first key of each frame's group, and how many frames the group has.

    Two frames are near-duplicates when at most DISTANCE bits of their hashes, 16 hexadecimal digits, differ. A group is
    what such pairs connect, so that its ends may differ more, as those of a walk do. A frame alone has no group.
    """
    numbers = np.asarray([int(one, 16) for one in hashes], np.uint64)
    different, place_of = np.unique(numbers, return_inverse=True)
    pairs = [*_pairs(different)]
    first = np.concatenate([a for a, _ in pairs] or [np.empty(0, np.int64)])
    second = np.concatenate([b for _, b in pairs] or [np.empty(0, np.int64)])
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(len(different), len(different)))
    _, group_of_hash = connected_components(graph, directed=False)
    group_of = group_of_hash[place_of] if len(numbers) else np.empty(0, np.int64)
    _, heads, places, counts = np.unique(group_of, return_index=True, return_inverse=True, return_counts=True)
    alone = counts[places] == 1
    names = [None if single else keys[heads[place]] for single, place in zip(alone, places, strict=True)]
    return pa.table([[*keys], names, counts[places].astype(np.int32)], schema=SCHEMA)


def _pairs(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (first, second) places of different hashes that are near.

    Of DISTANCE + 1 bands of bits at least one is equal in two hashes that are near: only those that share one are compared.
    """
    edges = np.linspace(0, 64, DISTANCE + 2).round().astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for members in np.split(order, starts[1:]):
            for begin in range(0, len(members), CHUNK):
                some = members[begin : begin + CHUNK]
                near = np.bitwise_count(hashes[some, None] ^ hashes[None, members]) <= DISTANCE
                a, b = np.nonzero(near)
                kept = some[a] < members[b]
                yield some[a][kept], members[b][kept]
