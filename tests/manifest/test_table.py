"""Tables of every kind of file, of folders and of DataFrames.

The reference for values is the table as written; for CSV it is pandas' writer and the same table as Parquet.
"""

from __future__ import annotations

import tempfile
from csv import QUOTE_ALL
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_tables import (
    DEFAULTS,
    MODELS,
    TABLE,
    Cells,
    as_csv,
    assert_frozen,
    csv,
    error,
    errors,
    frame,
    keyframes,
    parquet,
    variant,
)

from render.core.errors import ManifestError
from render.core.recipe import SEED_MAX
from render.manifest.read import read_manifest
from render.plan.motions import frame_count

pytest_plugins = ["manifest_tables"]

ENDINGS = "a folder, or a name that ends in .csv, .tsv, .jsonl, .ndjson, .txt, .parquet"


@pytest.mark.parametrize(
    "source",
    [
        as_csv(),
        b"\xef\xbb\xbf" + as_csv().encode(),
        as_csv().replace("\n", "\r\n"),
        b"\xef\xbb\xbf" + as_csv().replace("\n", "\r\n").encode(),
        as_csv().replace("\n", "\r"),
        as_csv().rstrip("\n"),
        "\n" + as_csv() + "\n\n",
        variant(prompt=pa.dictionary(pa.int32(), pa.string()), scheduler=pa.dictionary(pa.int8(), pa.large_string())),
        variant(kind=pa.dictionary(pa.int32(), pa.string()), walk=pa.large_string(), negative_prompt=pa.string_view()),
        variant(seed=pa.uint64(), frames=pa.float64(), guidance=pa.float32()),
        variant(seed=pa.decimal128(21, 0), frames=pa.decimal128(21, 2), guidance=pa.decimal32(5, 2)),
        variant(seed=pa.string(), frames=pa.string(), guidance=pa.string(), kind=pa.large_string()),
        pa.table(TABLE).append_column("width", pa.nulls(4)).append_column("easing", pa.array([None] * 4, pa.float64())),
        pa.table(TABLE).select([*reversed(list(TABLE)[:7]), *list(TABLE)[7:]]),
        pa.concat_tables([pa.table(TABLE).slice(i, 1) for i in range(4)]),
    ],
)
def test_one_table_reads_alike_from_every_file(path: Path, source: Any) -> None:
    expected = parquet(path, TABLE)
    manifest = (csv if isinstance(source, (str, bytes)) else parquet)(path, source)
    assert list(manifest.walks()) == list(expected.walks())
    assert manifest.fingerprint == expected.fingerprint
    assert manifest.label_schema == expected.label_schema
    row = keyframes(manifest)[0]
    assert (row.seed, row.prompt, (*row.labels.values(),)) == (2**62 + 1, 'a "dog", wet', ("animal", 1, 0.5, True))


def test_a_dataframe_reads_as_its_file(path: Path) -> None:
    data = pa.table(TABLE).to_pandas(types_mapper=pd.ArrowDtype)
    manifest = read_manifest(data, DEFAULTS, MODELS)
    assert manifest.name == "dataframe"
    assert manifest.fingerprint == parquet(path, TABLE).fingerprint
    data[data.walk.isna()].drop(columns="walk").to_parquet(path.with_suffix(".parquet"))  # writes __index_level_0__
    assert len(list(read_manifest(path.with_suffix(".parquet"), DEFAULTS, MODELS).walks())) == 2


def test_empty_text_in_parquet_is_an_empty_cell(path: Path) -> None:
    columns = {"walk": [""], "prompt": ["p"], "negative_prompt": [""], "seed": [""], "easing": [""]}
    assert parquet(path, columns).fingerprint == csv(path, "prompt\np\n").fingerprint


