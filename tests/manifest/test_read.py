"""The reference for values is the table as written; for CSV it is pandas' writer and the same table as Parquet."""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import tempfile
from csv import QUOTE_ALL
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import render.manifest.read
from render.core.errors import ManifestError
from render.core.recipe import SEED_MAX, Keyframe, Walk
from render.core.vocabulary import COLUMNS, DIFFUSION_SCHEDULERS, FLOW_SCHEDULERS, FROZEN_ONLY
from render.job.sweep import parse_sweep
from render.manifest.read import Manifest, read_frozen, read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.models.families import SamplingDefaults
from render.plan.motion import frame_count

DEFAULTS = Defaults("blurry", 24, "linear", "slerp", 42, Path())
SIZES = SizeRule(multiple=8, minimum=16, maximum=1024)
MODELS = {"main": ModelRules(SIZES, DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 128, 20, 3.0, "ddim"))}
THREE = {
    **MODELS,
    "flow": ModelRules(SizeRule(16, 32, 256), FLOW_SCHEDULERS, False, SamplingDefaults(96, 96, 8, 5.0, "flow-euler")),
    "flux": ModelRules(SizeRule(16, 32, 256), FLOW_SCHEDULERS, True, SamplingDefaults(256, 256, 4, 3.5, "flow-euler")),
}
OTHERS = Defaults("other\r\nwords", 5, "smooth", "lerp", 9, Path())
OTHER_MODELS = {"main": ModelRules(SIZES, DIFFUSION_SCHEDULERS, False, SamplingDefaults(512, 512, 7, 1.5, "euler"))}
FIRST = Path(__file__).parents[2] / "manifests" / "first.csv"

Cells = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.csv"


def csv(path: Path, text: str | bytes) -> Manifest:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path, DEFAULTS, MODELS)


def parquet(path: Path, columns: Cells | pa.Table) -> Manifest:
    path = path.with_suffix(".parquet")
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return read_manifest(path, DEFAULTS, MODELS)


def frame(**columns: Any) -> Manifest:
    return read_manifest(pd.DataFrame(columns), DEFAULTS, MODELS)


def keyframes(manifest: Manifest) -> list[Keyframe]:
    return [keyframe for walk in manifest.walks() for keyframe in walk.keyframes]


def errors(path: Path, source: str | bytes | Cells | pa.Table) -> list[str]:
    """The lines of the error without the heading and the file's name."""
    read = csv if isinstance(source, (str, bytes)) else parquet
    with pytest.raises(ManifestError) as caught:
        read(path, source)
    heading, *lines = str(caught.value).split("\n")
    where = str(path if read is csv else path.with_suffix(".parquet"))
    assert heading in (f"{where}: {len(lines)} errors", f"{where}: 1 error")
    assert all(line.startswith(where + ": ") for line in lines)
    return [line.removeprefix(where + ": ") for line in lines]


def error(path: Path, source: str | bytes | Cells | pa.Table) -> str:
    (line,) = errors(path, source)
    return line


# --- what a row means ---


def test_empty_cells_take_the_defaults(path: Path) -> None:
    manifest = csv(path, "prompt,seed\na dog,7\n")
    keyframe = Keyframe(1, "a dog", "blurry", 7, 1, "linear", "slerp", 64, 128, 20, 3.0, "ddim")
    assert list(manifest.walks()) == [Walk("still-000001", (keyframe,), still=True)]
    assert (manifest.name, manifest.row_count) == ("m", 1)


def test_every_column_is_read(path: Path) -> None:
    cells = "w, a dog ,bad,5,1,9,,slerp-global,32,48,11,7.5,flow-dpm++2m,2.5,flux,drift,none,0.5,random,no,0,0,1,"
    cells += "latents,24,,,,,,"
    columns = [name for name in COLUMNS if name not in FROZEN_ONLY]
    path.write_text(f"{','.join(columns)}\n{cells}\n")
    settings = (
        9,
        "linear",
        "slerp-global",
        32,
        48,
        11,
        7.5,
        "flow-dpm++2m",
        2.5,
        "flux",
        "drift",
        "none",
        0.5,
        "random",
    )
    keyframe = Keyframe(1, " a dog ", "bad", 5, *settings, False, fps=24.0)
    assert list(read_manifest(path, DEFAULTS, THREE).walks()) == [Walk("w", (keyframe,))]


def test_rows_of_one_walk_are_its_keyframes_in_order(path: Path) -> None:
    manifest = csv(path, "walk,prompt,frames\na,1st,3\na,2nd,4\n,alone,\nb,3rd,\nc,4th,\nc,5th,9\n")
    walks = list(manifest.walks())
    assert [(w.name, w.still, [k.row for k in w.keyframes], frame_count(w)) for w in walks] == [
        ("a", False, [1, 2], 4),
        ("still-000003", True, [3], 1),
        ("b", False, [4], 1),
        ("c", False, [5, 6], 25),
    ]


def test_images_are_consecutive_seeds(path: Path) -> None:
    manifest = csv(path, f"prompt,seed,images\na,7,3\nb,{SEED_MAX - 1},2\nc,1,1\n")
    assert [(w.name, w.keyframes[0].seed, w.keyframes[0].row) for w in manifest.walks()] == [
        ("still-000001-0000", 7, 1),
        ("still-000001-0001", 8, 1),
        ("still-000001-0002", 9, 1),
        ("still-000002-0000", SEED_MAX - 1, 2),
        ("still-000002-0001", SEED_MAX, 2),
        ("still-000003", 1, 3),
    ]


def test_a_million_images_are_not_built_at_once(path: Path) -> None:
    walks = csv(path, "prompt,seed,images\na,0,1000000\n").walks()
    assert next(walks).name == "still-000001-0000"


