"""Two manifests compared cell by cell, and rows added to one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from manifest_tables import DEFAULTS, MODELS

from render.manifest.growth import append_rows, compare_manifests, same_rows
from render.manifest.read import read_manifest
from render.manifest.stored import Manifest, read_stored

ROWS: dict[str, Any] = {"prompt": ["a", "b", "c", "d"], "seed": [1, 2, 3, 4], "kind": [1, 2, None, 4]}


def read(columns: dict[str, Any], rows_before: int = 0) -> Manifest:
    return read_manifest(pa.table(columns), DEFAULTS, MODELS, rows_before=rows_before)


def picked(*places: int, **changed: list[Any]) -> dict[str, Any]:
    return {name: [cells[place] for place in places] for name, cells in ROWS.items()} | changed


THEN = read(ROWS)


@pytest.mark.parametrize(
    ("now", "lines"),
    [
        (picked(0, 1, 2, 3), []),
        (picked(0, 1, 2, 3, prompt=["a", "x", "c", "d"]), ["row 2, column 'prompt': 'b' then, 'x' now"]),
        (picked(0, 1, 2, 3, kind=[1, 2, 3, 4]), ["row 3, column 'kind': None then, 3 now"]),
        (
            picked(0, 1, 2, 3, steps=[7] * 4),
            [
                "row 1, column 'steps': 20 then, 7 now",
                "row 2, column 'steps': 20 then, 7 now",
                "column 'steps': and 2 other rows",
            ],
        ),
        (picked(0, 1, 3), ["row 3 of then is not there now"]),
        (picked(0, 1), ["rows 3 … 4 of then are not there now"]),
        (picked(2, 3), ["rows 1 … 2 of then are not there now"]),
        (picked(0, 2, 1, 3), ["row 2 holds now what row 3 held, and 1 other row moved, too"]),
        (picked(0, 1, 1, 2, 3), ["row 3 is new: rows may be added at the end only"]),
        (picked(0, 1, 2, 3, 3, 3), ["rows 5 … 6 are new"]),
        (picked(0, 1, 2, 3, kind=["1", "x", "3", "4"]), ["label 'kind': int64 then, string now"]),
        ({"prompt": ROWS["prompt"], "seed": ROWS["seed"]}, ["label 'kind': there then, not now"]),
        (picked(0, 1, 2, 3, sort=[1] * 4), ["label 'sort': not there then, there now"]),
        (
            picked(1, 1, 0, prompt=["x", "y", "z"]),
            [
                "4 rows then, 3 now",
                "row 1, column 'prompt': 'a' then, 'x' now",
                "row 2, column 'prompt': 'b' then, 'y' now",
                "column 'prompt': and 1 other row",
                "row 1, column 'seed': 1 then, 2 now",
                "row 3, column 'seed': 3 then, 1 now",
                "row 1, column 'kind': 1 then, 2 now",
                "row 3, column 'kind': None then, 1 now",
            ],
        ),
    ],
)
def test_what_differs_is_told_by_row_and_column(now: dict[str, Any], lines: list[str]) -> None:
    found = [line for one in compare_manifests(THEN, read(now)) for line in one.splitlines()]
    assert found == lines


def test_many_columns_that_differ_are_counted() -> None:
    changed = {"seed": [9], "steps": [5], "guidance": [1.5], "width": [16], "height": [16], "scheduler": ["euler"]}
    lines = compare_manifests(read({"prompt": ["a"]}), read({"prompt": ["a"], **changed, "tween": [0]}))
    assert len(lines) == 6
    assert lines[-1] == "and 1 other columns: 'scheduler'"


def test_a_stored_manifest_is_equal_to_what_was_stored(tmp_path: Path) -> None:
    manifest = read(picked(0, 1, 2, 3, score=[0.5, float("nan"), None, 1.0], tags=[["a"], [], None, ["b"]]))
    manifest.write(tmp_path / "stored.parquet")
    assert compare_manifests(read_stored(tmp_path / "stored.parquet"), manifest) == []
    assert same_rows(read_stored(tmp_path / "stored.parquet"), manifest).all()


def test_equal_rows_are_found_at_their_places() -> None:
    assert same_rows(THEN, read(picked(0, 2, 2))).tolist() == [True, False, True]
    assert same_rows(THEN, read({"prompt": ["a"], "seed": [1]})).tolist() == [False]  # whose kind is 1
    assert same_rows(THEN, read(picked(0, 1, extra=["x", None]))).tolist() == [False, True]


@pytest.mark.parametrize(
    ("kind", "stored"),
    [([5, None], [5, None]), (pa.nulls(2), [None, None]), (pa.array([5, 6], pa.int8()), [5, 6])],
)
def test_rows_are_added(kind: Any, stored: list[Any]) -> None:
    more = read({"prompt": ["e", "f"], "kind": kind}, rows_before=4)
    whole = append_rows(THEN, more)
    walks = list(whole.walks())
    assert [walk.name for walk in walks[4:]] == ["still-000005", "still-000006"]
    assert [walk.start.labels["kind"] for walk in walks[4:]] == stored
    assert list(append_rows(THEN, more).part(0, 4).walks()) == list(THEN.walks())
    assert whole.last_row == 6
    assert whole.label_schema == THEN.label_schema


def test_seeds_of_added_rows_are_their_own() -> None:
    """A still without a seed derives it from its row: those of a further table follow the rows before."""
    alone, behind = read({"prompt": ["e"]}), read({"prompt": ["e"]}, rows_before=4)
    both = read({"prompt": ["a", "b", "c", "d", "e"]})
    seeds = [[walk.start.seed for walk in manifest.walks()][-1] for manifest in (alone, behind, both)]
    assert seeds[0] != seeds[1] == seeds[2]


def test_labels_that_the_store_can_t_hold_are_refused() -> None:
    more = read({"prompt": ["e"], "kind": [0.5], "colour": ["red"]})
    with pytest.raises(
        ValueError, match=r"^label 'kind': int64 then, double now\nlabel 'colour': not there then, there now$"
    ):
        append_rows(THEN, more)
    assert append_rows(THEN, read({"prompt": ["e"]})).row_count == 5
