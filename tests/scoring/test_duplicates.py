"""Groups of near-duplicates, against comparing every pair."""

from __future__ import annotations

import random
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from render.scoring.duplicates import DISTANCE, near_duplicates


def by_every_pair(hashes: list[int]) -> list[set[int]]:
    groups = [{place} for place in range(len(hashes))]
    for a, b in combinations(range(len(hashes)), 2):
        if (hashes[a] ^ hashes[b]).bit_count() <= DISTANCE and groups[a] is not groups[b]:
            groups[a] |= groups[b]
            for place in groups[b]:
                groups[place] = groups[a]
    return groups


def check(hashes: list[int]) -> None:
    keys = [f"key-{place}" for place in range(len(hashes))]
    found = near_duplicates(keys, [f"{one:016x}" for one in hashes]).to_pylist()
    for place, group in enumerate(by_every_pair(hashes)):
        wanted = f"key-{min(group)}" if len(group) > 1 else None
        assert found[place] == {"key": keys[place], "near_group": wanted, "near_count": len(group)}


@given(st.lists(st.integers(0, 2**64 - 1), max_size=8), st.integers(0, 2**32))
def test_groups_are_those_of_every_pair(seeds: list[int], number: int) -> None:
    draw = random.Random(number)
    hashes = list(seeds)
    for _ in range(20):
        if hashes:
            one = draw.choice(hashes)
            for bit in draw.sample(range(64), draw.randint(0, DISTANCE + 2)):
                one ^= 1 << bit
            hashes.append(one)
    check(hashes)


def test_many_equal_hashes_are_one_group() -> None:
    check([0] * 30 + [2**64 - 1] * 3 + [0b111111, 0b11111])