def test_a_still_without_seed_derives_one_from_job_and_row(path: Path) -> None:
    seeds = [k.seed for k in keyframes(csv(path, "prompt,seed,images\na,,\nb,3,\nc,,2\n"))]
    first, third = (int.from_bytes(hashlib.sha256(f"42:{row}".encode()).digest()[:8]) >> 11 for row in (1, 3))
    assert seeds == [first, 3, third, third + 1]
    assert max(seeds) < 2**53


def test_empty_seeds_of_a_walk_hold_the_one_before(path: Path) -> None:
    text = "walk,prompt,seed\na,p,\na,p,5\na,p,\n,p,6\nb,p,\nb,p,\nc,p,8\nc,p,\n"
    assert [k.seed for k in keyframes(csv(path, text))] == [42, 5, 5, 6, 42, 42, 8, 8]


# --- files ---

TABLE: Cells = {
    "walk": ["w", "w", None, None],
    "prompt": ['a "dog", wet', "two\nlines", "größer 犬 🐕", " spaces "],
    "negative_prompt": [None, "bad, worse", None, None],
    "seed": [2**62 + 1, None, SEED_MAX, None],
    "frames": [3, None, None, 1],
    "guidance": [7.25, None, 1.0, None],
    "scheduler": ["euler", None, "ddim", "lms"],
    "kind": ["animal", None, "animal", "thing"],
    "rank": [1, 2, None, -4],
    "score": [0.5, None, 1e-9, 2.0],
    "good": [True, None, False, True],
}


def as_csv() -> str:
    return pa.table(TABLE).to_pandas(types_mapper=pd.ArrowDtype).to_csv(index=False, lineterminator="\n")


def variant(**kinds: Any) -> pa.Table:
    table = pa.table(TABLE)
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


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
    assert (row.seed, row.prompt, row.labels) == (2**62 + 1, 'a "dog", wet', ("animal", 1, 0.5, True))


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


def test_the_fingerprint_sees_every_cell_and_label(path: Path) -> None:
    changes: Cells = {"prompt": "x", "seed": 9, "rank": 3, "kind": "x", "score": 0.0, "good": False, "scheduler": "lms"}
    prints = {parquet(path, TABLE).fingerprint}
    for name, value in changes.items():
        prints.add(parquet(path, {**TABLE, name: [value, *TABLE[name][1:]]}).fingerprint)
    prints.add(parquet(path, variant(rank=pa.int32())).fingerprint)
    prints.add(parquet(path, pa.table(TABLE).rename_columns({"rank": "place"})).fingerprint)
    prints.add(parquet(path, pa.table(TABLE).slice(0, 3)).fingerprint)
    assert len(prints) == len(changes) + 4


def test_the_fingerprint_is_stable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one would refuse to resume what an older version began."""
    expected = "2bf1fd7d695088a9a617887cc422c680037a4b728b5da6b0d00b0716e0aa7cec"
    assert parquet(path, TABLE).fingerprint == expected
    monkeypatch.setattr(render.manifest.read, "CHUNK", 3)
    assert parquet(path, TABLE).fingerprint == expected


def test_the_fingerprint_depends_on_the_defaults_that_are_used(path: Path) -> None:
    assert csv(path, "prompt\np\n").fingerprint != read_manifest(path, OTHERS, OTHER_MODELS).fingerprint
    full = "walk,prompt,negative_prompt,seed,frames,easing,interpolation,width,height,steps,guidance,scheduler"
    row = "w,p,n,1,2,linear,lerp,64,64,20,1,ddim"
    assert csv(path, f"{full}\n{row}\n").fingerprint == read_manifest(path, OTHERS, OTHER_MODELS).fingerprint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", None, "required a file that can be read; got no such file or directory"),
        ("m.csv", b"", "required a header and at least one row; got an empty file"),
        ("m.csv", b"\xef\xbb\xbf", "required at least one row below the header; got none"),
        ("m.csv", b"\n\n", "required at least one row below the header; got none"),
        ("m.csv", b"prompt,seed\n\n", "required at least one row below the header; got none"),
        ("m.txt", b"prompt\na\n", "required a folder, or a name that ends in .csv or .parquet; got 'm.txt'"),
        ("m.csv", b"PAR1....PAR1", "required a CSV file in UTF-8, as its ending says; got a Parquet file"),
        (
            "m.csv",
            b"PK\x03\x04..",
            "required a CSV file in UTF-8, as its ending says; got a zip archive (a spreadsheet?)",
        ),
        ("m.csv", "prompt\na\n".encode("utf-16"), "required a CSV file in UTF-8, as its ending says; got UTF-16"),
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
        "row 3: required 2 fields, as in the header; got 3",
        r"row 4, column 'prompt': required text in UTF-8; got b'bad\xff'",
        r"row 5, column 'prompt': required text without NUL characters; got 'nul\x00'",
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


# --- errors ---

TEXT = (
    "a file name of at most 120 bytes without '/', '\\', '..', control characters, a dot in front or spaces at the ends"
)
NAME = f"{TEXT}, and not of the form still-000000, which stills have"
SCHEDULERS = "ddim, pndm, lms, euler, euler_a, heun, dpm++2m, dpm++2m karras, dpm++ sde, unipc, deis, lcm"
INTEGER = {
    "seed": "an integer, 0 … 9223372036854775807",
    "images": "an integer, 1 … 1000000",
    "frames": "an integer, 1 … 1000000",
    "steps": "an integer, 1 … 998",
    "width": "a multiple of 8, 16 … 1024 pixels",
    "height": "a multiple of 8, 16 … 1024 pixels",
}


def test_all_errors_at_once(path: Path) -> None:
    text = (
        "walk,prompt,seed,frames,easing,width,guidance,scheduler,imags\n"
        "a,dog,1,24,smoth,64,7.5,ddim,x\n"
        "a,,-1,0,linear,65,nan,dimm,x\n"
        "b,cat,9223372036854775808,24,,,inf,,x\n"
        "a,cow,,,,128,,Euler A,x\n"
        ",hen,,7,,,,,x\n"
    )
    assert errors(path, text) == [
        "column 'imags': required a column of the manifest, or a label's name that is not nearly one and no column of "
        "the store; got 'imags' (nearest: images)",
        "row 1, column 'easing': required one of linear, smooth, ease-in, ease-out, onsets; got 'smoth' (nearest: smooth)",
        "row 2, column 'prompt': required a text; got ''",
        f"row 2, column 'seed': required {INTEGER['seed']}; got '-1'",
        f"row 2, column 'frames': required {INTEGER['frames']}; got '0'",
        f"row 2, column 'width': required {INTEGER['width']}; got '65'",
        "row 2, column 'guidance': required a finite number of at least 0; got 'nan'",
        f"row 2, column 'scheduler': required one of {SCHEDULERS}; got 'dimm' (nearest: ddim)",
        f"row 3, column 'seed': required {INTEGER['seed']}; got '9223372036854775808'",
        "row 3, column 'guidance': required a finite number of at least 0; got 'inf'",
        f"row 4, column 'scheduler': required one of {SCHEDULERS}; got 'Euler A' (nearest: euler_a, euler)",
        "row 4, column 'walk': required the keyframes of a walk on consecutive rows (its first is row 1); got 'a'",
        "row 5, column 'frames': required 1 or nothing on a row without a walk; got 7",
    ]


def test_steps_that_lcm_can_not_take(path: Path) -> None:
    """Wherever they come from; of no scheduler's name nothing is said of them."""
    text = "walk,prompt,steps,scheduler\na,cat,50,lcm\na,dog,51,lcm\n,hen,51,ddim\n,cow,,lcm\n,owl,99,lmc\n"
    path.write_text(text)
    models = {"main": replace(MODELS["main"], defaults=SamplingDefaults(64, 128, 60, 3.0, "lcm"))}
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, models)
    assert [line.removeprefix(f"{path}: ") for line in str(caught.value).split("\n")[1:]] == [
        "row 2, column 'steps': required at most 50 with scheduler lcm; got 51",
        "row 4, column 'steps': required at most 50 with scheduler lcm; got 60, the default",
        f"row 5, column 'scheduler': required one of {SCHEDULERS}; got 'lmc' (nearest: lms, lcm)",
    ]


