"""Cells by the rule of their column: what is read, what is refused, and in which words."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from manifest_tables import DEFAULTS, INTEGER, MODELS, SIZES, Cells, csv, error, errors, frame, keyframes, parquet

from render.core.errors import ManifestError
from render.core.recipe import SEED_MAX
from render.core.vocabulary import DIFFUSION_SCHEDULERS
from render.manifest.indices import WAYS_OUT
from render.manifest.read import read_manifest
from render.manifest.rules import ModelRules
from render.models.families import SamplingDefaults

pytest_plugins = ["manifest_tables"]

TEXT = (
    "a file name of at most 120 bytes without '/', '\\', '..', control characters, a dot in front or spaces at the ends"
)
NAME = f"{TEXT}, and not of the form still-000000, which stills have"


@pytest.mark.parametrize("column", list(INTEGER))
@pytest.mark.parametrize(
    ("cell", "why"),
    [
        *((cell, "") for cell in ("abc", "24.5", "1e2", "1e400", "inf", "true", "1_6", "１６", "  ", "-8")),
        ("0x10", " (looks like hexadecimal: 16)"),
        ("1,024", " (looks like thousands with commas: 1024)"),
        ("1 024", " (looks like thousands with signs between them: 1024)"),
        ("4.26155E+09", " (looks rounded by a spreadsheet: its digits are lost there)"),
    ],
)
def test_text_that_is_no_integer(path: Path, column: str, cell: str, why: str) -> None:
    assert error(path, f'prompt,{column}\np,"{cell}"\n') == (
        f"row 1, column '{column}': required {INTEGER[column]}; got {cell!r}{why}"
    )


@pytest.mark.parametrize("cell", ["24", " 24 ", "24.0", "+24", "024"])
@pytest.mark.parametrize("column", list(INTEGER))
def test_text_that_is_an_integer(path: Path, column: str, cell: str) -> None:
    if column == "frames":
        assert keyframes(csv(path, f"walk,prompt,frames\nw,p,{cell}\nw,q,\n"))[0].frames == 24
    elif column == "images":
        assert len(keyframes(csv(path, f"prompt,images\np,{cell}\n"))) == 24
    else:
        (still,) = csv(path, f"prompt,{column}\np,{cell}\n").walks()
        assert getattr(still.start if hasattr(still.start, column) else still, column) == 24


@pytest.mark.parametrize(
    ("column", "good", "bad"),
    [
        ("steps", [1, 998], [0, 999]),
        ("width", [16, 1024], [8, 1032, 20, 0]),
        ("height", [16, 1024], [8, 1032, 20, 0]),
        ("frames", [1], [0, -1, 1_000_001]),
        ("images", [1], [0, 1_000_001]),
        ("seed", [0, 2**63, SEED_MAX], [-2, 2**64, 10**30]),
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
        (pa.array([2**64], pa.decimal128(21, 0)), "18446744073709551616"),
        (pa.array([-1], pa.int8()), "-1 (leave it empty: each still gets its own)"),
        (pa.array(["-1"]), "'-1' (leave it empty: each still gets its own)"),
        (pa.array([-1.0]), "-1.0 (leave it empty: each still gets its own)"),
        (pa.array([1.5]), "1.5"),
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
    seeds = [2**53 + 1, 2**62 + 1, 2**63 - 1, 2**63, SEED_MAX]
    rows = "".join(f"p,{seed}\n" for seed in seeds)
    assert [k.seed for k in keyframes(csv(path, "prompt,seed\n" + rows + "p,\n"))][:5] == seeds
    column = pa.array([*seeds, None], pa.uint64())
    assert [k.seed for k in keyframes(parquet(path, {"prompt": ["p"] * 6, "seed": column}))][:5] == seeds
    assert [k.seed for k in keyframes(frame(prompt=["p"] * 6, seed=pd.array([*seeds, None], "UInt64")))][:5] == seeds
    assert [k.seed for k in keyframes(frame(prompt=["p"] * 6, seed=[*map(str, seeds), None]))][:5] == seeds
    text = f"prompt,seed,images\np,{SEED_MAX - 1},3\n"
    assert error(path, text).endswith(
        f"required at most {SEED_MAX - 2}, for 3 images with seeds up to {SEED_MAX}; got {SEED_MAX - 1}"
    )


@pytest.mark.parametrize("cell", ["-0.1", "inf", "-inf", "1e400", "abc", "1_0", "1,5", "infinity", "true"])
def test_guidance_is_finite_and_not_negative(path: Path, cell: str) -> None:
    line = error(path, f'prompt,guidance\np,"{cell}"\n')
    comma = " (looks like a decimal comma, which is read where semicolons separate the columns and no cell has a point)"
    got = f"{cell!r}{comma if cell == '1,5' else ''}"
    assert line == f"row 1, column 'guidance': required a finite number of at least 0; got {got}"


@pytest.mark.parametrize("cell", ["nan", "NaN", "NA", " N/A ", "<NA>", "null", "None"])
def test_a_missing_number_is_an_empty_cell(path: Path, cell: str) -> None:
    columns = ("seed", "steps", "guidance", "width")
    missing = csv(path, f"prompt,{','.join(columns)}\np{f',{cell}' * len(columns)}\nq,7,20,2.5,64\n")
    empty = csv(path, f"prompt,{','.join(columns)}\np{',' * len(columns)}\nq,7,20,2.5,64\n")
    assert list(missing.walks()) == list(empty.walks())


@pytest.mark.parametrize("nan", [float("nan"), None])
def test_nan_is_an_empty_cell_in_every_source(path: Path, nan: float | None) -> None:
    """Arrow writes NaN where pandas writes null; JSON Lines has both."""
    columns = {"prompt": ["p", "q"], "seed": [42.0, nan], "guidance": [7.5, nan], "rank": [0.5, nan]}
    expected = csv(path, "prompt,seed,guidance,rank\np,42,7.5,0.5\nq,,,\n")
    path.with_suffix(".jsonl").write_text("".join(json.dumps(row) + "\n" for row in pa.table(columns).to_pylist()))
    for manifest in (
        parquet(path, pa.table(columns)),
        frame(**columns),
        read_manifest(pa.table(columns), DEFAULTS, MODELS),
        read_manifest(path.with_suffix(".jsonl"), DEFAULTS, MODELS),
    ):
        assert list(manifest.walks()) == list(expected.walks())
        assert manifest.fingerprint == expected.fingerprint


def test_texts_of_missing_values_are_warned_of(path: Path) -> None:
    """R writes NA for a missing text, too; as a walk's name it would lead through all stills."""
    manifest = csv(path, "prompt,negative_prompt\na,NA\nb,NA\nNone,blurry\n")
    assert [keyframe.negative_prompt for keyframe in keyframes(manifest)] == ["NA", "NA", "blurry"]
    assert manifest.warnings == (
        "m.csv: row 3, column 'prompt': 'None' is taken as text; an empty cell says that none is",
        "m.csv: row 1, column 'negative_prompt': 'NA', as on 1 other rows, is taken as text; "
        "an empty cell says that none is",
    )
    line = error(path, "walk,prompt\nNA,a\nw,b\n")
    assert line == f"row 1, column 'walk': required {NAME}; got 'NA' (a missing value? Leave the cell empty)"


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
            {"prompt": ["a"], "image": [{"bytes": b"", "path": "a.png"}]},
            "column 'image': required text; got a column of struct<bytes: binary, path: string> "
            "(pictures? The job can leave them out: columns: {image: ignore})",
        ),
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
        (
            {"prompt": ["a\0"]},
            r"row 1, column 'prompt': required text without NUL characters; got 'a\x00' (UTF-16 without a byte-order mark?)",
        ),
        ({"prompt": ["a"], "": [1]}, f"required a name for every column; got none for column 2 ({WAYS_OUT})"),
    ],
)
def test_columns_of_the_wrong_kind(path: Path, columns: Cells, message: str) -> None:
    assert error(path, columns) == message


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


def test_a_default_that_cannot_be_used_is_told_once_and_only_where_used(path: Path) -> None:
    path.write_text("prompt,scheduler,width\na,lms,64\nb,lms,64\n")
    odd = ModelRules(SIZES, DIFFUSION_SCHEDULERS, False, SamplingDefaults(2**70, 63, 20, 3.0, "nope"))
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, {"main": odd})
    assert str(caught.value).split("\n")[1:] == [
        f"{path}: column 'height': required {INTEGER['height']}; got 63, the job's default"
    ]


@pytest.mark.parametrize("flags", [[True, None, None, None], ["true", None, None, None]])
def test_flags_of_parquet(path: Path, flags: list[object]) -> None:
    manifest = parquet(path, {"walk": ["g"] * 4, "prompt": list("abcd"), "motion": ["grid"] * 4, "vary_noise": flags})
    assert next(manifest.walks()).vary_noise is True