def test_line_ends_within_a_cell_are_one(path: Path) -> None:
    for text in ("a\r\nb\rc", "a\nb\nc"):
        assert keyframes(parquet(path, {"prompt": [text]}))[0].prompt == "a\nb\nc"
        assert keyframes(csv(path, f'prompt\n"{text}"\n'))[0].prompt == "a\nb\nc"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", None, "required a file that can be read; got no such file or directory"),
        ("m.csv", b"", "required a header and at least one row; got an empty file"),
        ("m.csv", b"\xef\xbb\xbf", "required at least one row below the header; got none"),
        ("m.csv", b"\n\n", "required at least one row below the header; got none"),
        ("m.csv", b"prompt,seed\n\n", "required at least one row below the header; got none"),
        ("m.xlsx", b"PK\x03\x04..", f"required {ENDINGS}; got 'm.xlsx' (a spreadsheet: save it as CSV)"),
        ("m.md", b"prompt\na\n", f"required {ENDINGS}; got 'm.md'"),
        ("m.csv", b"PAR1....PAR1", "required CSV text in UTF-8, as its ending says; got a Parquet file"),
        (
            "m.csv",
            b"PK\x03\x04..",
            "required CSV text in UTF-8, as its ending says; got a zip archive (a spreadsheet? Save it as CSV)",
        ),
        (
            "m.parquet",
            b"prompt\na\n",
            "required a Parquet file, as its ending says; got one that begins with b'prom' (a CSV file?)",
        ),
    ],
)
def test_a_file_that_cannot_be_a_manifest(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path / name, DEFAULTS, MODELS)
    assert str(caught.value) == f"{tmp_path / name}: 1 error\n{tmp_path / name}: {message}"
    assert caught.value.__suppress_context__


def test_a_parquet_file_cut_short_or_without_rows(path: Path) -> None:
    with pytest.raises(ManifestError, match="required at least one row below the header; got none"):
        parquet(path, pa.table({"prompt": pa.array([], pa.string())}))
    whole = path.with_suffix(".parquet")
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(ManifestError, match="required a whole Parquet file; got"):
        read_manifest(whole, DEFAULTS, MODELS)
    with pytest.raises(ManifestError, match="required at least one row below the header; got none"):
        read_manifest(pd.DataFrame({"prompt": []}), DEFAULTS, MODELS)
    path.mkdir()
    with pytest.raises(ManifestError, match=r"required a folder with \.csv files; got none"):
        read_manifest(path, DEFAULTS, MODELS)


def test_csv_that_is_not_quite_csv(path: Path) -> None:
    text = b'prompt,kind\nok,a\nshort\n\nlong,a,b\nbad\xff,a\nnul\0,a\n"open,a\n'
    assert errors(path, text) == [
        "row 2: required 2 fields, as in the header; got 1",
        "row 3: required 2 fields, as in the header; got 3 (a text with commas needs quotes around it)",
        r"row 4, column 'prompt': required text in UTF-8; got b'bad\xff' (Windows-1252? Save it as UTF-8)",
        "row 5, column 'prompt': required text without NUL characters; "
        r"got 'nul\x00' (UTF-16 without a byte-order mark?)",
        "row 6: required CSV with every quote closed, or doubled inside quotes; got unexpected end of data; "
        "no row below is read",
    ]
    assert "got ',' expected after '\"'" in error(path, 'prompt\n"a"b\n')


def test_utf_16_without_a_mark_is_not_taken_for_text(path: Path) -> None:
    assert "column names without NUL characters" in errors(path, "prompt\na\n".encode("utf-16-le"))[0]


def test_bytes_that_are_not_utf_8_in_parquet(path: Path) -> None:
    offsets = np.array([0, 2], np.int32)
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff\xfe")])
    line = error(path, {"prompt": ["a"], "kind": bad})
    assert line.startswith("column 'kind': required values that are whole, text in UTF-8; got ")
    assert error(path, {"prompt": bad}).startswith("column 'prompt': required values that are whole, text in UTF-8")