def test_a_hundred_errors_are_told_and_all_are_counted(path: Path) -> None:
    path.write_text("prompt,steps\n" + "p,1\n" * 50 + ",0\n" * 2000 + "x\n" * 3000)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, MODELS)
    heading, *lines, last = str(caught.value).split("\n")
    assert (heading, len(lines), last) == (f"{path}: 7000 errors", 100, "… and 6900 more")
    assert [line.removeprefix(f"{path}: ")[:26] for line in lines[:3]] == [
        "row 51, column 'prompt': r",
        "row 51, column 'steps': re",
        "row 52, column 'prompt': r",
    ]


@pytest.mark.parametrize("column", list(INTEGER))
@pytest.mark.parametrize(
    "cell", ["abc", "24.5", "1e2", "1e400", "nan", "inf", "true", "1_6", "１６", "0x10", "  ", "-8"]
)
def test_text_that_is_no_integer(path: Path, column: str, cell: str) -> None:
    assert error(path, f"prompt,{column}\np,{cell}\n") == (
        f"row 1, column '{column}': required {INTEGER[column]}; got {cell!r}"
    )


@pytest.mark.parametrize("cell", ["24", " 24 ", "24.0", "+24", "024"])
@pytest.mark.parametrize("column", list(INTEGER))
def test_text_that_is_an_integer(path: Path, column: str, cell: str) -> None:
    if column == "frames":
        assert keyframes(csv(path, f"walk,prompt,frames\nw,p,{cell}\n"))[0].frames == 24
    elif column == "images":
        assert len(keyframes(csv(path, f"prompt,images\np,{cell}\n"))) == 24
    else:
        assert getattr(keyframes(csv(path, f"prompt,{column}\np,{cell}\n"))[0], column) == 24


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("steps", [1, 998], [0, 999]),
        ("width", [16, 1024], [8, 1032, 20, 0]),
        ("height", [16, 1024], [8, 1032, 20, 0]),
        ("frames", [1], [0, -1, 1_000_001]),
        ("images", [1], [0, 1_000_001]),
        ("seed", [0, SEED_MAX], [-1, 2**63, 10**30]),
    ],
)
def test_limits(path: Path, column: str, good: list[int], bad: list[int]) -> None:
    for value in good:
        csv(path, f"prompt,{column}\np,{value}\n")
    for value in bad:
        assert error(path, f"prompt,{column}\np,{value}\n").endswith(f"required {INTEGER[column]}; got '{value}'")


@pytest.mark.parametrize(
    ("values", "got"),
    [
        (pa.array([2**63], pa.uint64()), "9223372036854775808"),
        (pa.array([-1], pa.int8()), "-1"),
        (pa.array([1.5]), "1.5"),
        (pa.array([float("nan")]), "nan"),
        (pa.array([float("inf")]), "inf"),
        (pa.array([2.0**60]), "1.152921504606847e+18, rounded by its float column"),
        (pa.array([decimal.Decimal("2.5")]), "2.5"),
        (pa.array([10**30], pa.decimal128(31, 0)), "1000000000000000000000000000000"),
    ],
)
def test_seeds_of_number_columns(path: Path, values: pa.Array, got: str) -> None:
    assert error(path, {"prompt": ["p"], "seed": values}) == (
        f"row 1, column 'seed': required {INTEGER['seed']}; got {got}"
    )


