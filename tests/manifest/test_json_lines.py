"""JSON Lines. The reference for values is the Parquet table of the same rows, and Python's own `json`."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_tables import DEFAULTS, MODELS, TABLE, keyframes, parquet

import render.manifest.formats.json_lines
from render.core.errors import ManifestError
from render.manifest.read import read_manifest
from render.manifest.stored import Manifest

pytest_plugins = ["manifest_tables"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.jsonl"


def lines(path: Path, *rows: Any) -> Manifest:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return read_manifest(path, DEFAULTS, MODELS)


def refusal(path: Path, *rows: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        lines(path, *rows)
    return str(caught.value).removeprefix(f"{path}: 1 error\n{path}: ")


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_the_same_table_as_parquet(path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.manifest.formats.json_lines, "CHUNK", chunk)
    rows = pa.table(TABLE).to_pylist()
    expected = parquet(path, TABLE)
    sparse = [{name: value for name, value in row.items() if value is not None} for row in rows]
    for version in (rows, sparse):
        manifest = lines(path, *version)
        assert list(manifest.walks()) == list(expected.walks())
        assert manifest.fingerprint == expected.fingerprint


def test_the_endings_and_blank_lines(tmp_path: Path) -> None:
    for name in ("m.jsonl", "m.ndjson", "M.JSONL"):
        (tmp_path / name).write_bytes('\ufeff{"prompt": "ü"}\r\n\r\n{"prompt": "b", "seed": 7}'.encode())
        first, second = keyframes(read_manifest(tmp_path / name, DEFAULTS, MODELS))
        assert (first.prompt, second.prompt, second.row, second.seed) == ("ü", "b", 2, 7)


@pytest.mark.parametrize(
    ("values", "kind", "kept"),
    [
        ([1, 2], pa.int64(), [1, 2]),
        ([1, 2.5], pa.float64(), [1.0, 2.5]),
        ([2**53 + 1, 2.5], pa.string(), ["9007199254740993", "2.5"]),
        ([2**63, 1], pa.uint64(), [2**63, 1]),
        ([2**64, 1], pa.string(), ["18446744073709551616", "1"]),
        ([1, "007"], pa.string(), ["1", "007"]),
        ([True, False], pa.bool_(), [True, False]),
        ([True, 1], pa.string(), ["true", "1"]),
        (["a", None], pa.string(), ["a", None]),
        ([float("nan"), 1.5], pa.float64(), [None, 1.5]),
        ([["a"], ["b", "c"]], pa.list_(pa.string()), [["a"], ["b", "c"]]),
        ([["a"], ["b", 1]], pa.string(), ['["a"]', '["b", 1]']),
        ([["a"], "ü"], pa.string(), ['["a"]', "ü"]),
        (
            [{"x": 1}, {"y": "ü"}],
            pa.struct([("x", pa.int64()), ("y", pa.string())]),
            [{"x": 1, "y": None}, {"x": None, "y": "ü"}],
        ),
        ([{"x": "ü"}, {"x": 1}], pa.string(), ['{"x": "ü"}', '{"x": 1}']),
    ],
)
@pytest.mark.parametrize("chunk", [1, 4096])
def test_types_of_labels(
    path: Path, values: list[Any], kind: Any, kept: list[Any], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is of one type keeps it; what is not becomes text, as in CSV, and no digit is lost."""
    monkeypatch.setattr(render.manifest.formats.json_lines, "CHUNK", chunk)
    manifest = lines(path, *({"prompt": "p", "tag": value} for value in values))
    assert pa.ipc.read_schema(pa.py_buffer(manifest.label_schema)).field("tag").type == kind
    assert [row.labels["tag"] for row in keyframes(manifest)] == kept


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['{"prompt": "a"', {"prompt": "b"}], "row 1: required one JSON object on every line; got "),
        (['["a"]'], "row 1: required one JSON object on every line; got ['a'] on line 1"),
        (["[", '{"prompt": "a"}', "]"], "(a list over several lines? Here every line is one object)"),
        (['{"prompt": "a", "prompt": "b"}'], "got 'prompt' twice in one object on line 1"),
        ([r'{"prompt": "\ud83d"}'], "row 1: required text in UTF-8; got "),
        ([{"prompt": "a", "": 1}], "required a name for every column; got none for column 2"),
        ([{"prompt": "a", "cfg_scale": 7}], "column 'cfg_scale': required the name guidance"),
        ([{"prompt": ["a"]}], "column 'prompt': required text; got a column of list<item: string>"),
        (["", " "], "required at least one row below the header; got none"),
    ],
)
def test_what_is_refused(path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        lines(path, *rows)
    assert message in str(caught.value)


def test_settings_of_mixed_types_are_read_as_their_text(path: Path) -> None:
    first, second, third = keyframes(
        lines(path, {"prompt": "a", "seed": 2**64 - 1}, {"prompt": "b", "seed": "7"}, {"prompt": "c", "seed": 8.0})
    )
    assert (first.seed, second.seed, third.seed) == (2**64 - 1, 7, 8)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
NESTED = st.recursive(
    VALUES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def shape(value: Any) -> Any:
    """A value without the nulls that a common type adds, its numbers as floats: Arrow has one type for a column."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items() if part is not None}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


@settings(max_examples=300, deadline=None)
@given(st.lists(NESTED, min_size=1, max_size=4))
def test_every_value_is_kept_or_refused(values: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.jsonl")
        try:
            manifest = lines(path, *({"prompt": "p", "tag": value} for value in values))
        except ManifestError:
            return
        for value, row in zip(values, keyframes(manifest), strict=True):
            kept = row.labels.get("tag")
            if isinstance(kept, str) and not isinstance(value, str):
                kept = json.loads(kept)
            expected = value.replace("\r\n", "\n").replace("\r", "\n") if isinstance(value, str) else value
            assert shape(kept) == shape(expected)
