"""What columns are called: forgiven spellings, the job's keys `labels` and `columns`, `size`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from manifest_tables import DEFAULTS, MODELS, csv, error, errors, keyframes, parquet

from render.core.errors import ManifestError
from render.job import Sweep
from render.job.sweep import parse_sweep
from render.manifest.names import Naming
from render.manifest.read import read_manifest
from render.manifest.stored import Manifest

pytest_plugins = ["manifest_tables"]


def named(path: Path, text: str, **naming: Any) -> Manifest:
    path.write_text(text)
    return read_manifest(path, DEFAULTS, MODELS, naming=Naming(**naming))


def refusal(path: Path, text: str, **naming: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        named(path, text, **naming)
    _, line = str(caught.value).split("\n")
    return line.removeprefix(f"{path}: ")


@pytest.mark.parametrize("header", ["Prompt,SEED", " prompt ,Seed", "PROMPT, seed", "prompt,seed "])
def test_case_and_blanks_are_forgiven(path: Path, header: str) -> None:
    assert csv(path, f"{header}\na dog,7\n").fingerprint == csv(path, "prompt,seed\na dog,7\n").fingerprint


@pytest.mark.parametrize(
    ("header", "other"), [("prompt,Prompt", "Prompt"), ("Seed,prompt,seed", "Seed"), ("prompt,Seed,SEED", "SEED")]
)
def test_where_two_readings_are_left_they_are_not(path: Path, header: str, other: str) -> None:
    row = ",".join("a" if name.casefold() == "prompt" else "7" for name in header.split(","))
    line = error(path, f"{header}\n{row}\n")
    assert line.startswith(f"column {other!r}: required one column {other.casefold()}; got ")
    if other != "SEED":
        assert named(path, f"{header}\n{row}\n", columns={other: "ignore"}).row_count == 1


def test_the_job_maps_columns(path: Path) -> None:
    text = "caption,cfgs,filename,note\na dog,7.5,a.png,x\n"
    manifest = named(path, text, columns={"caption": "prompt", "cfgs": "guidance", "filename": "ignore"})
    (row,) = keyframes(manifest)
    assert (row.prompt, row.guidance, row.labels) == ("a dog", 7.5, {"note": "x"})
    manifest = named(path, "prompt,timestamp\na,1\n", columns={"timestamp": "made"}, labels=("made",))
    assert keyframes(manifest)[0].labels == {"made": 1}
    assert keyframes(named(path, "prompt,guidance\na,junk\n", columns={"guidance": "ignore"}))[0].guidance == 3.0


@pytest.mark.parametrize(
    ("naming", "message"),
    [
        (
            {"columns": {"cfg_": "guidance"}},
            "column 'cfg_': required a column of this name, which the job's key columns",
        ),
        ({"columns": {"kind": "guidence"}}, "got 'guidence' (nearest: guidance)"),
        ({"columns": {"kind": "seed"}}, "required one column seed; got "),
        (
            {"labels": ("kinds",)},
            "required a column of this name, which the job's key labels lists; got none (nearest: kind)",
        ),
        ({"labels": ("seed",)}, "column 'seed': required another name for a label in the job's key labels"),
        (
            {"columns": {"kind": "sampler"}, "labels": ("sampler",)},
            "column 'sampler': required a label's name that is no column",
        ),
        (
            {"columns": {"kind": "__filename"}, "labels": ("__filename",)},
            "column '__filename': required a name that pyarrow",
        ),
    ],
)
def test_entries_of_the_job_that_fit_nothing(path: Path, naming: dict[str, Any], message: str) -> None:
    assert message in refusal(path, "prompt,seed,kind\na,1,2\n", **naming)


@pytest.mark.parametrize(
    ("name", "near"),
    [("weight", "height"), ("my_seed_x", "seed"), ("prompt_id", None), ("seed_group", None), ("artist", None)],
)
def test_labels_that_are_nearly_ours_are_warned_of(path: Path, name: str, near: str | None) -> None:
    text = f"prompt,{name}\na,1\n"
    warning = f"m.csv: column {name!r} is taken as a label: {near} was not meant?"
    assert named(path, text).warnings == ((warning,) if near else ())
    assert named(path, text, labels=(name,)).warnings == ()


def test_settings_inside_of_a_label_are_warned_of(path: Path) -> None:
    manifest = parquet(path, {"prompt": ["a"], "params": [{"seed": 7, "CFG scale": 2.5, "x": 1}], "box": [{"x": 1}]})
    (warning,) = manifest.warnings
    assert warning.startswith("m.parquet: column 'params' is a label as a whole: what it holds of ")
    assert warning.endswith(" is no setting")


def test_labels_have_a_type_and_an_example(path: Path) -> None:
    manifest = named(path, "prompt,kind,rank,none\na,,7,\nb,x,8,\n")
    assert manifest.labels == (("kind", "string", "x"), ("rank", "int64", 7), ("none", "string", None))


@pytest.mark.parametrize("size", ["32x64", "32X64", " 32 x 64 ", "32×64", "32*64"])
def test_size_is_width_and_height(path: Path, size: str) -> None:
    first, second = named(path, f"prompt,Size,kind\na,{size},1\nb,,2\n").walks()
    assert (first.width, first.height, second.width, second.height) == (32, 64, 64, 128)
    assert list(first.start.labels) == ["kind"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,size\na,32\n", "row 1, column 'size': required width and height as 512x768; got '32' (is it a label?"),
        ("prompt,size\na,large\n", "The job can say so: labels: [size])"),
        ("prompt,size\na,33x64\n", "row 1, column 'width': required a multiple of 8, 16 … 1024 pixels; got '33'"),
        ("prompt,size,width\na,32x64,\n", "column 'size': required an empty column, for width is given, too"),
    ],
)
def test_sizes_that_are_none(path: Path, text: str, message: str) -> None:
    assert message in error(path, text)


def test_size_may_be_a_label(path: Path) -> None:
    manifest = named(path, "prompt,size,width\na,large,32\n", labels=("size",))
    assert keyframes(manifest)[0].labels == {"size": "large"}
    manifest.write(path.with_suffix(".parquet"))
    assert read_manifest(path.with_suffix(".parquet"), DEFAULTS, MODELS).fingerprint == manifest.fingerprint


def test_a_list_as_size_has_no_order(path: Path) -> None:
    with pytest.raises(ManifestError, match="column 'size': required text; got a column of list"):
        parquet(path, {"prompt": ["a"], "size": [[32, 64]]})


def sweep(*groups: dict[str, Any]) -> Sweep:
    return parse_sweep(list(groups))


def test_a_swept_size_takes_the_place_of_the_table_s(path: Path) -> None:
    for header, row in (("prompt,size", "a,16x16"), ("prompt,width,height", "a,16,16"), ("prompt", "a")):
        path.write_text(f"{header}\n{row}\n")
        manifest = read_manifest(path, DEFAULTS, MODELS, sweep({"size": ["32x64", "64x32"]}))
        assert [(walk.width, walk.height) for walk in manifest.walks()] == [(32, 64), (64, 32)]
    path.write_text("prompt,size\na,16x32\n")
    manifest = read_manifest(path, DEFAULTS, MODELS, sweep({"width": [64, 128]}))
    assert [(walk.width, walk.height) for walk in manifest.walks()] == [(64, 32), (128, 32)]


def test_a_swept_label_may_be_listed(path: Path) -> None:
    path.write_text("prompt\na\n")
    manifest = read_manifest(path, DEFAULTS, MODELS, sweep({"eta": [1, 2]}), Naming(labels=("eta",)))
    assert [row.labels["eta"] for row in keyframes(manifest)] == [1, 2]


def test_names_are_forgiven_in_a_folder_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Prompt;guidance;kind\na;7,5;x\n")
    (tmp_path / "b.tsv").write_text("Prompt\tguidance\tkind\nb\t2.5\ty\n")
    (tmp_path / "c.jsonl").write_text('{"prompt": "c"}\n')
    manifest = read_manifest(tmp_path, DEFAULTS, MODELS)
    assert [(row.prompt, row.guidance) for row in keyframes(manifest)] == [("a", 7.5), ("b", 2.5)]
    assert manifest.separated_by == ("semicolons", "tabs")
    assert "c.jsonl is not read: of a folder, only the files .csv and .tsv are" in manifest.warnings[0]


def test_errors_come_once_for_a_column(path: Path) -> None:
    assert len(errors(path, "prompt,cfg_scale\n" + "a,7\n" * 9)) == 1