def test_seeds_over_2_53_are_exact(path: Path) -> None:
    seeds = [2**53 + 1, 2**62 + 1, SEED_MAX]
    rows = "".join(f"p,{seed}\n" for seed in seeds)
    assert [k.seed for k in keyframes(csv(path, "prompt,seed\n" + rows + "p,\n"))][:3] == seeds
    assert [k.seed for k in keyframes(parquet(path, {"prompt": ["p"] * 4, "seed": [*seeds, None]}))][:3] == seeds
    assert [k.seed for k in keyframes(frame(prompt=["p"] * 4, seed=pd.array([*seeds, None], "Int64")))][:3] == seeds
    assert [k.seed for k in keyframes(frame(prompt=["p"] * 4, seed=[*map(str, seeds), None]))][:3] == seeds
    text = f"prompt,seed,images\np,{SEED_MAX - 1},3\n"
    assert error(path, text).endswith(
        f"required at most {SEED_MAX - 2}, for 3 images with seeds up to {SEED_MAX}; got {SEED_MAX - 1}"
    )


@pytest.mark.parametrize("cell", ["-0.1", "nan", "inf", "-inf", "1e400", "abc", "1_0", "1,5", "infinity", "true"])
def test_guidance_is_finite_and_not_negative(path: Path, cell: str) -> None:
    line = error(path, f'prompt,guidance\np,"{cell}"\n')
    assert line == f"row 1, column 'guidance': required a finite number of at least 0; got {cell!r}"


@pytest.mark.parametrize(
    ("cell", "value"), [("0", 0.0), ("-0", 0.0), ("7", 7.0), (" 7.5 ", 7.5), (".5", 0.5), ("2.", 2.0), ("1e1", 10.0)]
)
def test_guidance(path: Path, cell: str, value: float) -> None:
    guidance = keyframes(csv(path, f"prompt,guidance\np,{cell}\n"))[0].guidance
    assert (guidance, str(guidance)) == (value, str(value))


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"prompt": [7]}, "column 'prompt': required text; got a column of int64"),
        ({"prompt": [["a"]]}, "column 'prompt': required text; got a column of list<element: string>"),
        ({"prompt": ["a"], "walk": [1]}, "column 'walk': required text; got a column of int64"),
        (
            {"prompt": ["a"], "negative_prompt": [1.5]},
            "column 'negative_prompt': required text; got a column of double",
        ),
        ({"prompt": ["a"], "steps": [True]}, "column 'steps': required numbers; got a column of bool"),
        ({"prompt": ["a"], "seed": [b"7"]}, "column 'seed': required numbers; got a column of binary"),
        (
            {"prompt": ["a"], "easing": [dt.date(2020, 1, 1)]},
            "column 'easing': required text; got a column of date32[day]",
        ),
        (
            {"seed": [1], "kind": ["a"]},
            "column 'prompt': required a column of this name; got the columns ['seed', 'kind']",
        ),
        ({"prompt": [None]}, "row 1, column 'prompt': required a text; got ''"),
        ({"prompt": [" \t\n"]}, r"row 1, column 'prompt': required a text; got ' \t\n'"),
        ({"prompt": ["a\0"]}, r"row 1, column 'prompt': required text without NUL characters; got 'a\x00'"),
        ({"prompt": ["a"], "": [1]}, "required a name for every column; got none for column 2"),
    ],
)
def test_columns_of_the_wrong_kind(path: Path, columns: Cells, message: str) -> None:
    assert error(path, columns) == message


def test_columns_twice(path: Path) -> None:
    assert error(path, "prompt,a,a\np,1,2\n") == "column 'a': required every column name once; got it again"
    table = pa.Table.from_arrays([pa.array(["p"]), pa.array(["q"])], ["prompt", "prompt"])
    assert error(path, table) == "column 'prompt': required every column name once; got it again"


@pytest.mark.parametrize(
    "name", ["dog-to-cat", "ünï", "a.b", "x" * 120, "犬" * 40, "a b", "still", "still-1", "007", "🏳️‍🌈"]
)
def test_walk_names(path: Path, name: str) -> None:
    assert next(csv(path, f"walk,prompt\n{name},p\n").walks()).name == name


@pytest.mark.parametrize(
    "name",
    [
        *["a/b", "..", "a..b", ".", ".a", "a\\b", " a", "a ", "  ", "a\tb", "a\nb", "a\x7fb", "a\x85b", "a\u2028b"],
        *["x" * 121, "犬" * 41, "still-000001", "Still-000001", "still-1234567-0001"],
    ],
)
def test_walk_names_that_are_no_file_names(path: Path, name: str) -> None:
    (line,) = errors(path, {"walk": [name], "prompt": ["p"]})
    assert line.startswith(f"row 1, column 'walk': required {NAME}; got {name[:20]!r}"[:-1])


@pytest.mark.parametrize(("one", "two"), [("Dog", "dog"), ("é", "e\u0301"), ("STRASSE", "straße")])
def test_walk_names_that_are_one_file(path: Path, one: str, two: str) -> None:
    required = f"a name that differs from {one!r} by more than case or Unicode form"
    assert error(path, {"walk": [one, None, two, two], "prompt": ["p"] * 4}) == (
        f"row 3, column 'walk': required {required}; got {two!r}"
    )


def test_walks_in_pieces(path: Path) -> None:
    lines = errors(path, "walk,prompt\na,p\nb,p\na,p\na,p\n,p\nb,p\n")
    assert lines == [
        "row 3, column 'walk': required the keyframes of a walk on consecutive rows (its first is row 1); got 'a'",
        "row 6, column 'walk': required the keyframes of a walk on consecutive rows (its first is row 2); got 'b'",
    ]


def test_sizes_that_differ_in_a_walk(path: Path) -> None:
    lines = errors(path, "walk,prompt,width,height\na,p,32,32\na,p,,32\na,p,32,40\nb,p,128,\nb,p,128,128\nb,p,9,\n")
    assert lines == [
        "row 2, column 'width': required 32, as the first keyframe of 'a' has; got 64",
        "row 3, column 'height': required 32, as the first keyframe of 'a' has; got 40",
        f"row 6, column 'width': required {INTEGER['width']}; got '9'",
    ]


