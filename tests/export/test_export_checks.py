"""Nothing is written on bad input: every error at once, with where, required and got."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from exports import export

from render import JobError, StoreError
from render.export.checks import parse_shares, parse_size

pytest_plugins = ["exports"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": "zip"}, "--to: required one of hf, webdataset, imagefolder, kohya, csv, lance; got 'zip'"),
        ({"where": "thing = "}, "--where: required a condition in SQL over the columns prompt, .*; got 'thing = '"),
        ({"where": "colour = 'red'"}, "--where: .*colour"),
        ({"where": "false"}, "--where: required frames to export, got none for which 'false' holds"),
        ({"columns": ("prompt", "colour")}, "--columns: required columns among prompt, .*; got 'colour'"),
        ({"balance": "colour"}, "--balance: required a column, one of prompt, .*; got 'colour'"),
        ({"dedupe": "colour"}, "--dedupe: required a column"),
        ({"caption": "colour"}, "--caption: required a column"),
        ({"splits": "colour"}, "--splits: required a column"),
        ({"splits": "train=0.9,test=0.2"}, "--splits: required names with shares .*; got .* together 1.1"),
        ({"splits": "train=0.9,train=0.1"}, "got the name 'train' twice"),
        ({"splits": "train=1,test=0"}, "--splits: required names with shares"),
        ({"splits": "a b=1"}, "got the name 'a b'"),
        ({"splits": "a=nan"}, "--splits: required names with shares"),
        ({"splits": "a=half"}, "got the share 'half'"),
        ({"format": "gif"}, "--format: required one of png, webp, jpeg; got 'gif'"),
        ({"max_shard": "big"}, "--max-shard: required a size such as 500MB or 2GiB, got 'big'"),
        ({"max_shard": "1GB", "to": "kohya"}, "--max-shard: required a target with many pictures a file"),
        ({"repeats": 2}, "--repeats: required --to kohya, got hf"),
        ({"repeats": 0, "to": "kohya"}, "--repeats: required a number from 1, got 0"),
    ],
)
def test_bad_options_are_refused(store: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError, match=message):
        export(store, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_all_errors_come_at_once(store: Path, tmp_path: Path) -> None:
    with pytest.raises(JobError) as raised:
        export(store, store / "export", where="1 +", columns=("a",), balance="b", splits="c=2", max_shard="-1")
    assert {line.split(":")[0].split(" ")[0] for line in str(raised.value).splitlines()} == {
        *("-o", "--where", "--columns", "--balance", "--splits")
    }
    assert not (store / "export").exists()


def test_a_folder_with_other_files_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        StoreError, match="required a new or empty folder, or that of an export; got one with other files"
    ):
        export(store, tmp_path)
    with pytest.raises(JobError, match="required a new or empty folder, got a file"):
        export(store, tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_url_is_refused(store: Path) -> None:
    with pytest.raises(JobError, match=re.escape("required a folder of this machine, got a URL")):
        export(store, Path("s3://bucket/out"))


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        export(tmp_path / "none", tmp_path / "out")


def test_a_name_that_the_target_uses_itself_is_refused(store: Path, tmp_path: Path) -> None:
    from render.catalog import Catalog, CatalogColumn
    from render.export.checks import check_export
    from render.export.value import Export

    with Catalog(store) as catalog:
        catalog._columns = (*catalog.columns, CatalogColumn("text", "VARCHAR", "label"))
        with pytest.raises(JobError, match="--columns: required none named 'text', which imagefolder uses itself"):
            check_export(Export(to="imagefolder", folder=tmp_path / "out"), catalog)


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("10 kB", 10_000), ("2MiB", 2 * 2**20), ("1.5g", 1_500_000_000), ("1TB", 10**12)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_shares_may_be_thirds() -> None:
    assert [name for name, _ in parse_shares("a=0.3333333,b=0.3333333,c=0.3333334")] == ["a", "b", "c"]
