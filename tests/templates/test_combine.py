"""Columns to combine: what is drawn, what is left out and said, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from render import JobError, ManifestError, plan_job
from render.cli import main
from render.templates import Expansion, expand_templates

COLUMNS = {
    "thing": ["dog", "cat", "fox"],
    "style": {"3d": 3, "flat": 1},
    "colour": ["red", "blue"],
    "prompt": "{style} {colour} {thing}",
}


def rows(
    folder: Path, tree: dict[str, Any] | str, told: list[str] | None = None, expansion: Expansion | None = None
) -> list[dict[str, Any]]:
    source, target = folder / "combine.yaml", folder / "out.parquet"
    source.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    count = expand_templates(source, target, expansion or Expansion(), (told if told is not None else []).append)
    found: list[dict[str, Any]] = pq.read_table(target).to_pylist()
    assert len(found) == count
    return found


def errors(folder: Path, tree: dict[str, Any] | str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        rows(folder, tree)
    return [line.removeprefix(f"{folder / 'combine.yaml'}: ") for line in str(caught.value).split("\n")[1:]]


def test_without_a_count_every_combination_is_there_once(tmp_path: Path) -> None:
    found = rows(tmp_path, {"columns": COLUMNS})
    assert len({row["prompt"] for row in found}) == len(found) == 12
    assert found[0] == {"thing": "dog", "style": "3d", "colour": "red", "prompt": "3d red dog"}
    assert {(row["thing"], row["style"], row["colour"]) for row in found} == {
        (thing, style, colour)
        for thing in ("dog", "cat", "fox")
        for style in ("3d", "flat")
        for colour in ("red", "blue")
    }


def test_more_than_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"required at most 11 combinations, a higher limit, or a count of rows"):
        rows(tmp_path, {"columns": COLUMNS}, expansion=Expansion(limit=11))
    many = {f"c{n}": [*range(100)] for n in range(5)} | {"prompt": "{c0}"}
    with pytest.raises(ManifestError, match="required at most 10,000,000 combinations to look at"):
        rows(tmp_path, {"columns": many})


def test_a_count_of_each_class(tmp_path: Path) -> None:
    told: list[str] = []
    found = rows(tmp_path, {"columns": COLUMNS, "count": 3, "each": "thing"}, told)
    assert Counter(row["thing"] for row in found) == {"dog": 3, "cat": 3, "fox": 3}
    assert told == []
    other = rows(tmp_path, {"columns": COLUMNS, "count": {"dog": 4, "fox": 1}, "each": "thing"})
    assert Counter(row["thing"] for row in other) == {"dog": 4, "fox": 1}
    assert [row for row in other if row["thing"] == "dog"][:3] == [row for row in found if row["thing"] == "dog"]
    pairs = rows(tmp_path, {"columns": COLUMNS, "count": 2, "each": ["thing", "style"]})
    assert Counter((row["thing"], row["style"]) for row in pairs) == dict.fromkeys(
        ((thing, style) for thing in ("dog", "cat", "fox") for style in ("3d", "flat")), 2
    )


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    exclude = [{"thing": "fox", "style": "flat"}, {"thing": ["fox", "cat"], "colour": "blue"}]
    found = rows(tmp_path, {"columns": COLUMNS, "exclude": exclude, "count": 4, "each": "thing"}, told)
    assert Counter(row["thing"] for row in found) == {"dog": 4, "cat": 2, "fox": 1}
    assert told == [
        "exclude 1, thing: fox, style: flat, left out 2 of 12 combinations looked at",
        "exclude 2, thing: fox or cat, colour: blue, left out 3 of 12 combinations looked at",
        "thing 'cat': 2 of 4 rows: there are no more distinct combinations",
        "thing 'fox': 1 of 4 rows: there are no more distinct combinations",
    ]


def test_classes_of_few_rows_are_named_up_to_a_number(tmp_path: Path) -> None:
    told: list[str] = []
    rows(tmp_path, {"columns": {"n": [*range(30)], "prompt": "{n}"}, "count": 2, "each": "n"}, told)
    assert len(told) == 11
    assert told[-1] == "and 20 other classes have fewer rows than the count"


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    exclude = [{"thing": ["dog", "cat", "fox"]}]
    assert errors(tmp_path, {"columns": COLUMNS, "exclude": exclude}) == [
        "required a combination that no condition of exclude leaves out; got none"
    ]


SPACES = {f"c{n}": [*range(20)] for n in range(6)}  # 64 million: drawn one by one


@pytest.mark.parametrize("more", [{}, SPACES])
def test_rows_depend_on_the_seed_and_their_class_alone(tmp_path: Path, more: dict[str, Any]) -> None:
    tree = {"columns": {**more, **COLUMNS}, "count": 4, "each": "thing", "seed": 5}
    found = rows(tmp_path, tree)
    assert rows(tmp_path, tree) == found
    assert rows(tmp_path, tree | {"seed": 6}) != found
    assert rows(tmp_path, {key: tree[key] for key in tree if key != "seed"}, expansion=Expansion(seed=5)) == found
    fewer = rows(tmp_path, tree | {"count": 2})
    for thing in ("dog", "cat", "fox"):
        own = [row for row in found if row["thing"] == thing]
        assert own[:2] == [row for row in fewer if row["thing"] == thing]
        assert len({tuple(row.values()) for row in own}) == 4


@pytest.mark.parametrize("more", [{}, SPACES])
def test_weights_are_kept_to(tmp_path: Path, more: dict[str, Any]) -> None:
    columns = {**more, "rank": {"uniform": [0, 10**9]}, "style": {"a": 6, "b": 3, "c": 1, "d": 0}, "prompt": "{style}"}
    if not more:
        columns["rank"] = [*range(3000)]  # listed
    found = Counter(row["style"] for row in rows(tmp_path, {"columns": columns, "count": 2000}))
    assert found["d"] == 0
    for style, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
        assert abs(found[style] / 2000 - share) < (0.04 if more else 0.05)


def test_values_given_another_column(tmp_path: Path) -> None:
    columns = {
        "kind": ["animal", "vehicle", "food"],
        "thing": {
            "given": "kind",
            "values": {"animal": ["dog", "cat"], "vehicle": {"car": 2, "ship": 1}},
            "otherwise": "x",
        },
        "prompt": {"given": "thing", "values": {"ship": "a ship at sea"}, "otherwise": ["a {thing}", "the {thing}"]},
    }
    found = rows(tmp_path, {"columns": columns, "drop": ["kind"]})
    assert [*found[0]] == ["thing", "prompt"]
    assert sorted(row["prompt"] for row in found) == sorted(
        ["a dog", "the dog", "a cat", "the cat", "a car", "the car", "a ship at sea", "a x", "the x"]
    )
    classes = rows(tmp_path, {"columns": columns, "count": 1, "each": ["kind", "thing"]})
    assert [(row["kind"], row["thing"]) for row in classes] == [
        ("animal", "dog"), ("animal", "cat"), ("vehicle", "car"), ("vehicle", "ship"), ("food", "x")
    ]  # fmt: skip


def test_values_under_conditions(tmp_path: Path) -> None:
    cases = [{"size": {"min": 7}, "values": ["large"]}, {"size": [4, 5, 6], "values": ["middle"]}]
    columns = {
        "size": {"uniform": [1, 9]},
        "word": {"values": ["small"], "when": cases},
        "prompt": "{word} {size}",
    }
    found = rows(tmp_path, {"columns": columns, "count": 9})
    assert {row["prompt"] for row in found} == {
        *("small 1", "small 2", "small 3", "middle 4", "middle 5", "middle 6", "large 7", "large 8", "large 9")
    }


def test_numbers_of_a_range(tmp_path: Path) -> None:
    columns = {"guidance": {"uniform": [2, 4], "decimals": 1}, "x": {"uniform": [0.0, 1.0]}, "prompt": "p"}
    found = rows(tmp_path, {"columns": columns, "count": 50})
    assert all(2 <= row["guidance"] <= 4 and round(row["guidance"], 1) == row["guidance"] for row in found)
    assert all(0 <= row["x"] <= 1 and round(row["x"], 2) == row["x"] for row in found)
    told: list[str] = []
    few = rows(tmp_path, {"columns": {"n": {"uniform": [1, 3]}, "prompt": "p"}, "count": 9}, told)
    assert sorted(row["n"] for row in few) == [1, 2, 3]
    assert told == ["all: 3 of 9 rows: no more were found among many draws"]


def test_values_of_a_table(tmp_path: Path) -> None:
    pd.DataFrame({"name": ["dog", "cat"], "weight": [1, 0]}).to_csv(tmp_path / "things.csv", index=False)
    (tmp_path / "places.txt").write_text("town\nforest\n")
    columns = {
        "thing": {"table": "things.csv", "column": "name"},
        "place": {"table": "places.txt", "column": "prompt"},
        "prompt": "{thing}, {place}",
    }
    assert [row["prompt"] for row in rows(tmp_path, {"columns": columns})] == ["dog, town", "dog, forest"]


def test_types_of_columns(tmp_path: Path) -> None:
    tree = "columns: {a: [1, 2], b: [1, 2.5], c: [true], d: [2024-01-01], e: [1, x], f: [x, null], prompt: '{a}{f}'}"
    kinds = [str(field.type) for field in pq.read_schema((rows(tmp_path, tree), tmp_path / "out.parquet")[1])]
    assert kinds == ["int64", "double", "bool", "date32[day]", "large_string", "large_string", "large_string"]
    assert {row["prompt"] for row in rows(tmp_path, tree)} == {"1x", "1", "2x", "2"}


def test_braces_of_templates_go_on_to_dynamicprompts(tmp_path: Path) -> None:
    columns = {"thing": ["{big|small} dog", "cat"], "prompt": "${a={1|2}} ${a} {thing}"}
    found = rows(tmp_path, {"columns": columns, "count": 2, "seed": 3})
    assert {row["thing"] for row in found} == {"{big|small} dog", "cat"}
    assert all("{" not in row["prompt"] and [*row] == ["prompt", "thing"] for row in found)
    styles = tmp_path / "styles.csv"
    styles.write_text("name,prompt,negative_prompt\nink,{prompt} in ink,\n")
    styled = rows(tmp_path, {"columns": {"prompt": ["a cat", "a dog"]}, "count": 1}, expansion=Expansion(styles=styles))
    assert styled[0]["prompt"].endswith(" in ink")


def test_every_fault_at_once(tmp_path: Path) -> None:
    tree = {
        "columns": {
            "a b": [1],
            "style": ["3d", "3d"],
            "colour": {"red": 1, "blue": -1},
            "thing": {"given": "kind", "values": {}},
            "size": {"uniform": [3, 1]},
            "other": {"given": "style", "values": {"flat": ["x"]}},
            "kind": ["animal", "vehicle"],
            "word": {"given": "kind", "values": {"animal": "a"}},
            "prompt": "{colour} {thng} {kind}",
        },
        "exclude": [{"kind": "animl"}, {"kinds": 1}, 7],
        "each": "kinds",
        "counts": 3,
        "seed": -1,
    }
    assert errors(tmp_path, tree) == [
        "required one of the keys columns, exclude, count, each, seed, drop; got 'counts' (nearest: count)",
        "required a name of letters, digits and _ for every column; got 'a b'",
        "column 'style': required every value once (weights make one more frequent); got '3d'",
        "column 'colour': required weights of at least 0, one of them above; got [1, -1]",
        "column 'thing': required the name of a column above; got 'kind'",
        "column 'size': required two numbers, the lower first, such as {uniform: [2, 8]}; got [3, 1]",
        "column 'word': required values for every value of 'kind', or a key otherwise; got none for 'vehicle'",
        "column 'prompt': required places with the names of columns above; got {thng} (nearest: thing)",
        "required values that 'kind' can have in exclude; got 'animl' (nearest: animal)",
        "required the name of a column in exclude; got 'kinds' (nearest: kind)",
        "required a condition such as {style: 3d, colour: [red, blue]} in exclude; got 7",
        "required the name of a column in each; got 'kinds' (nearest: kind)",
        "required an integer, 0 … 18446744073709551615, in seed; got -1",
    ]


@pytest.mark.parametrize(
    ("tree", "line"),
    [
        ("columns: {prompt: a", "required a combination in YAML; got "),
        ("- a", "required a combination in YAML; got list"),
        ("{}", "required a key columns with names and values, such as {columns: {prompt: a cat}}; got None"),
        ({"columns": {"a": 1}}, "required a column prompt, such as prompt: a {style} {thing}; got ['a']"),
        (
            {"columns": {"n": {"uniform": [1, 2]}, "prompt": "p"}},
            "required a count, as 'n' has numbers without end; got none",
        ),
        ({"columns": COLUMNS, "each": "thing"}, "required a count of the rows of each; got none"),
        ({"columns": COLUMNS, "count": 0}, "required an integer, 1 … 1000000, in count; got 0"),
        ({"columns": COLUMNS, "count": {"dog": 1}}, "required one column in each, whose values count names; got []"),
        (
            {"columns": COLUMNS, "count": 400_000, "each": "thing"},
            "required at most 1,000,000 rows; got 1,200,000, of 3 classes",
        ),
        (
            {"columns": {"prompt": [[1]]}},
            "column 'prompt': required a value, a list of values, weights such as {red: 3",
        ),
        ({"columns": {"prompt": []}}, "column 'prompt': required a value, a list of values, weights such as {red: 3"),
        (
            {"columns": {"prompt": {"values": ["a"], "when": 1}}},
            "column 'prompt': required a list such as [{thing: rocket",
        ),
    ],
)
def test_files_that_are_none(tmp_path: Path, tree: dict[str, Any] | str, line: str) -> None:
    found = errors(tmp_path, tree)
    assert len(found) == 1
    assert found[0].startswith(line)


def test_the_count_stands_in_the_file(tmp_path: Path) -> None:
    with pytest.raises(
        JobError, match=r"required count in the file \(without it, all combinations\); got --count or --mode"
    ):
        rows(tmp_path, {"columns": COLUMNS}, expansion=Expansion(count=3))


def test_the_example_becomes_a_manifest_with_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[2] / "manifests" / "combine.yaml"
    target = tmp_path / "animals.csv"
    assert main(["expand", str(example), "-o", str(target)]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("30 prompts in ")
    assert (
        said.err
        == "warning: exclude 1, thing: rocket, colour: green or yellow, left out 12 of 42 combinations looked at\n"
    )
    prepared = plan_job(target, f"output={tmp_path / 'out'}")
    assert [name for name, _, _ in prepared.manifest.labels] == ["kind", "thing", "style", "colour"]
    assert prepared.counts.stills == 30
    assert not prepared.warnings