def test_images_in_a_walk_and_frames_of_a_still(path: Path) -> None:
    assert errors(path, "walk,prompt,images,frames\na,p,2,5\na,p,1,\n,p,,2\n,p,3,1\n") == [
        "row 1, column 'images': required 1 or nothing in a walk; got 2",
        "row 3, column 'frames': required 1 or nothing on a row without a walk; got 2",
    ]


def test_a_default_that_cannot_be_used_is_told_once_and_only_where_used(path: Path) -> None:
    path.write_text("prompt,scheduler,width\na,lms,64\nb,lms,64\n")
    odd = ModelRules(SIZES, DIFFUSION_SCHEDULERS, False, SamplingDefaults(2**70, 63, 20, 3.0, "nope"))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, {"main": odd})
    assert str(caught.value).split("\n")[1:] == [
        f"{path}: column 'height': required {INTEGER['height']}; got 63, the job's default"
    ]


# --- models ---


def errors_of_three(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, THREE)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).split("\n")[1:]]


def test_empty_cells_take_the_defaults_of_the_row_s_model(path: Path) -> None:
    path.write_text("prompt,model,width,guidance\na,flow,,\na,,,\na,flux,,2\na,flow,32,\na,main,32,\n")
    manifest = read_manifest(path, DEFAULTS, THREE)
    assert [(k.model, k.width, k.height, k.steps, k.guidance, k.scheduler) for k in keyframes(manifest)] == [
        ("flow", 96, 96, 8, 5.0, "flow-euler"),
        ("main", 64, 128, 20, 3.0, "ddim"),
        ("flux", 256, 256, 4, 2.0, "flow-euler"),
        ("flow", 32, 96, 8, 5.0, "flow-euler"),
        ("main", 32, 128, 20, 3.0, "ddim"),
    ]
    assert {k.true_guidance for k in keyframes(manifest)} == {1.0}
    assert manifest.models == ("flow", "main", "flux")  # by their first rows
    assert_frozen(manifest, path.with_name("frozen.parquet"))


def test_a_manifest_without_the_column_is_of_the_main_model(path: Path) -> None:
    path.write_text("prompt\na\n")
    assert read_manifest(path, DEFAULTS, THREE).models == ("main",)
    assert read_manifest(path, DEFAULTS, THREE).fingerprint == read_manifest(path, DEFAULTS, MODELS).fingerprint


def test_every_row_is_judged_by_the_rules_of_its_model(path: Path) -> None:
    """One content is right in one row and wrong in the next; the rest of a row of no known model is read, too."""
    text = (
        "prompt,model,width,scheduler,true_guidance,steps\n"
        "a,main,24,euler,1,\n"
        "a,flow,24,euler,1.0,0\n"
        "a,flux,48,flow-unipc,4,\n"
        "a,main,48,flow-unipc,4,\n"
        "a,Flux,24,euler,4,0\n"
        "a,flow,320,flow_euler,-1,\n"
    )
    flow = ", ".join(FLOW_SCHEDULERS)
    sides = "a multiple of 16, 32 … 256 pixels with model 'flow'"
    off = "1 or nothing (this model's guidance is in column `guidance`)"
    assert errors_of_three(path, text) == [
        f"row 2, column 'width': required {sides}; got '24'",
        "row 2, column 'steps': required an integer, 1 … 998 with model 'flow'; got '0'",
        f"row 2, column 'scheduler': required one of {flow} with model 'flow'; got 'euler', which does not fit a model of "
        "flow matching",
        f"row 4, column 'scheduler': required one of {SCHEDULERS}; got 'flow-unipc', which is for models of flow matching",
        f"row 4, column 'true_guidance': required {off}; got '4'",
        "row 5, column 'model': required a model of the job (main, flow, flux); got 'Flux' (nearest: flux)",
        "row 5, column 'steps': required an integer, 1 … 998; got '0'",
        f"row 6, column 'width': required {sides}; got '320'",
        f"row 6, column 'scheduler': required one of {flow} with model 'flow'; got 'flow_euler' (nearest: flow-euler, "
        "flow-heun)",
        f"row 6, column 'true_guidance': required {off} with model 'flow'; got '-1'",
    ]


def test_a_default_is_judged_by_every_model_that_takes_it(path: Path) -> None:
    path.write_text("prompt,model,width\na,flow,32\na,main,32\na,flux,32\na,flow,32\n")
    models = {name: replace(rules, defaults=SamplingDefaults(8, 64, 4, 1.0, "euler")) for name, rules in THREE.items()}
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, models)
    misfit = "got 'euler', the job's default with model {!r}, which does not fit a model of flow matching"
    assert [line.split("; ")[1] for line in str(caught.value).split("\n")[1:]] == [
        misfit.format("flow"),
        misfit.format("flux"),
    ]


def test_models_that_change_in_a_walk(path: Path) -> None:
    """Told once, not for the size that comes with the model as well."""
    text = "walk,prompt,model\nw,a,flow\nw,b,\nw,c,flow\nv,a,flux\nv,b,flux\n"
    assert errors_of_three(path, text) == [
        "row 2, column 'model': required flow, as the first keyframe of 'w' has; got main"
    ]


