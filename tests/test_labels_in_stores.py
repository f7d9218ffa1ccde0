"""Every label that a plan lets in is rendered, stored, read back by others as it was, and verified."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import run_here

from render import ManifestError, open_store, plan_job, verify_store

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

ROWS = 2
JOB = (
    "sampling.steps=1",
    "sampling.guidance=1",
    "workers.count=1",
    "workers.cpus=1",
    "workers.batch_rows=2",
    "animation.formats=[]",
)
UTC = dt.UTC
TEXT = st.text(st.characters(exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=9)
TIMES = st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1))
STRUCT = pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))])
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [  # an Arrow type, its values
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.dictionary(pa.int32(), pa.string()), TEXT),
    (pa.int8(), st.integers(-(2**7), 2**7 - 1)),
    (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    (pa.uint64(), st.integers(0, 2**64 - 1)),
    (pa.float16(), st.floats(width=16, allow_nan=False)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), st.floats()),
    (pa.bool_(), st.booleans()),
    (pa.binary(), st.binary(max_size=9)),
    (pa.binary(2), st.binary(min_size=2, max_size=2)),
    (pa.date32(), st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1))),
    (pa.time64("us"), st.times()),
    (pa.timestamp("us"), TIMES),
    (pa.timestamp("us", "UTC"), TIMES.map(lambda time: time.replace(tzinfo=UTC))),
    (pa.timestamp("us", "Europe/Berlin"), TIMES.map(lambda time: time.replace(tzinfo=UTC))),
    (pa.duration("us"), st.timedeltas(dt.timedelta(), dt.timedelta(9))),
    (pa.decimal128(9, 2), st.decimals(-9999, 9999, places=2)),
    (pa.decimal32(6, 2), st.decimals(-9999, 9999, places=2)),
    (pa.decimal256(50, 2), st.decimals(-9999, 9999, places=2)),
    (pa.list_(pa.string()), st.lists(st.none() | TEXT, max_size=3)),
    (pa.large_list(pa.int64()), st.lists(st.integers(0, 9), max_size=3)),
    (pa.list_(pa.float32(), 2), st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2)),
    (pa.map_(pa.string(), pa.int64()), st.just([("k", 1)])),
    (STRUCT, st.fixed_dictionaries({"x": st.integers(0, 9), "y": st.lists(TEXT, max_size=2)})),
    (pa.list_(pa.struct([("x", pa.int64())])), st.lists(st.fixed_dictionaries({"x": st.integers(0, 9)}), max_size=2)),
    (pa.null(), st.none()),
]
FAMOUS = (  # names that some reader has a meaning of its own for, or that stand in paths of Parquet's columns
    *(
        "__filename",
        "__fragment_index",
        "__index_level_0__",
        "file_row_number",
        "filename",
        "rowid",
        "index",
        "sub_split",
    ),
    *(
        "_type",
        "select",
        "list",
        "element",
        "bytes",
        "path",
        "a.b",
        "image.bytes",
        "image.x",
        "__key__",
        "*",
        "$x",
        "%s",
    ),
    *("a b", 'say "x"', "it's", "Größe", "KIND", "kind", "{x}", "a,b", "a;b", "label", "file_name", "0", "-1", "null"),
)
NAMES = st.sampled_from(FAMOUS) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9)
CELLS = st.sampled_from(KINDS).flatmap(
    lambda kind: st.tuples(st.just(kind[0]), st.lists(st.none() | kind[1], min_size=ROWS, max_size=ROWS))
)


def read_datasets(out: Path) -> Any:
    import datasets

    os.environ["HF_HUB_OFFLINE"] = "1"
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(out.parent / "cache")).remove_columns("image")
    return {name: loaded[name][:] for name in loaded.column_names}


def read_duckdb(out: Path) -> Any:
    with duckdb.connect() as connection:
        connection.sql("set timezone='UTC'")
        found = connection.sql(f"select * exclude (image) from '{out}/data/*.parquet'")
        return dict(zip(found.columns, zip(*found.fetchall(), strict=True), strict=True))


def read_pandas(out: Path) -> Any:
    frame = pd.read_parquet(out / "data", dtype_backend="pyarrow")
    return {name: pa.array(frame[name]).to_pylist() for name in frame.columns}


def read_polars(out: Path) -> Any:
    import polars

    return polars.read_parquet(out / "data" / "*.parquet").drop("image").to_dict(as_series=False)


def read_arrow(out: Path) -> Any:
    return ds.dataset(out / "data").to_table().to_pydict()


def read_here(out: Path) -> Any:
    rows = [frame.row for walk in open_store(out).walks for frame in open_store(out).frames(walk)]
    return {name: [row[name] for row in rows] for name in rows[0]}


READERS: list[Callable[[Path], Any]] = [read_datasets, read_duckdb, read_pandas, read_arrow, read_here]
if find_spec("polars"):
    READERS.append(read_polars)


def plain(value: Any) -> Any:
    """The value as all readers may give it: lists for arrays and tuples, times with a zone in UTC."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, dt.datetime) and value.tzinfo:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


def kept(value: Any, kind: Any) -> Any:
    """The value as a store keeps it: a map's pairs as structs."""
    is_map = pa.types.is_map(kind) and value is not None
    return [{"key": key, "value": item} for key, item in value] if is_map else value


def let_in(labels: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Those of some labels that a plan lets in beside each other."""
    good: dict[str, Any] = {}
    for name, column in labels.items():
        try:
            prepared = plan_job(table_of({**good, name: column}), *JOB, f"output={folder / 'plan'}")
        except ManifestError:
            continue
        if name in [label for label, _, _ in prepared.manifest.labels]:  # the others are indices, or columns of ours
            good[name] = column
    return good


def table_of(labels: dict[str, Any]) -> Any:
    return pa.table({"prompt": pa.array(["3d dog face", "3d cat face"]), **labels})


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(NAMES.filter(lambda name: name != "prompt"), CELLS, min_size=1, max_size=12))
def test_what_a_plan_lets_in_is_kept_to_the_end(drawn: dict[str, tuple[Any, list[Any]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        columns = {name: pa.array(values, kind) for name, (kind, values) in drawn.items()}
        labels = let_in(columns, Path(folder))
        out = run_here(table_of(labels), *JOB, f"output={folder}/out").out
        verdict = verify_store(out)
        assert (verdict.frames, verdict.problems) == (ROWS, ())
        for read in READERS:
            found = read(out)
            for name, column in labels.items():
                values = [kept(value, column.type) for value in column.to_pylist()]
                given_values = [None if repr(value) == "nan" else value for value in values]
                assert repr(plain(found[name])) == repr(plain(given_values)), (read.__name__, name)


def test_famous_names_are_let_in_or_refused_for_a_reason() -> None:
    with tempfile.TemporaryDirectory() as folder:
        labels = let_in({name: pa.array([1, 2]) for name in FAMOUS}, Path(folder))
    assert set(FAMOUS) - set(labels) == {
        "__filename",
        "__fragment_index",
        "__index_level_0__",
        "kind",
    }  # KIND came first
