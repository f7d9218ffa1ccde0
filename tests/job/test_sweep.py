"""Sweeps against itertools, decimals and numpy."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core.digests import file_name_key
from render.core.errors import JobError
from render.job.sweep import NAME_BYTES, Sweep, parse_sweep
from render.manifest.kinds import WALK_NAME

FORM = "a range of finite numbers as 0..9 or 1..10..0.5 (a text with '..' goes into a list)"
MOST = "at most 10,000 points, or a higher limit in the job"
EQUAL = "equally many values of every column of a group"
GROUP = "columns with their values, as {guidance: 1..9}"
SHORT = "numbers of at most 40 digits before and behind the point"
CELL = "a text without control codes or a finite number"


def values(cells: Any) -> list[Any]:
    return [point["c"] for point in parse_sweep([{"c": cells}]).points()]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0..9", list(range(10))),
        (
            "1..10..0.5",
            [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0, 7.5, 8.0, 8.5, 9.0, 9.5, 10.0],
        ),
        ("0..0.3..0.1", [0.0, 0.1, 0.2, 0.3]),  # not 0.30000000000000004
        ("5..1..-2", [5, 3, 1]),
        ("-1..1", [-1, 0, 1]),
        ("-0.5..0.5..0.5", [-0.5, 0.0, 0.5]),
        ("1.0..3.0", [1.0, 2.0, 3.0]),  # written as decimals: floats
        ("0...5...25", [0.0, 0.25, 0.5]),  # .5 and .25
        (" 0 .. 2 ", [0, 1, 2]),
        ("7..7", [7]),
        ("0..2e3..1e3", [0, 1000, 2000]),
        ("9007199254740992..9007199254740994", [2**53, 2**53 + 1, 2**53 + 2]),  # no way by floats
        ("+1..2", [1, 2]),
    ],
)
def test_ranges(text: str, numbers: list[float]) -> None:
    assert values(text) == numbers
    assert [type(number) for number in values(text)] == [type(number) for number in numbers]


@given(st.integers(-1000, 1000), st.integers(0, 300), st.integers(-500, 500).filter(bool), st.integers(1, 4))
def test_a_range_is_exact(first: int, steps: int, step: int, digits: int) -> None:
    unit = Decimal(1).scaleb(-digits)
    start, stride = first * unit, step * unit
    got = values(f"{start:f}..{start + steps * stride:f}..{stride:f}")
    assert got == [float(start + index * stride) for index in range(steps + 1)]
    np.testing.assert_allclose(got, np.linspace(float(start), float(start + steps * stride), steps + 1), atol=1e-12)


def test_product_order() -> None:
    sweep = parse_sweep([{"guidance": "0.25..20..0.25"}, {"seed": [1, 5], "steps": [10, 20]}, {"scheduler": "ddim"}])
    expected = [
        {"guidance": number / 4, "seed": seed, "steps": steps, "scheduler": "ddim"}
        for number, (seed, steps) in product(range(1, 81), [(1, 10), (5, 20)])
    ]
    assert sweep.count == len(expected) == 160
    assert list(sweep.points()) == expected
    assert next(islice(sweep.names(), 3, None)) == "guidance=0.5 seed=5 steps=20 scheduler=ddim"
    assert [axis.name for axis in sweep.axes] == ["guidance", "seed, steps", "scheduler"]
    assert sweep.axes[0].labels[:2] == ("0.25", "0.5")
    assert sweep.axes[1].labels == ("1, 10", "5, 20")


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_no_sweep_is_one_point(nothing: Any) -> None:
    sweep = parse_sweep(nothing)
    assert (sweep, sweep.count, list(sweep.points()), list(sweep.names())) == (Sweep(), 1, [{}], [""])


@pytest.mark.parametrize(
    ("groups", "names"),
    [
        ([{"seed": [3]}], ["seed=3"]),
        ([{"prompt": ["a cat", "a dog"]}], ["prompt=a cat", "prompt=a dog"]),
        ([{"prompt": ["a cat", "a very long prompt about a dog"]}], ["prompt#1", "prompt#2"]),
        ([{"prompt": ["a/b", "c"]}], ["prompt#1", "prompt#2"]),
        ([{"prompt": ["two\nlines", "c"]}], ["prompt#1", "prompt#2"]),
        ([{"prompt": ["", "c"]}], ["prompt#1", "prompt#2"]),
        ([{"prompt": ["Cat", "cat"]}], ["prompt#1", "prompt#2"]),  # one file on some file systems
        ([{"prompt": ["1", 1]}], ["prompt#1", "prompt#2"]),
        ([{"a": ["x" * 30, "y" * 30, "x" * 30], "b": [1, 2, 3]}], ["a#1 b=1", "a#2 b=2", "a#1 b=3"]),
        ([{f"column_number_{n}": ["some long text"]} for n in range(3)], ["point#1"]),
        ([{"a": ["x", "x b=y"]}, {"b": ["z", "y b=z"]}], ["a#1 b#1", "a#1 b#2", "a#2 b#1", "a#2 b#2"]),  # once each
    ],
)  # fmt: skip
def test_names(groups: Any, names: list[str]) -> None:
    assert list(parse_sweep(groups).names()) == names


cells = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text("ab =é/", max_size=5),
    st.sampled_from(["x" * 30, "..", " "]),
)
columns = st.sampled_from(["a", "b", "A", "é ", "prompt", "x=y", "b b"])


@given(st.lists(st.dictionaries(columns, st.lists(cells, min_size=1, max_size=3), min_size=1, max_size=2), max_size=3))
def test_names_are_distinct_file_names(groups: list[dict[str, Any]]) -> None:
    try:
        sweep = parse_sweep(groups)
    except JobError:
        return
    names = list(sweep.names())
    assert len({file_name_key(name) for name in names}) == len(names) == sweep.count == len(list(sweep.points()))
    for name in names:
        assert len(name.encode()) <= NAME_BYTES
        assert WALK_NAME.parse(f"walk {name}".strip())


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (3, "sweep: required a list of groups; got 3"),
        ({"seed": 1}, "sweep: required a list of groups; got {'seed': 1}"),
        (["seed"], f"sweep[0]: required {GROUP}; got 'seed'"),
        ([{"seed": 1}, {}], f"sweep[1]: required {GROUP}; got an empty group"),
        ([{"seed": []}], "sweep[0].seed: required at least one value; got an empty list"),
        ([{"seed": [1, 2], "steps": "1..3"}], f"sweep[0]: required {EQUAL}; got 2 of seed, 3 of steps"),
        ([{"seed": 1}, {"steps": 2}, {"seed": 3}], "sweep[2].seed: required a column in one group; got it in sweep[0], too"),
        ([{"walk": "x"}], "sweep[0]: required a column other than 'walk': walks are named after the points; got it"),
        ([{"sweep": "x"}], "sweep[0]: required a column other than 'sweep': it holds the points' names; got it"),
        ([{7: 1}], "sweep[0]: required a column's name, fit for a file name and at most 40 bytes; got 7"),
        ([{"a/b": 1}], "sweep[0]: required a column's name, fit for a file name and at most 40 bytes; got 'a/b'"),
        ([{"seed": None}], f"sweep[0].seed: required {CELL}; got None"),
        ([{"seed": [1, True]}], f"sweep[0].seed[1]: required {CELL}; got True"),
        ([{"g": [float("nan")]}], f"sweep[0].g[0]: required {CELL}; got nan"),
        ([{"g": float("inf")}], f"sweep[0].g: required {CELL}; got inf"),
        ([{"g": ["\0"]}], f"sweep[0].g[0]: required {CELL}; got '\\x00'"),
        ([{"g": {"a": 1}}], f"sweep[0].g: required {CELL}; got {{'a': 1}}"),
        ([{"g": "0..inf"}], f"sweep[0].g: required {FORM}; got '0..inf'"),
        ([{"g": "1..2..3..4"}], f"sweep[0].g: required {FORM}; got '1..2..3..4'"),
        ([{"g": "1..2..0"}], "sweep[0].g: required a step above 0; got 0 in '1..2..0'"),
        ([{"g": "1..2..-1"}], "sweep[0].g: required a step above 0; got -1 in '1..2..-1'"),
        ([{"g": "2..1"}], "sweep[0].g: required a step below 0 to come down to the last number; got 1 in '2..1'"),
        ([{"g": "0..10..3"}], "sweep[0].g: required steps that reach the last number, 10; got 9 as the last in '0..10..3'"),
        ([{"g": "0..1..1e-50"}], f"sweep[0].g: required {SHORT}; got '0..1..1e-50'"),
        ([{"g": "0..1e39"}], f"sweep[0].g: required {MOST}; got more in '0..1e39'"),
        ([{"g": "1..10001"}], f"sweep[0].g: required {MOST}; got more in '1..10001'"),
        ([{"a": "1..200"}, {"b": "1..100"}], f"sweep: required {MOST}; got 20,000 points (200 × 100)"),
        ([{"g": [1, 2, 1.0]}], "sweep[0]: required every point once; got 1.0 as value 1 and 3"),
    ],
)  # fmt: skip
def test_refused(value: Any, error: str) -> None:
    with pytest.raises(JobError) as caught:
        parse_sweep(value)
    assert str(caught.value) == error


def test_all_errors_at_once() -> None:
    with pytest.raises(JobError) as caught:
        parse_sweep([{"a": "2..1", "b": []}, {}, {"c": [None, "x", None]}], where="job.yaml: key 'sweep'")
    lines = str(caught.value).splitlines()
    assert [line.split(": required")[0] for line in lines] == [
        "job.yaml: key 'sweep'[0].a",
        "job.yaml: key 'sweep'[0].b",
        "job.yaml: key 'sweep'[1]",
        "job.yaml: key 'sweep'[2].c[0]",
        "job.yaml: key 'sweep'[2].c[2]",
    ]


def test_the_limit_is_the_job_s() -> None:
    assert parse_sweep([{"a": "1..10000"}]).count == 10_000
    assert parse_sweep([{"a": "1..200"}, {"b": "1..100"}], limit=20_000).count == 20_000
    with pytest.raises(JobError, match="at most 3 points"):
        parse_sweep([{"a": [1, 2, 3, 4]}], limit=3)