def test_columns_twice(path: Path) -> None:
    assert error(path, "prompt,a,a\np,1,2\n") == "column 'a': required every column name once; got it again"
    table = pa.Table.from_arrays([pa.array(["p"]), pa.array(["q"])], ["prompt", "prompt"])
    assert error(path, table) == "column 'prompt': required every column name once; got it again"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pd.DataFrame({"prompt": ["a"]}, index=pd.Index(["w"], name="walk")), "required an index without a name"),
        (pd.DataFrame({"prompt": ["a"], 1: [2]}), "required column names of text; got 1"),
        (pd.DataFrame([["a", "b"]], columns=["prompt", "prompt"]), "required every column name once"),
        (pd.DataFrame({"prompt": ["a", "b"], "tag": [1, "x"]}), "column 'tag': required values of one type"),
        (pd.DataFrame({"prompt": ["a", 1]}), "column 'prompt': required values of one type"),
        (
            pd.DataFrame({"prompt": ["a", "b"], "seed": [2**64, None]}, dtype=object),
            "row 1, column 'seed': required an integer, 0 … 18446744073709551615; got '18446744073709551616'",
        ),
        (pd.DataFrame({"prompt": ["a"], "steps": [np.inf]}), "row 1, column 'steps': required an integer"),
        (pd.DataFrame({"prompt": ["a"], "tag": [1 + 2j]}), "column 'tag': required values of one type"),
    ],
)
def test_dataframes_that_are_no_manifest(data: pd.DataFrame, message: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read_manifest(data, DEFAULTS, MODELS)
    heading, line = str(caught.value).split("\n")
    assert heading == "DataFrame: 1 error"
    assert message in line


def test_nan_of_a_dataframe_is_an_empty_cell() -> None:
    manifest = frame(
        walk=[np.nan, "w", "w"], prompt=["a", "b", "c"], seed=[3, np.nan, np.nan], frames=[np.nan, 7.0, np.nan]
    )
    assert [(w.name, w.keyframes[0].seed, w.keyframes[0].frames) for w in manifest.walks()] == [
        ("still-000001", 3, 1),
        ("w", 42, 7),
    ]


def test_integers_past_int64_in_an_object_column() -> None:
    assert [k.seed for k in keyframes(frame(prompt=["a", "b"], seed=[2**63, "7"]))] == [2**63, 7]


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
rows = st.fixed_dictionaries(
    {
        "prompt": texts,
        "negative_prompt": st.none() | texts,
        "seed": st.none() | st.integers(0, 2**63 - 9) | st.integers(2**63, SEED_MAX - 9),
        "images": st.none() | st.integers(1, 3),
        "guidance": st.none() | st.floats(0, 1e300),
        "tag": st.none() | texts.map(lambda text: f"t{text}"),
    }
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(rows, min_size=1, max_size=5))
def test_any_table_reads_alike_as_csv_and_parquet(rows: list[Cells]) -> None:
    data = pd.DataFrame(rows, columns=list(rows[0]), dtype=object)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.csv")
        data.to_csv(path, index=False, quoting=QUOTE_ALL)  # by default, pandas leaves a lone \r without quotes
        types = {"seed": pa.uint64()}  # Arrow takes Python's integers for int64, which seeds of 2^63 and up are not
        table = pa.table({name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]})
        one, two, three = read_manifest(path, DEFAULTS, MODELS), parquet(path, table), frame(**data)
        assert list(one.walks()) == list(two.walks()) == list(three.walks())
        assert one.fingerprint == two.fingerprint == three.fingerprint
        assert_frozen(one, Path(folder, "frozen.parquet"))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3), st.integers(0, 200), st.integers(0, 9))
def test_a_damaged_file_is_refused_or_read_but_never_crashes(junk: bytes, at: int, cut: int) -> None:
    whole = as_csv().encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.csv")
        path.write_bytes(whole[:at] + junk + whole[at + cut :])
        try:
            manifest = read_manifest(path, DEFAULTS, MODELS)
        except ManifestError:
            return
        assert_frozen(manifest, Path(folder, "frozen.parquet"))


def test_a_folder_is_read_as_one_table(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("walk,prompt,frames\nw,1st,3\nw,2nd,\n")
    (tmp_path / "a.csv").write_text("prompt,seed,kind\ndog,5,animal\n")
    still, walk = read_manifest(tmp_path, DEFAULTS, MODELS).walks()
    assert (still.name, still.keyframes[0].seed, [*still.keyframes[0].labels.values()]) == (
        "still-000001",
        5,
        ["animal"],
    )
    assert (walk.name, frame_count(walk), [[*k.labels.values()] for k in walk.keyframes]) == ("w", 4, [[None], [None]])


def test_errors_of_a_folder_name_the_file_and_its_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,steps\ndog,5\ncat,0\n")
    (tmp_path / "b.csv").write_text("walk,prompt,steps\nw,1st,3\nw,,x\n")
    (tmp_path / "c.csv").write_text("prompt\ntoo,many\n")
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path, DEFAULTS, MODELS)
    found = str(caught.value)
    for place in (
        "a.csv: row 2, column 'steps'",
        "b.csv: row 2, column 'prompt'",
        "b.csv: row 2, column 'steps'",
        "c.csv: row 1",
    ):
        assert place in found, found
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(ManifestError, match=r"required a folder with \.csv files; got none in it"):
        read_manifest(tmp_path, DEFAULTS, MODELS)
