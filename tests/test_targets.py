"""What a job can be given as its target: files of every kind, tables in memory, paths with `~`; and what is warned of."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import run_here

from render import (
    Expansion,
    JobError,
    ManifestError,
    ModelError,
    expand_templates,
    open_store,
    plan_job,
    sheet_store,
    verify_store,
)
from render.cli import main

pytest_plugins = ["stores"]

ROWS = {"prompt": ["3d dog face", "3d cat face"], "seed": [1, 2**64 - 1], "kind": ["a", "b"]}
TABLE = pa.table({**ROWS, "seed": pa.array(ROWS["seed"], pa.uint64())})
JOB = ("sampling.steps=1", "workers.count=1", "workers.cpus=1", "animation.formats=[]")


def write(path: Path) -> Path:
    rows = [dict(zip(ROWS, values, strict=True)) for values in zip(*ROWS.values(), strict=True)]
    frame = pd.DataFrame(rows)
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
        return path
    text = {
        "csv": lambda: frame.to_csv(index=False, sep=";"),
        "tsv": lambda: frame.to_csv(index=False, sep="\t"),
        "jsonl": lambda: "".join(json.dumps(row) + "\n" for row in rows),
        "ndjson": lambda: "".join(json.dumps(row) + "\n" for row in rows),
    }[kind]()
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.csv.gz", "m.jsonl", "m.ndjson", "m.jsonl.gz", "m.parquet"])
def test_every_kind_of_file_is_the_same_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    prepared = plan_job(write(tmp_path / name))
    assert prepared.manifest.fingerprint == plan_job(TABLE).manifest.fingerprint
    assert prepared.job.output == tmp_path / "out" / "m"
    (tmp_path / "job.yaml").write_text(f"manifest: {name}\n")
    assert plan_job("job.yaml").manifest.fingerprint == prepared.manifest.fingerprint


def test_tables_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    table = TABLE
    tables: list[Any] = [table, pd.DataFrame(ROWS), table.to_reader(), duckdb.from_arrow(table)]
    prints = {plan_job(one).manifest.fingerprint for one in tables}
    assert prints == {plan_job(write(tmp_path / "m.parquet")).manifest.fingerprint}
    assert plan_job(pd.DataFrame(ROWS)).job.output == tmp_path / "out" / "dataframe"
    with pytest.raises(
        ManifestError, match=r"^DataFrame: 1 error\nDataFrame: row 1, column 'steps': required an integer"
    ):
        plan_job(pd.DataFrame({"prompt": ["a"], "steps": [0]}))
    with pytest.raises(JobError, match="required one manifest; got the table in memory, too"):
        plan_job(table, "manifest=m.csv")
    wrong: Any = {"prompt": ["a"]}
    with pytest.raises(
        JobError, match="target: required a path, or a table of pandas, Arrow, Polars or DuckDB, got dict"
    ):
        plan_job(wrong)


@pytest.mark.slow
def test_a_table_in_memory_is_rendered_resumed_and_verified(tmp_path: Path) -> None:
    """Its seeds fill torch's whole range, and every reader of the store has them to the last digit."""
    out = tmp_path / "out"
    for _ in range(2):
        assert run_here(pd.DataFrame(ROWS), *JOB, f"output={out}").frames == 2
    assert verify_store(out).problems == ()
    seeds = ROWS["seed"]
    assert [open_store(out).frame(f"still-{row:06d}").row["seed"] for row in (1, 2)] == seeds
    assert duckdb.sql(f"select seed from '{out}/data/*.parquet' order by seed").fetchall() == [
        (seed,) for seed in seeds
    ]
    assert sorted(pd.read_parquet(out / "data")["seed"]) == seeds
    import datasets

    images = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(images["seed"]) == seeds
    assert images.features["seed"].dtype == "uint64"


# The job's keys `labels` and `columns`.


