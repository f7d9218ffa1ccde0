"""What travels with a job: the same plan there as here, no secret, nothing that is too large."""

from __future__ import annotations

import gzip
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from heads import ROOT
from safetensors.numpy import save_file
from stores import Finished

from render import plan_job
from render.core import JobError, WebPath
from render.job import load_job
from render.prepare import prepare
from render.submit import package as packing
from render.submit.package import Package, pack, package_modules, why_too_large, write_package

pytest_plugins = ["stores"]
TABLE = (
    "walk,prompt,seed,frames,image,strength,kind\na,3d dog,7,3,,,1\na,3d cat,8,,,,1\n,3d dog,1,,sub/start.png,0.5,2\n"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of a job with a table, pictures, and files that no cell names."""
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(next((ROOT / "manifests" / "gallery").glob("*.png")), folder / "sub" / "start.png")
    (folder / "sub" / "unused.png").write_bytes(b"no picture")
    (folder / "night.csv").write_text(TABLE)
    (folder / "job.yaml").write_text("manifest: night.csv\nsampling: {steps: 3}\nsweep: [{guidance: [1, 4]}]\n")
    return folder


def packed(target: Path, *overrides: str, **how: Any) -> Package:
    job = load_job(target, overrides)
    return pack(job, prepare(job).manifest, **how)


def unpacked(package: Package, folder: Path) -> Path:
    write_package(package, folder / "job.zip")
    with zipfile.ZipFile(folder / "job.zip") as archive:
        archive.extractall(folder / "there")
    return folder / "there"


def test_the_plan_there_is_the_plan_here(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = f"output={tmp_path / 'out'}"
    there = unpacked(packed(source / "job.yaml", "seed=4", out), tmp_path)
    assert sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()) == [
        "inputs/manifest/night.csv",
        "inputs/media/sub/start.png",
        "job.yaml",
    ]
    here = plan_job(source / "job.yaml", "seed=4", out)
    shutil.rmtree(source)
    monkeypatch.chdir(there)
    found = plan_job("job.yaml", "workers.address=null")
    assert found.plan.fingerprint == here.plan.fingerprint
    assert found.job.output == here.job.output
    assert found.manifest.name == here.manifest.name
    assert yaml.safe_load((there / "job.yaml").read_text())["workers"]["address"] == "auto"


def test_the_same_content_is_the_same_package(source: Path, tmp_path: Path) -> None:
    """So that nothing is uploaded twice."""
    for name in ("one", "two"):
        write_package(packed(source / "job.yaml", f"output={tmp_path}"), tmp_path / name)
        (source / "night.csv").touch()
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_folders_of_tables_and_loras(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tables").mkdir()
    for name in ("a", "b"):
        (tmp_path / "tables" / f"{name}.csv").write_text(f"prompt\n3d {name}\n")
    lora = tmp_path / "style.safetensors"
    save_file({"unet.down.lora_A.weight": np.zeros((4, 8), np.float32)}, lora)
    target = tmp_path / "job.yaml"
    target.write_text(
        f"manifest: tables\noutput: {tmp_path / 'out'}\nmodel: {{loras: [{{path: {lora.name}, weight: 0.5}}]}}\n"
    )
    there = unpacked(packed(target), tmp_path)
    monkeypatch.chdir(there)
    found = plan_job("job.yaml", "workers.address=null")
    assert found.plan.fingerprint == plan_job(target).plan.fingerprint
    assert found.job.model.loras[0].path == there / "inputs" / "loras" / "main-0" / "style.safetensors"


def test_a_signed_address_stays_here(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file travels; the address is in no file of the package."""
    (source / "night.csv").write_text("prompt\n3d dog\n")
    address = "https://host/night.csv?signature=SECRET"
    monkeypatch.setattr(packing, "local_file", lambda *_: source / "night.csv")
    job = load_job(source / "night.csv", [f"output={tmp_path / 'out'}"])
    manifest = prepare(job).manifest
    job = load_job(address, [f"output={tmp_path / 'out'}"])
    assert isinstance(job.manifest, WebPath)
    there = unpacked(pack(job, manifest), tmp_path)
    assert (there / "inputs" / "manifest" / "night.csv").read_text() == "prompt\n3d dog\n"
    assert "SECRET" not in (there / "job.yaml").read_text()
    assert "signature" not in (there / "job.yaml").read_text()


def test_what_is_too_large_stays_behind_with_its_path(source: Path, tmp_path: Path) -> None:
    size = (source / "sub" / "start.png").stat().st_size
    package = packed(source / "job.yaml", f"output={tmp_path}", limit_bytes=size - 1)
    assert [group.what for group in package.left] == ["media"]
    assert package.job.media == source
    assert [group.what for group in package.groups] == ["manifest"]
    assert package.size_bytes < size
    told = why_too_large(package.left[0])
    assert told.startswith("media: required at most 200 MB of inputs that travel with a job, or a URL, or a folder")


def test_the_record_of_the_version_travels_with_the_package(tmp_path: Path) -> None:
    package, record = package_modules(tmp_path)
    assert package == str(ROOT / "render")
    lines = (Path(record) / "METADATA").read_text().splitlines()
    assert lines[1] == "Name: nightrender"


@pytest.mark.parametrize(
    ("table", "cell"),
    [
        ("night.csv", "a\\b.png"),
        ("night.csv", "sub/../start.png"),
        ("a\\b.csv", "start.png"),
        (os.fsdecode(b"l\xe4tin.csv"), "start.png"),
    ],
)
def test_names_that_would_not_be_unpacked_are_refused(source: Path, table: str, cell: str) -> None:
    shutil.copy(source / "sub" / "start.png", source / cell)
    (source / table).write_text(f"prompt,image,strength\n3d dog,{cell},0.5\n")
    with pytest.raises(JobError, match=r"required names in UTF-8, without \\ and \.\."):
        packed(source / table)


def test_of_a_folder_only_its_tables_travel(tmp_path: Path) -> None:
    """What lies beside them may be secret, large, or no file at all."""
    (tmp_path / "tables").mkdir()
    for name in ("a.csv", "b.tsv.gz", ".env", "notes.txt", "c.parquet"):
        (tmp_path / "tables" / name).write_bytes(
            gzip.compress(b"prompt\n3d b\n") if "gz" in name else b"prompt\n3d a\n"
        )
    there = unpacked(packed(tmp_path / "tables", f"output={tmp_path / 'out'}"), tmp_path)
    assert sorted(path.name for path in (there / "inputs/manifest/tables").iterdir()) == ["a.csv", "b.tsv.gz"]


def test_of_a_store_the_committed_shards_travel(
    copied: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run leaves shards without a commit. Their frames are none of the job's there either."""
    shard = min((copied.out / "data").iterdir())
    (copied.out / "data" / "train-00000-of-00009-12345678.parquet").write_bytes(shard.read_bytes())
    out = f"output={tmp_path / 'again'}"
    here = plan_job(copied.out / "data", out)
    there = unpacked(packed(copied.out / "data", out), tmp_path)
    monkeypatch.chdir(there)
    assert plan_job("job.yaml", "workers.address=null").plan.fingerprint == here.plan.fingerprint
