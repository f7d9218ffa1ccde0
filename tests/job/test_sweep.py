"""Sweeps against itertools, decimals and numpy; the product with a manifest against a plain loop."""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby, islice, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core.digests import file_name_key
from render.core.errors import JobError, ManifestError
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.core.walk import MAIN
from render.job.sweep import NAME_BYTES, Sweep, parse_sweep
from render.manifest.cells import WALK_NAME
from render.manifest.problems import Problems
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.sweeping import axis_table, sweep_table
from render.manifest.table import RawTable
from render.models.families import SamplingDefaults

DEFAULTS = Defaults("", 24, "linear", "slerp", 0, Path("nowhere"))
MODELS = {MAIN: ModelRules(SizeRule(8, 8, 512), DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 64, 4, 3.0, "ddim"))}

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


def _chunks(column: Any) -> list[Any]:
    return [column[:2], column[2:]]


def raw_table(*, csv: bool = True, **cells: list[Any]) -> RawTable:
    columns = {name: pa.chunked_array(_chunks(pa.array(part))) for name, part in cells.items()}
    columns = {name: c.cast(pa.large_string()) if csv or name == "walk" else c for name, c in columns.items()}
    return RawTable(columns, np.arange(1, len(next(iter(cells.values()))) + 1) * 10, csv=csv)


def rows_of(table: RawTable) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.table(table.columns).to_pylist()
    return rows


def test_rows_of_the_product() -> None:
    raw = raw_table(walk=["", "w", "w", "v", None], prompt=["a", "b", "c", "d", "e"], seed=["9", "", "8", "7", "6"])
    sweep = parse_sweep([{"seed": [1, 2]}, {"guidance": "0.5..1..0.5"}])
    swept = sweep_table(raw, sweep, Problems("m.csv"))
    expected, numbers = [], []
    blocks = [(0, 1), (1, 3), (3, 4), (4, 5)]
    for (begin, end), (point, name) in product(blocks, list(zip(sweep.points(), sweep.names(), strict=True))):
        for row in rows_of(raw)[begin:end]:
            text = {column: str(value) for column, value in point.items()}
            walk = f"{row['walk']} {name}" if row["walk"] else row["walk"]
            expected.append({**row, **text, "sweep": name, "walk": walk})
        numbers += raw.rows[begin:end].tolist()
    assert rows_of(swept) == expected
    assert swept.rows.tolist() == numbers
    assert list(dict.fromkeys(row["walk"] for row in expected if row["walk"]))[:2] == [
        "w seed=1 guidance=0.5",
        "w seed=1 guidance=1.0",
    ]


@given(st.lists(st.sampled_from(["", "u", "v", None]), min_size=1, max_size=12), st.integers(1, 5))
def test_walks_stay_together(walks: list[str | None], points: int) -> None:
    table = RawTable({"walk": pa.chunked_array([pa.array(walks, pa.large_string())])}, np.arange(len(walks)), csv=True)
    swept = sweep_table(table, parse_sweep([{"seed": f"1..{points}"}]), Problems("m.csv"))
    expected = []
    for name, group in groupby(enumerate(walks), key=lambda item: item[1] or f"still {item[0]}"):
        indices = [index for index, _ in group]
        assert len(indices) == 1 or not name.startswith("still")
        expected += [index for _ in range(points) for index in indices]
    assert swept.rows.tolist() == expected
    assert len(swept.columns["walk"]) == len(walks) * points


def test_without_walks_or_groups() -> None:
    raw = raw_table(prompt=["a", "b", "c"])
    assert sweep_table(raw, Sweep(), Problems("m.csv")) is raw
    swept = sweep_table(raw, parse_sweep([{"prompt": ["x", "y"]}]), Problems("m.csv"))
    assert [(row["prompt"], row["sweep"]) for row in rows_of(swept)] == [("x", "prompt=x"), ("y", "prompt=y")] * 3


@pytest.mark.parametrize(
    ("cells", "csv", "kind"),
    [
        ([1, 2], False, pa.int64()),
        ([1, 2.5], False, pa.float64()),
        ([1, "x"], False, pa.large_string()),
        ([2.5, "x"], False, pa.large_string()),
        ([2**70, 1], False, pa.large_string()),  # the column's rule says what it thinks of it
        ([1, 2], True, pa.large_string()),  # all cells of a CSV are text
    ],
)
def test_types(cells: list[Any], csv: bool, kind: Any) -> None:
    (axis,) = parse_sweep([{"c": cells}]).axes
    table = axis_table(axis, csv)
    assert table.columns["c"].type == kind
    assert table.rows.tolist() == [1, 2]
    raw = raw_table(csv=csv, walk=[None, "w", "w"], age=[1, 2, 3])
    assert sweep_table(raw, Sweep((axis,)), Problems("m")).columns["c"].type == kind
    assert rows_of(sweep_table(raw, Sweep((axis,)), Problems("m")))[0]["c"] == table.columns["c"][0].as_py()


def test_a_broken_column_that_is_swept() -> None:
    raw = RawTable(raw_table(a=["", ""], b=["", ""]).columns, np.arange(2), broken=frozenset({"a", "b"}))
    assert sweep_table(raw, parse_sweep([{"a": 1}]), Problems("m")).broken == {"b"}


def errors_of(tmp_path: Path, text: str, groups: Any) -> list[str]:
    """But the heading."""
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, MODELS, parse_sweep(groups))
    heading, *lines = str(caught.value).replace(f"{path}", "m.csv").splitlines()
    assert heading == f"m.csv: {len(lines)} error{'s' if len(lines) > 1 else ''}"
    return lines