# --- labels ---


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "", "-20", "9223372036854775807"], pa.int64(), [1, None, -20, 2**63 - 1]),
        (["1", "9223372036854775808"], pa.string(), ["1", "9223372036854775808"]),
        (["007", "8"], pa.string(), ["007", "8"]),
        (["1", "2.5", "1e-3"], pa.float64(), [1.0, 2.5, 0.001]),
        (["2.5", "9007199254740993"], pa.string(), ["2.5", "9007199254740993"]),
        (["2.5", "1e400"], pa.string(), ["2.5", "1e400"]),
        (["2.5", "nan"], pa.string(), ["2.5", "nan"]),
        (["true", "False", ""], pa.bool_(), [True, False, None]),
        (["true", "1"], pa.string(), ["true", "1"]),
        (["", ""], pa.string(), [None, None]),
        (["a", " ", ""], pa.string(), ["a", " ", None]),
    ],
)
def test_labels_of_csv_are_typed_by_content(path: Path, cells: list[str], kind: Any, values: list[Any]) -> None:
    manifest = csv(path, "prompt,tag\n" + "".join(f"p,{cell}\n" for cell in cells))
    assert pa.ipc.read_schema(pa.py_buffer(manifest.label_schema)) == pa.schema([("tag", kind)])
    assert [k.labels for k in keyframes(manifest)] == [(value,) for value in values]


LABELS = [
    pa.array([1], pa.int8()),
    pa.array([1.5], pa.float32()),
    pa.array([float("nan")]),
    pa.array([["a", None]], pa.list_(pa.string())),
    pa.array([{"x": 1, "y": [2]}]),
    pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
    pa.array([dt.datetime(2020, 5, 1, 3, tzinfo=dt.UTC)], pa.timestamp("us", "Europe/Berlin")),
    pa.array([dt.datetime(2020, 5, 1)], pa.timestamp("ns")),
    pa.array([dt.datetime(2020, 5, 1)], pa.timestamp("s")),
    pa.array([dt.date(2020, 5, 1)]),
    pa.array([dt.timedelta(seconds=3)]),
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
    (value,) = keyframes(manifest)[0].labels
    assert repr(value) == repr(label.to_pylist()[0])
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
        when=pd.to_datetime(["2020-01-01", None]).as_unit("s"),
        rank=[1.0, None],
    )
    assert keyframes(manifest)[1].labels[0] == "b"
    assert keyframes(manifest)[1].labels[2:] == (None, None)
    assert_frozen(manifest, tmp_path / "frozen.parquet")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Prompt", "prompt"),
        (" prompt", "prompt"),
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
        ("Model", "model"),
        ("SHA256", None),
        ("render ms", None),
        ("key", None),
        ("frame", "frames"),
    ],
)
def test_labels_that_look_like_columns(path: Path, name: str, nearest: str | None) -> None:
    required = "a column of the manifest, or a label's name that is not nearly one and no column of the store"
    hint = f" (nearest: {nearest})" if nearest else ""
    assert error(path, f"prompt,{name}\np,1\n") == f"column {name!r}: required {required}; got {name!r}{hint}"


@pytest.mark.parametrize("name", ["kind", "prompt_id", "id", "artist", "split", "caption", "Größe", "walker_type"])
def test_labels_that_do_not(path: Path, name: str) -> None:
    assert keyframes(csv(path, f"prompt,{name}\np,1\n"))[0].labels == (1,)


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


# --- DataFrames ---


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
            "column 'seed': required values of",
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
    manifest = frame(walk=[np.nan, "w"], prompt=["a", "b"], seed=[3, np.nan], frames=[np.nan, 7.0])
    assert [(w.name, w.keyframes[0].seed, w.keyframes[0].frames) for w in manifest.walks()] == [
        ("still-000001", 3, 1),
        ("w", 42, 7),
    ]


# --- writing ---


def assert_frozen(manifest: Manifest, path: Path) -> None:
    """What is written reads the same under other defaults, and with nothing known of the models."""
    manifest.write(path)
    other = replace(OTHER_MODELS["main"], schedulers=DIFFUSION_SCHEDULERS + FLOW_SCHEDULERS, guidance_embeds=True)
    others = dict.fromkeys(manifest.models, other)
    for again in (read_manifest(path, OTHERS, others), read_frozen(path)):
        assert repr(list(again.walks())) == repr(list(manifest.walks()))
        assert again.fingerprint == manifest.fingerprint
        assert again.label_schema == manifest.label_schema
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".tmp"] == []


def test_what_another_version_wrote_is_refused(path: Path) -> None:
    target = path.with_name("frozen.parquet")
    csv(path, "prompt\na\n").write(target)
    table = pq.read_table(target)
    pq.write_table(table.drop_columns(["source_row", "fps"]), target)
    with pytest.raises(
        ManifestError, match="required a stored manifest of this version; got one without fps, source_row"
    ):
        read_frozen(target)


@pytest.mark.parametrize("negative", ["", "blurry", "two\r\nlines"])
def test_what_is_written_needs_no_defaults(path: Path, negative: str) -> None:
    text = "walk,prompt,negative_prompt,seed,images,kind\nw,a\r\n,,,,1\nw,b,x,5,,\n,c,,,3,2\n,d,,9,,\n"
    path.write_text(text.replace("a\r\n", '"a\r\n"'), newline="")
    manifest = read_manifest(path, replace(DEFAULTS, negative_prompt=negative), MODELS)
    assert [k.negative_prompt for k in keyframes(manifest)][:2] == [negative.replace("\r", ""), "x"]
    assert_frozen(manifest, path.with_name("frozen.parquet"))


@pytest.mark.parametrize("column", FROZEN_ONLY)
def test_what_only_a_written_manifest_may_hold(path: Path, column: str) -> None:
    required = "no column of this name: it is filled in when the manifest is read"
    assert errors(path, f"prompt,{column}\na,1\n".encode()) == [f"column '{column}': required {required}; got it"]


