"""Tables of all kinds: a manifest, or an InputError."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from fuzzing import fuzzed, only_input_errors
from hypothesis import given
from hypothesis import strategies as st

from render.core.columns import COLUMNS
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.models.families import SamplingDefaults

MODELS = {
    "main": ModelRules(SizeRule(8, 16, 1024), DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 64, 20, 3.0, "ddim"))
}
NAMES = st.sampled_from([column.name for column in COLUMNS]) | st.text(max_size=6)
TEXTS = st.text(max_size=10) | st.sampled_from(
    (
        "0",
        "1",
        "-1",
        "1.5",
        "1e999",
        "nan",
        "yes",
        "512x512",
        "slerp",
        "=1+1",
        "../x",
        "/etc/passwd",
        "9" * 400,
        "\0",
        "a\nb",
    )
)
NUMBERS = st.integers(-(2**63), 2**64) | st.floats()
CELLS = st.none() | TEXTS | st.booleans() | NUMBERS | st.dates() | st.binary(max_size=4)
NESTED = st.recursive(CELLS, lambda cell: st.lists(cell, max_size=3) | st.dictionaries(TEXTS, cell, max_size=3))


def read(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        with only_input_errors():
            manifest = read_manifest(path, Defaults("", 4, "linear", "slerp", 0, Path(folder)), MODELS)
            for walk, _ in zip(manifest.walks(), range(10), strict=False):
                assert walk.keyframes


def as_parquet(columns: dict[str, list[Any]]) -> bytes:
    """The columns that Arrow can hold, with a prompt."""
    arrays = {"prompt": pa.array(["a"] * 3)}
    for name, cells in columns.items():
        with contextlib.suppress(pa.ArrowException, UnicodeEncodeError, TypeError, OverflowError, ValueError):
            arrays[name] = pa.array(cells)
    file = io.BytesIO()
    try:
        pq.write_table(pa.table(arrays), file, row_group_size=2)
    except (pa.ArrowException, UnicodeEncodeError):
        return b"PAR1"
    return file.getvalue()


ROWS = st.lists(TEXTS, min_size=3, max_size=3) | st.lists(NUMBERS, min_size=3, max_size=3)
TABLES = st.dictionaries(NAMES, ROWS | st.lists(NESTED, min_size=3, max_size=3), max_size=5)


def changed(content: bytes, data: st.DataObject) -> bytes:
    found = bytearray(content)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, max(0, len(found) - 1)))
        found[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    return bytes(found)


@fuzzed
@given(st.lists(st.lists(TEXTS, max_size=5), min_size=1, max_size=5), NAMES, st.sampled_from(",;\t"), st.data())
def test_separated(rows: list[list[str]], name: str, separator: str, data: st.DataObject) -> None:
    lines = [separator.join(["prompt", name]), *(separator.join(cells) for cells in rows)]
    content = "\n".join(lines).encode(errors="surrogatepass")
    read(data.draw(st.sampled_from(("m.csv", "m.tsv", "m.txt", "m.jsonl"))), content)
    read("m.csv", changed(content, data))


@fuzzed
@given(TABLES)
def test_csv_of_known_columns(columns: dict[str, list[Any]]) -> None:
    import csv

    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["prompt", *columns])
    writer.writerows([["a", *(cells[row] for cells in columns.values())] for row in range(3)])
    content = file.getvalue().encode(errors="surrogatepass")
    read("m.csv", content)
    read("m.csv.gz", gzip.compress(content, 1))


@fuzzed
@given(st.lists(st.dictionaries(NAMES, NESTED, max_size=4), min_size=1, max_size=4), st.data())
def test_json_lines(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    lines = [json.dumps({"prompt": "a"} | row, default=str) for row in rows]
    content = "\n".join(lines).encode(errors="surrogatepass")
    read("m.jsonl", content)
    read("m.jsonl", changed(content, data))


@fuzzed
@given(TABLES, st.data())
def test_parquet(columns: dict[str, list[Any]], data: st.DataObject) -> None:
    content = as_parquet(columns)
    read("m.parquet", content)
    read("m.parquet", changed(content, data))
