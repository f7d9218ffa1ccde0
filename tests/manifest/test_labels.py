"""Columns of the user's own: their types, their values, and names that they may not have."""

from __future__ import annotations

import datetime as dt
import decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_tables import DEFAULTS, MODELS, assert_frozen, csv, error, frame, keyframes, parquet

from render.manifest.read import read_manifest

pytest_plugins = ["manifest_tables"]

LATE, EARLY = dt.datetime(2024, 2, 29, 23, 59), dt.datetime(2024, 2, 29, 1, 2, 3, 500_000)
LATE_UTC, EARLY_UTC = (time.replace(tzinfo=dt.UTC) for time in (LATE, EARLY))


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "", "-20", "9223372036854775807"], pa.int64(), [1, None, -20, 2**63 - 1]),
        (["1", "9223372036854775808"], pa.string(), ["1", "9223372036854775808"]),
        (["007", "8"], pa.string(), ["007", "8"]),
        (["1", "2.5", "1e-3"], pa.float64(), [1.0, 2.5, 0.001]),
        (["2.5", "9007199254740993"], pa.string(), ["2.5", "9007199254740993"]),
        (["2.5", "1e400"], pa.string(), ["2.5", "1e400"]),
        (["2.5", "nan"], pa.float64(), [2.5, None]),
        (["7", "NA", ""], pa.int64(), [7, None, None]),
        (["x", "NA", "NaN"], pa.string(), ["x", "NA", "NaN"]),
        (["NA", "NA"], pa.string(), ["NA", "NA"]),
        (["true", "False", ""], pa.bool_(), [True, False, None]),
        (["true", "1"], pa.string(), ["true", "1"]),
        (["", ""], pa.string(), [None, None]),
        (["a", " ", ""], pa.string(), ["a", " ", None]),
        (["2024-02-29", "", "NA"], pa.date32(), [dt.date(2024, 2, 29), None, None]),
        (["2024-02-29", "2023-02-29"], pa.string(), ["2024-02-29", "2023-02-29"]),
        (["2024-02-29", "0024-02-29"], pa.string(), ["2024-02-29", "0024-02-29"]),
        (["2024-02-29", "29.2.2024"], pa.string(), ["2024-02-29", "29.2.2024"]),
        (["2024-02-29 23:59", "2024-02-29T01:02:03.5"], pa.timestamp("us"), [LATE, EARLY]),
        (["2024-02-29 23:59", "2024-02-29 25:00"], pa.string(), ["2024-02-29 23:59", "2024-02-29 25:00"]),
        (["2024-02-29T23:59Z", "2024-02-29 01:02:03.5+00:00"], pa.timestamp("us", "UTC"), [LATE_UTC, EARLY_UTC]),
        (["2024-02-29T23:59Z", "2024-02-29T23:59"], pa.string(), ["2024-02-29T23:59Z", "2024-02-29T23:59"]),
        (["2024-02-29T23:59+02:00"], pa.string(), ["2024-02-29T23:59+02:00"]),
        (["2024-02-29T01:02:03.123456789"], pa.string(), ["2024-02-29T01:02:03.123456789"]),
    ],
)
def test_labels_of_csv_are_typed_by_content(path: Path, cells: list[str], kind: Any, values: list[Any]) -> None:
    manifest = csv(path, "prompt,tag\n" + "".join(f"p,{cell}\n" for cell in cells))
    assert pa.ipc.read_schema(pa.py_buffer(manifest.label_schema)) == pa.schema([("tag", kind)])
    assert [[*k.labels.values()] for k in keyframes(manifest)] == [[value] for value in values]