def test_rows_of_a_sweep_are_those_of_the_source(path: Path) -> None:
    path.write_text("walk,prompt,images\n,a,2\nw,b,\nw,c,\n,d,\n")
    sweep = parse_sweep([{"guidance": [1, 5.5]}])
    manifest = read_manifest(path, DEFAULTS, MODELS, sweep)
    stills = [walk.name for walk in manifest.walks() if walk.still]
    points = ("guidance=1", "guidance=5.5")
    assert stills[:4] == [f"still-000001-000{image} {point}" for point in points for image in (0, 1)]
    assert stills[4:] == [f"still-000004 {point}" for point in points]
    assert [k.row for k in keyframes(manifest)] == [1, 1, 1, 1, 2, 3, 2, 3, 4, 4]
    assert_frozen(manifest, path.with_name("frozen.parquet"))
    with pytest.raises(ManifestError, match="column 'sweep': required no column of this name"):
        read_manifest(path.with_name("frozen.parquet"), DEFAULTS, MODELS, sweep)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = csv(path, "prompt\na\n")
    target = path.with_name("frozen.parquet")
    manifest.write(target)
    before = target.read_bytes()

    def fail(table: Any, file: Path, **options: Any) -> None:
        file.write_bytes(b"PAR1")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        manifest.write(target)
    assert target.read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == ["frozen.parquet", "m.csv"]


def test_rows_beyond_one_chunk(path: Path) -> None:
    count = 10_000
    columns = {"walk": ["long"] * count, "prompt": [f"p{i}" for i in range(count)], "n": list(range(count))}
    (walk,) = parquet(path, columns).walks()
    assert [(k.row, k.prompt, k.labels) for k in walk.keyframes] == [(i + 1, f"p{i}", (i,)) for i in range(count)]
    columns["walk"] = [None] * count
    text = "prompt,n\n" + "".join(f"p{i},{i}\n" for i in range(count))
    manifest = csv(path, text)
    assert [walk.keyframes[0].row for walk in manifest.walks()] == list(range(1, count + 1))
    assert manifest.fingerprint == parquet(path, columns).fingerprint


def test_the_first_manifest() -> None:
    manifest = read_manifest(FIRST, DEFAULTS, MODELS)
    walk, *stills = manifest.walks()
    assert (walk.name, [k.prompt for k in walk.keyframes]) == ("dog-to-cat", ["3d dog face", "3d cat face"])
    assert (frame_count(walk), {k.seed for k in walk.keyframes}, walk.keyframes[0].easing) == (25, {7}, "smooth")
    assert len({still.keyframes[0].seed for still in stills}) == len(stills) == 6
    assert {k.labels for k in keyframes(manifest)} == {("animal",), ("food",), ("vehicle",)}