@pytest.mark.parametrize(
    ("groups", "where", "got"),
    [
        ([{"seed": "1..3"}, {"scheduler": ["ddim", "foo", "bar"]}], "group 2, column 'scheduler'", ["'foo'", "'bar'"]),
        ([{"width": [64, 65], "steps": [0, 2]}], "group 1, column ", ["'65'", "'0'"]),
        ([{"prompt": ["", "a"]}], "group 1, column 'prompt'", ["''"]),
        ([{"model": ["main", "xl"]}], "group 1, column 'model'", ["'xl'"]),
        ([{"image": ["no.png", "none.png"]}], "group 1, column 'image'", ["'no.png' (", "'none.png' ("]),
        ([{"guidence": "1..3"}], "group 1, column 'guidence'", ["'guidence' (nearest: guidance)"]),
    ],
)
def test_a_bad_value_is_the_sweep_s_and_told_once(tmp_path: Path, groups: Any, where: str, got: list[str]) -> None:
    lines = errors_of(tmp_path, "prompt\n" + "x\n" * 300, groups)
    assert len(lines) == len(got)
    for line, part in zip(lines, got, strict=True):
        assert line.startswith(f"sweep: {where}")
        assert f"; got {part}" in line


def test_a_bad_row_is_told_once(tmp_path: Path) -> None:
    """Not at every point."""
    text = "walk,prompt,guidance,images,time_s\n,x,1,,\n,x,low,,\nw,x,1,2,\nv,x,1,,1\nv,y,1,,1\n"
    lines = errors_of(tmp_path, text, [{"seed": "1..300"}])
    places = ["row 2, column 'guidance'", "row 3, column 'images'", "row 5, column 'time_s'"]
    assert [line.split(":")[1].strip() for line in lines] == places


@pytest.mark.parametrize(
    ("groups", "errors"),
    [
        (
            [{"frames": [4, 8, "4.0"]}],
            [
                f"1, column 'frames': required 1 or nothing on a row without a walk; got {n} (first on row 3)"
                for n in (4, 8)
            ],
        ),
        ([{"images": [1, 2]}], ["1, column 'images': required 1 or nothing in a walk; got 2 (first on row 1)"]),
        (
            [{"easing": ["onsets", "linear"]}],
            ["1, column 'easing': required another one in a walk without audio; got onsets (first on row 1)"],
        ),
        (
            [{"scheduler": "ddim"}, {"time_s": [0, 99999999]}],
            [
                "2, column 'time_s': required nothing, but in a walk of motion line; got 0.0 (first on row 3)",
                "2, column 'time_s': required nothing, but in a walk of motion line; got 99999999.0 (first on row 3)",
            ],
        ),
    ],
)
def test_what_does_not_fit_the_rows_is_the_sweep_s_and_told_once(
    tmp_path: Path, groups: Any, errors: list[str]
) -> None:
    rows = "walk,prompt\nw,a\nw,b\n" + ",c\n" * 300 + "v,a\nv,b\n"
    assert errors_of(tmp_path, rows, groups) == [f"sweep: group {error}" for error in errors]


def test_seeds_and_times_that_do_not_fit_their_walks(tmp_path: Path) -> None:
    rows = "walk,prompt\n" + "".join(f"w{n},a\nw{n},a\n" for n in range(200))
    required = "group 2, column 'seed': required another seed than its circle begins with"
    assert errors_of(tmp_path, rows, [{"motion": "circle"}, {"seed": "1..3"}]) == [
        f"sweep: {required}; got {seed} (first on row 2)" for seed in (1, 2, 3)
    ]
    (line,) = errors_of(tmp_path, rows, [{"time_s": [7]}])
    assert line.startswith("sweep: group 1, column 'time_s': required 1 … 1000000 frames of 1/12 s after")
    assert line.endswith("got 7, 0 frames after it (first on row 2)")


def test_the_first_row_of_a_folder_is_its_file_s(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("walk,prompt\nw,x\n" if name == "a" else "walk,prompt\nv,x\n,y\n")
    with pytest.raises(ManifestError, match=rf"got 4 \(first on row 2 of {tmp_path}/b.csv\)"):
        read_manifest(tmp_path, DEFAULTS, MODELS, parse_sweep([{"frames": 4}]))


def test_a_walk_s_name_has_no_room_for_the_point(tmp_path: Path) -> None:
    groups = [{"a": ["x" * 20, "y" * 20], "b": ["u" * 20, "v" * 20]}]
    (point, _) = parse_sweep(groups).names()
    room = 119 - len(point)
    name = "é" * (room // 2) + "w" * (room % 2)
    path = tmp_path / "m.csv"
    path.write_text(f"walk,prompt\n{name},a\n{name},b\n", encoding="utf-8")
    walks = list(read_manifest(path, DEFAULTS, MODELS, parse_sweep(groups)).walks())
    assert [len(walk.name.encode()) for walk in walks] == [120, 120]
    text = f"walk,prompt\n{name}w,a\n{name}w,b\nshort,c\n{'z' * 130},d\n,e\n"
    required = f"required a name of at most {room} bytes, as the sweep adds up to {len(point) + 1} to it for its points"
    lines = errors_of(tmp_path, text, groups)
    assert [line.split("; got")[0] for line in lines] == [
        f"m.csv: row 1, column 'walk': {required}",
        f"m.csv: row 4, column 'walk': {required}",
    ]
    assert lines[1].endswith("zz… of 130 bytes")


def test_a_column_named_sweep() -> None:
    problems = Problems("m.csv")
    sweep_table(raw_table(sweep=["x"]), parse_sweep([{"seed": 1}]), problems)
    with pytest.raises(ManifestError, match="column 'sweep': required no column of this name"):
        problems.raise_any()
