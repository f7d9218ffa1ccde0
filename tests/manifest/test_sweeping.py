"""The product of a sweep with a manifest against a plain loop."""

from __future__ import annotations

from itertools import groupby, product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core.errors import ManifestError
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.core.walk import MAIN
from render.job.sweep import Sweep, parse_sweep
from render.manifest.problems import Problems
from render.manifest.raw import RawTable
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.sweeping import axis_table, sweep_table
from render.models.families import SamplingDefaults

DEFAULTS = Defaults("", 24, "linear", "slerp", 0, Path("nowhere"))
MODELS = {MAIN: ModelRules(SizeRule(8, 8, 512), DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 64, 4, 3.0, "ddim"))}


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
        ([{"guidence": "1..3"}], "group 1, column 'guidence'", ["'guidence' (is it a label?"]),
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
                f"1, column 'frames': required 1 or an empty cell on a row without a walk; got {n} (first on row 3)"
                for n in (4, 8)
            ],
        ),
        ([{"images": [1, 2]}], ["1, column 'images': required 1 or an empty cell in a walk; got 2 (first on row 1)"]),
        (
            [{"easing": ["onsets", "linear"]}],
            ["1, column 'easing': required another one in a walk without audio; got onsets (first on row 1)"],
        ),
        (
            [{"scheduler": "ddim"}, {"time_s": [0, 99999999]}],
            [
                f"2, column 'time_s': required an empty cell on a row without a walk; got {time_s} (first on row 3)"
                for time_s in ("0.0", "99999999.0")
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