def test_labels_and_columns_of_a_job(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt,cfgs,eta,filename\na,7.5,0.5,x.png\n")
    (tmp_path / "job.yaml").write_text("manifest: m.csv\nlabels: [eta]\ncolumns: {cfgs: guidance, filename: ignore}\n")
    for prepared in (
        plan_job(tmp_path / "job.yaml"),
        plan_job(tmp_path / "m.csv", "labels=[eta]", "columns={cfgs: guidance, filename: ignore}"),
        plan_job(tmp_path / "m.csv", "labels=[eta]", "columns.cfgs=guidance", "columns.filename=ignore"),
    ):
        (walk,) = prepared.manifest.walks()
        assert (walk.start.guidance, walk.start.labels) == (7.5, {"eta": 0.5})


@pytest.mark.slow
def test_a_run_with_names_of_its_own_is_resumed_and_verified(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt,cfgs,lora,size\n3d dog face,1,a,large\n")
    options = ("labels=[lora, size]", "columns.cfgs=guidance", f"output={tmp_path / 'out'}")
    for _ in range(2):
        assert run_here(tmp_path / "m.csv", *JOB, *options).frames == 1
    assert verify_store(tmp_path / "out").problems == ()
    row = open_store(tmp_path / "out").frame("still-000001").row
    assert (row["cfg"], row["lora"], row["size"]) == (1.0, "a", "large")


def test_samplers_of_a_job_are_understood(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt\na\n")
    prepared = plan_job(tmp_path / "m.csv", "sampling.scheduler=DPM++ 2M Karras")
    assert next(prepared.manifest.walks()).start.scheduler == "dpm++2m karras"
    with pytest.raises(JobError, match=r"got 'DPM\+\+ SDE Karras' \(nearest: dpm\+\+ sde\)"):
        plan_job(tmp_path / "m.csv", "sampling.scheduler=DPM++ SDE Karras")
    swept = plan_job(tmp_path / "m.csv", "sweep=[{scheduler: [Euler a, DDIM]}]").manifest
    assert [walk.start.scheduler for walk in swept.walks()] == ["euler_a", "ddim"]


# Paths.


def test_home_is_meant_by_a_tilde_in_every_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (home / "m.csv").write_text("prompt\na\n")
    (home / "t.txt").write_text("{a|b} dog\n")
    (tmp_path / "job.yaml").write_text("manifest: ~/m.csv\noutput: ~/renders\nmedia: ~/photos\n")
    job = plan_job("job.yaml").job
    assert (job.manifest, job.output, job.media) == (home / "m.csv", home / "renders", home / "photos")
    assert plan_job("~/m.csv", "output=~/other").job.output == home / "other"
    assert expand_templates("~/t.txt", "~/t.csv", Expansion(wildcards=Path("~"))) == 1
    for read in (open_store, verify_store, sheet_store):
        with pytest.raises(ValueError, match=str(home / "none")):
            read("~/none")
    assert not (tmp_path / "~").exists()


def test_a_folder_that_readers_take_for_a_column_is_warned_of(tmp_path: Path) -> None:
    """DuckDB would report 5 for every seed."""
    (tmp_path / "m.csv").write_text("prompt\na\n")
    (warning,) = plan_job(tmp_path / "m.csv", f"output={tmp_path}/seed=5/out").warnings
    assert warning == ("output: DuckDB and others read the folder 'seed=5' as a column 'seed' that is '5' in every row")


@pytest.mark.parametrize("name", ["x.safetensors", "models/x.safetensors", "a/b.ckpt", "~/x.safetensors"])
@pytest.mark.parametrize("there", [True, False])
def test_a_checkpoint_of_one_file_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, there: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "m.csv").write_text("prompt\na\n")
    if there:
        (tmp_path / name.removeprefix("~/")).parent.mkdir(exist_ok=True)
        (tmp_path / name.removeprefix("~/")).write_bytes(b"")
    with pytest.raises(ModelError) as caught:
        plan_job("m.csv", f"model.id={name}")
    assert (
        "a checkpoint in one file: diffusers makes a folder of it by StableDiffusionPipeline.from_single_file"
        in str(caught.value)
    )
    assert ("which is not there" in str(caught.value)) is not there


def test_a_long_prompt_is_shortened_in_a_warning(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"prompt\n{'very ' * 2000}nice dog\n")
    (warning,) = plan_job(tmp_path / "m.csv").warnings
    assert len(warning) < 250
    assert warning.endswith("very nice dog'")


# What the plan prints.


def test_the_plan_lists_labels_and_what_is_read_in_its_own_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("prompt;kind;rank;weight;none\na;dog;1;2,5;\n")
    assert main(["plan", str(tmp_path / "m.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("m.csv (semicolons between columns)")
    assert [line for line in lines if line.startswith("label ")] == [
        "label      kind: string, such as 'dog'",
        "label      rank: int64, such as 1",
        "label      weight: double, such as 2.5",
        "label      none: string, all empty",
    ]
    assert "warning: m.csv: column 'weight' is taken as a label: height was not meant?" in lines