LABELS = [
    pa.array([1], pa.int8()),
    pa.array([1.5], pa.float32()),
    pa.array([float("nan")]),
    pa.array([["a", None]], pa.list_(pa.string())),
    pa.array([{"x": 1, "y": [2]}]),
    pa.array([dt.datetime(2020, 5, 1, 3, tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Berlin")),
    pa.array([dt.datetime(2020, 5, 1)], pa.timestamp("ns")),
    pa.array([dt.datetime(2020, 5, 1)], pa.timestamp("s")),
    pa.array([dt.date(2020, 5, 1)]),
    pa.array([dt.time(3, 4, 5)]),
    pa.array([decimal.Decimal("1.50")]),
    pa.array([b"\0\xff"]),
    pa.array([None], pa.null()),
    pa.array(["a"]).dictionary_encode(),
    pa.array([7]).dictionary_encode(),
    pa.array(["a"], pa.large_string()),
]


@pytest.mark.parametrize("label", LABELS, ids=lambda label: str(label.type))
def test_labels_of_parquet_keep_type_and_value(path: Path, label: pa.Array) -> None:
    manifest = parquet(path, {"prompt": ["p"], "tag": label})
    held = pq.read_table(path.with_suffix(".parquet"))["tag"].type
    kind = getattr(held, "value_type", held) if pa.types.is_dictionary(held) else held
    kind = pa.string() if kind in (pa.large_string(), pa.null()) else kind
    schema = pa.ipc.read_schema(pa.py_buffer(manifest.label_schema))
    assert schema == pa.schema([("tag", kind)])
    (value,) = keyframes(manifest)[0].labels.values()
    given = label.to_pylist()[0]
    assert repr(value) == ("None" if repr(given) == "nan" else repr(given))  # NaN is an empty cell
    assert repr(pa.array([value], schema.field("tag").type).to_pylist()) == repr([value])  # as the store will do


@pytest.mark.parametrize("label", LABELS, ids=lambda label: str(label.type))
def test_labels_survive_writing(tmp_path: Path, label: pa.Array) -> None:
    data = pa.table({"prompt": ["p"], "tag": label}).to_pandas(types_mapper=pd.ArrowDtype)
    assert_frozen(read_manifest(data, DEFAULTS, MODELS), tmp_path / "frozen.parquet")


def test_labels_of_pandas_types(tmp_path: Path) -> None:
    manifest = frame(
        prompt=["p", "q"],
        kind=pd.Categorical(["a", "b"]),
        day=pd.period_range("2020-01", periods=2),
        when=pd.to_datetime(["2020-01-01", "NaT"]).as_unit("s"),
        rank=[1.0, None],
    )
    first, _, *rest = keyframes(manifest)[1].labels.values()
    assert (first, rest) == ("b", [None, None])
    assert_frozen(manifest, tmp_path / "frozen.parquet")


def refusal(name: str, meant: str) -> str:
    required = f"the name {meant}, if that is meant, or in the job columns: {{{name}: {meant}}}"
    way = f"is it a label? The job can say so: labels: [{name}]"
    if name in ("sampler", "cfg", "frame", "negative prompt", "Negative-Prompt"):  # columns of the store, too
        way = f"the job can leave it out: columns: {{{name}: ignore}}"
    return f"column {name!r}: required {required}; got {name!r} ({way})"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("promt", "prompt"),
        ("pormpt", "prompt"),
        ("negative prompt", "negative_prompt"),
        ("Negative-Prompt", "negative_prompt"),
        ("heigth", "height"),
        ("schedular", "scheduler"),
        ("seeds", "seed"),
        ("sampler", "scheduler"),
        ("cfg", "guidance"),
        ("guidance_scale", "guidance"),
        ("num_inference_steps", "steps"),
        ("true_cfg_scale", "true_guidance"),
        ("frame", "frames"),
    ],
)
def test_labels_that_look_like_columns(path: Path, name: str, meant: str) -> None:
    assert error(path, f"prompt,{name}\np,1\n") == refusal(name, meant)


@pytest.mark.parametrize("name", ["SHA256", "render ms", "key", "timestamp"])
def test_labels_that_are_columns_of_the_store(path: Path, name: str) -> None:
    way = f"(the job can leave it out: columns: {{{name}: ignore}})"
    required = "a label's name that is no column of the store"
    assert error(path, f"prompt,{name}\np,1\n") == f"column {name!r}: required {required}; got {name!r} {way}"


@pytest.mark.parametrize("name", ["kind", "prompt_id", "id", "artist", "caption", "Größe", "walker_type"])
def test_labels_that_do_not(path: Path, name: str) -> None:
    assert keyframes(csv(path, f"prompt,{name}\np,1\n"))[0].labels == {name: 1}


@pytest.mark.parametrize(
    "label",
    [
        pa.array([10**12], pa.timestamp("s")),  # the year 33658
        pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
    ],
)
def test_labels_that_python_cannot_hold(path: Path, label: pa.Array) -> None:
    line = error(path, {"prompt": ["p"], "tag": label})
    assert line.startswith("column 'tag': required a type that Parquet and Python can hold; got ")


@pytest.mark.parametrize(
    ("label", "why"),
    [
        (pa.array([dt.timedelta(seconds=3)]), "DuckDB reads no durations; a number of seconds is read by all"),
        (pa.array([decimal.Decimal("1.5")], pa.decimal256(50, 2)), "DuckDB and Polars read decimals of at most 38"),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_labels_that_a_reader_of_stores_cannot_read(path: Path, label: pa.Array, why: str) -> None:
    line = error(path, {"prompt": ["p"], "tag": label})
    assert line.startswith("column 'tag': required a type that every reader of a store has; got ")
    assert f": {why}" in line


PAIR = pa.struct([("key", pa.string()), ("value", pa.int64())])
MAP = pa.map_(pa.string(), pa.int64())


@pytest.mark.parametrize(
    ("label", "kind", "value"),
    [
        (
            pa.array([[("k", 1), ("j", None)]], MAP),
            pa.list_(PAIR),
            [{"key": "k", "value": 1}, {"key": "j", "value": None}],
        ),
        (pa.array([[[("k", 1)], []]], pa.list_(MAP)), pa.list_(pa.list_(PAIR)), [[{"key": "k", "value": 1}], []]),
        (
            pa.array([{"m": [("k", 1)]}], pa.struct([("m", MAP)])),
            pa.struct([("m", pa.list_(PAIR))]),
            {"m": [{"key": "k", "value": 1}]},
        ),
    ],
    ids=str,
)
def test_maps_become_lists_of_structs(path: Path, label: pa.Array, kind: Any, value: Any) -> None:
    """`datasets` opens no maps."""
    manifest = parquet(path, {"prompt": ["p"], "tag": label})
    schema = pa.ipc.read_schema(pa.py_buffer(manifest.label_schema))
    assert str(schema.field("tag").type).replace("element:", "item:") == str(kind).replace("element:", "item:")
    assert keyframes(manifest)[0].labels == {"tag": value}


def test_decimals_become_those_that_datasets_reads() -> None:
    manifest = read_manifest(
        pa.table({"prompt": ["p"], "price": pa.array([None], pa.decimal32(5, 2))}), DEFAULTS, MODELS
    )
    assert pa.ipc.read_schema(pa.py_buffer(manifest.label_schema)).field("price").type == pa.decimal128(5, 2)


@pytest.mark.parametrize("name", ["__filename", "__fragment_index", "__batch_index", "__last_in_fragment"])
def test_names_that_pyarrow_keeps_for_itself(path: Path, name: str) -> None:
    """Its datasets give columns of these names to every file, and refuse to read a file that has one."""
    line = error(path, f"prompt,{name}\np,1\n")
    assert line.startswith(f"column {name!r}: required a name that pyarrow does not keep for itself")


def test_names_that_differ_by_case_alone(path: Path) -> None:
    """DuckDB would call the second one kind_1."""
    line = error(path, "prompt,kind,Kind\np,1,2\n")
    assert line.startswith("column 'Kind': required a label's name that differs from 'kind' by more than case")