# --- properties ---

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(str.strip)
rows = st.fixed_dictionaries(
    {
        "prompt": texts,
        "negative_prompt": st.none() | texts,
        "seed": st.none() | st.integers(0, SEED_MAX - 9),
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
        table = pa.table({name: [row[name] for row in rows] for name in rows[0]})
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


# Motions


MOVING = "walk,prompt,seed,frames,motion,loop,step_size,direction,vary_noise\n"


def test_the_first_keyframe_speaks_for_the_walk(path: Path) -> None:
    grid = "g,a,1,3,grid,,,,yes\ng,b,,,grid,,,,YES\ng,c,,,,,,,\ng,d,,,,,,,1\n"
    first, cycle = csv(path, MOVING + grid + "z,a,1,2,,cycle,,,\nz,b,,,,,,,\n").walks()
    assert {(k.motion, k.vary_noise, k.loop) for k in first.keyframes} == {("grid", True, "none")}
    assert (frame_count(first), frame_count(cycle)) == (9, 2 + 24)


@pytest.mark.parametrize("flags", [[True, None, None, None], ["true", None, None, None]])
def test_flags_of_parquet(path: Path, flags: list[object]) -> None:
    manifest = parquet(path, {"walk": ["g"] * 4, "prompt": list("abcd"), "motion": ["grid"] * 4, "vary_noise": flags})
    assert next(manifest.walks()).keyframes[3].vary_noise is True


@pytest.mark.parametrize(
    ("rows", "row", "column", "required"),
    [
        ("w,a,1,3,grid,,,,\nw,b,,,,,,,\n", 1, "motion", "4 keyframes for motion grid; got 2"),
        ("w,a,1,3,drift,,,,\nw,b,,,,,,,\n", 1, "motion", "1 keyframe for motion drift; got 2"),
        ("w,a,1,3,circle,,,,\n", 1, "motion", "2 keyframes for motion circle; got 1"),
        ("w,a,1,3,circle,,,,\nw,b,2,,,,,,\n", 2, "prompt", "the prompt that its circle begins with; got"),
        ("w,a,1,3,circle,,,,\nw,a,1,,,,,,\n", 2, "seed", "another seed than its circle begins with; got 1"),
        ("w,a,1,1,grid,,,,\nw,b,,,,,,,\nw,c,,,,,,,\nw,d,,,,,,,\n", 1, "frames", "2 … 1000 a side of a grid; got 1"),
        ("w,a,1,3,spiral,,,,\n", 1, "motion", "one of line, grid, drift, circle, denoise, diffuse; got 'spiral'"),
        ("w,a,1,3,,,,,\nw,b,1,3,drift,,,,\n", 2, "motion", "what its walk begins with; got drift"),
        (",a,1,,drift,,,,\n", 1, "motion", "line or nothing on a row without a walk; got drift"),
        ("w,a,1,3,,cycle,,,\n", 1, "loop", "2 keyframes or more for a cycle; got 1"),
        ("w,a,1,3,drift,cycle,,,\n", 1, "loop", "nothing, but in a walk of motion line; got cycle"),
        ("w,a,1,3,,,0.1,,\nw,b,,,,,,,\n", 1, "step_size", "nothing, but in a walk of motion drift; got 0.1"),
        ("w,a,1,3,,,,random,\nw,b,,,,,,,\n", 1, "direction", "nothing, but in a walk of motion drift; got random"),
        ("w,a,1,3,,,,,yes\nw,b,,,,,,,\n", 1, "vary_noise", "nothing, but in a walk of motion grid; got True"),
        ("w,a,1,,diffuse,,,,\n", 1, "image", "a start image for motion diffuse; got ''"),
        ("w,a,1,,denoise,,,,\nw,b,,,,,,,\n", 1, "motion", "1 keyframe for motion denoise; got 2"),
        ("w,a,1,3,,,,,perhaps\nw,b,,,,,,,\n", 1, "vary_noise", "yes or no; got 'perhaps'"),
        (f"w,a,{SEED_MAX - 3},2,grid,,,,yes\nw,b,,,,,,,\nw,c,,,,,,,\nw,d,,,,,,,\n", 0, "", ""),
        (f"w,a,{SEED_MAX - 2},2,grid,,,,yes\nw,b,,,,,,,\nw,c,,,,,,,\nw,d,,,,,,,\n", 1, "seed", "at most"),
    ],
)
def test_motions_without_what_they_need(path: Path, rows: str, row: int, column: str, required: str) -> None:
    if not column:
        csv(path, MOVING + rows)
        return
    with pytest.raises(ManifestError) as caught:
        csv(path, MOVING + rows)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2, lines
    assert f"row {row}, column '{column}': required {required}" in lines[1]


def test_settings_of_denoising(path: Path) -> None:
    rows = "walk,prompt,motion,every,shown,scheduler\n"
    assert next(csv(path, rows + "w,a,denoise,5,clean,euler\n").walks()).keyframes[0].every == 5
    for row, column, required in (
        ("w,a,denoise,5,clean,unipc", "scheduler", "one that foretells the clean image, ddim, euler, .*; got unipc"),
        ("w,a,drift,5,,", "every", "nothing, but in a walk of motion denoise or diffuse; got 5"),
        ("w,a,denoise,0,,", "every", "an integer, 1 … 1000; got '0'"),
        ("w,a,denoise,,dirty,", "shown", "one of latents, clean; got 'dirty'"),
    ):
        with pytest.raises(ManifestError, match=f"row 1, column '{column}': required {required}"):
            csv(path, rows + row + "\n")


IDLE = "walk,prompt,seed,motion,frames,easing,strength,anchor,tween,guidance,negative_prompt\n"


@pytest.mark.parametrize(
    ("rows", "row", "column", "required"),
    [
        ("w,a,1,denoise,10,,,,,,\n", 1, "frames", "nothing in a motion whose steps are its frames; got 10"),
        ("w,a,1,grid,4,,,,,,\nw,b,1,,5,,,,,,\nw,c,1,,,,,,,,\nw,d,1,,,,,,,,\n", 2, "frames", "nothing but in the first"),
        ("w,a,1,grid,1001,,,,,,\nw,b,1,,,,,,,,\nw,c,1,,,,,,,,\nw,d,1,,,,,,,,\n", 1, "frames", "2 … 1000 a side of a"),
        ("w,a,1,drift,4,smooth,,,,,\n", 1, "easing", "nothing, but in a walk of motion line; got smooth"),
        (",a,1,,,,0.5,,,,\n", 1, "strength", "nothing on a row without an image; got 0.5"),
        (",a,1,,,,,0.5,,,\n", 1, "anchor", "nothing on a row without a walk; got 0.5"),
        (",a,1,,,,,,2,,\n", 1, "tween", "nothing on a row without a walk; got 2"),
        ("w,a,1,circle,9,,,,,2,\nw,a,2,,,,,,,5,\n", 2, "guidance", "what its grid or circle begins with; got 5.0"),
        (
            "w,a,1,circle,9,,,,,,\nw,a,2,,,,,,,,dark\n",
            2,
            "negative_prompt",
            "the negative_prompt that its circle begins",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(path: Path, rows: str, row: int, column: str, required: str) -> None:
    (line,) = errors(path, IDLE + rows)
    assert line.startswith(f"row {row}, column '{column}': required {required}")


@pytest.mark.parametrize(
    ("name", "value"), [("steps", "50"), ("scheduler", "euler"), ("interpolation", "lerp"), ("guidance", "9")]
)
def test_a_circle_and_a_grid_take_their_first_row_s(path: Path, name: str, value: str) -> None:
    rows = f"walk,prompt,seed,motion,frames,{name}\nw,a,1,circle,9,\nw,a,2,,,{value}\n"
    got = {"guidance": "9.0"}.get(name, value)
    (line,) = errors(path, rows)
    assert line.startswith(f"row 2, column {name!r}: required what its grid or circle begins with; got {got}")
    rows = f"walk,prompt,seed,motion,frames,{name}\nw,a,1,grid,4,\nw,b,2,,,\nw,c,2,,,{value}\nw,d,2,,,\n"
    if name == "guidance":
        assert csv(path, rows)  # moves
    else:
        assert errors(path, rows)[0].startswith(f"row 3, column {name!r}: required what its grid or circle begins")


def test_what_would_change_nothing_may_be_empty_or_the_same(path: Path) -> None:
    rows = "w,a,1,circle,9,,,,,2,\nw,a,2,,,,,,,2,blurry\n,a,1,,,,,0,0,,\nd,a,1,denoise,,,,,,,\n"
    assert [walk.name for walk in csv(path, IDLE + rows).walks()] == ["w", "still-000003", "d"]


# Folders


def test_a_folder_is_read_as_one_table(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("walk,prompt,frames\nw,1st,3\nw,2nd,\n")
    (tmp_path / "a.csv").write_text("prompt,seed,kind\ndog,5,animal\n")
    still, walk = read_manifest(tmp_path, DEFAULTS, MODELS).walks()
    assert (still.name, still.keyframes[0].seed, still.keyframes[0].labels) == ("still-000001", 5, ("animal",))
    assert (walk.name, frame_count(walk), [k.labels for k in walk.keyframes]) == ("w", 4, [(None,), (None,)])


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
