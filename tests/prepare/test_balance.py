"""The balance of a job, against its frames counted one by one."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from render import plan_job
from render.cli import main
from render.plan import plan_units
from render.prepare import Prepared

TABLE = """\
walk,prompt,seed,images,frames,motion,loop,kind,day,split
a,dog,1,,3,,cycle,animal,2024-01-01,
a,cat,2,,4,,,,2024-01-02,
b,dog,1,,3,grid,,animal,2024-01-01,test
b,cat,2,,,,,thing,,
b,fox,3,,,,,thing,,
b,car,4,,,,,thing,,
c,dog,1,,5,,,animal,,
c,cat,2,,,,,thing,,
,apple,,7,,,,food,2024-01-02,test
,pear,,,,,,food,,
,car,,,,,,,,
"""


def counted(prepared: Prepared, name: str) -> dict[Any, int]:
    found: Counter[Any] = Counter()
    for unit in plan_units(prepared.manifest.walks, prepared.plan):
        found.update(unit.split if name == "split" else frame.keyframe.labels[name] for frame in unit.frames)
    return dict(found)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(TABLE)
    return path


def test_the_balance_is_that_of_the_frames(table: Path, tmp_path: Path) -> None:
    prepared = plan_job(table, f"output={tmp_path / 'out'}")
    assert [one.column for one in prepared.balance] == ["split", "kind", "day"]
    for one in prepared.balance:
        assert dict(one.frames) == counted(prepared, one.column)
        assert sum(frames for _, frames in one.frames) == prepared.counts.frames
        assert [frames for _, frames in one.frames] == sorted((frames for _, frames in one.frames), reverse=True)
    assert dict(prepared.balance[1].frames)["food"] == 8


def test_many_stills_are_counted_as_few_are(tmp_path: Path) -> None:
    kinds = [("a", "b", "c", None)[n * n % 4] for n in range(5000)]
    rows = {"prompt": [f"p{n}" for n in range(5000)], "kind": kinds, "id": [*range(5000)]}
    prepared = plan_job(pa.table(rows), f"output={tmp_path / 'out'}")
    (balance,) = prepared.balance
    assert dict(balance.frames) == counted(prepared, "kind") == dict(Counter(kinds))


def test_what_has_many_values_is_left_out(tmp_path: Path) -> None:
    table = pd.DataFrame({"prompt": "p", "few": [n % 20 for n in range(21)], "many": range(21), "tags": [["a"]] * 21})
    prepared = plan_job(table, f"output={tmp_path / 'out'}", "sweep=[{steps: [4, 8]}]")
    assert [one.column for one in prepared.balance] == ["few"]
    assert plan_job(table[["prompt"]], f"output={tmp_path / 'out'}").balance == ()


def test_plan_shows_it(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(table), f"output={tmp_path / 'out'}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("balance")]
    assert lines[2] == "balance    day: 2024-01-01 12 (39%), 2024-01-02 11 (35%), (empty) 8 (26%)"
    assert len(lines) == 3
    assert main(["plan", str(table), f"output={tmp_path / 'out'}", "--json"]) == 0
    balance = json.loads(capsys.readouterr().out)["balance"]
    assert [one["column"] for one in balance] == ["split", "kind", "day"]
    days = {one["value"]: one["frames"] for one in balance[2]["counts"]}
    prepared = plan_job(table, f"output={tmp_path / 'out'}")
    assert days == {None if day is None else str(day): n for day, n in counted(prepared, "day").items()}
    assert dt.date(2024, 1, 1) in counted(prepared, "day")


def test_a_label_whose_name_looks_like_a_path_is_counted() -> None:
    table = pa.table({"prompt": ["a", "b"], ".a": ["x", "y"], "b.c": [1, 1]})
    found = {one.column: dict(one.frames) for one in plan_job(table).balance}
    assert found == {".a": {"x": 1, "y": 1}, "b.c": {1: 2}}
