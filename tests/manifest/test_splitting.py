"""Splits of the data set: a column of the table, or shares of the job by the hash of prompts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from manifest_tables import DEFAULTS, MODELS, assert_frozen, csv, error

from render.core import hashed_split
from render.manifest.read import read_manifest
from render.manifest.stored import Manifest, read_stored

pytest_plugins = ["manifest_tables"]
SHARES = {"train": 0.5, "test": 0.3, "validation": 0.2}


def hashed(path: Path, text: str, shares: dict[str, float] = SHARES) -> Manifest:
    path.write_text(text)
    return read_manifest(path, replace(DEFAULTS, splits=shares), MODELS)


def splits_of(manifest: Manifest) -> list[str]:
    return [walk.split for walk in manifest.walks()]


def test_a_column_says_the_split(path: Path) -> None:
    manifest = csv(path, "walk,prompt,split\nw,a,test\nw,b,\n,c,\n,d, Validation \n,e,fold_1\n")
    assert splits_of(manifest) == ["test", "train", "validation", "fold_1"]
    assert manifest.splits == ("train", "validation", "test", "fold_1")
    assert manifest.labels == ()
    assert_frozen(manifest, path.with_name("frozen.parquet"))


def test_without_a_word_all_is_train(path: Path) -> None:
    manifest = csv(path, "prompt\na\nb\n")
    assert (manifest.splits, splits_of(manifest)) == (("train",), ["train", "train"])
    assert csv(path, "prompt,split\na,\nb,train\n").fingerprint == manifest.fingerprint


@pytest.mark.parametrize("cell", ["all", "a-b", "1", "über", "x" * 41, "none", "train[:10%]"])
def test_names_that_are_no_splits(path: Path, cell: str) -> None:
    line = error(path, f"prompt,split\np,{cell}\n")
    assert line.startswith("row 1, column 'split': required a name such as train, validation or test: 1 … 40 letters")


def test_a_walk_is_in_one_split(path: Path) -> None:
    line = error(path, "walk,prompt,split\nw,a,train\nw,b,test\n")
    assert line == "row 2, column 'split': required the value of its walk's first row, or an empty cell; got test"


def test_shares_follow_from_the_prompts_alone(path: Path) -> None:
    prompts = [f"prompt {number}" for number in range(2000)]
    manifest = hashed(path, "prompt,seed\n" + "".join(f"{prompt},1\n{prompt},2\n" for prompt in prompts))
    found = splits_of(manifest)
    assert found[0::2] == found[1::2] == [hashed_split(prompt, SHARES) for prompt in prompts]
    for name, share in SHARES.items():
        assert abs(found.count(name) / len(found) - share) < 0.04
    place = int.from_bytes(hashlib.sha256(b"prompt 0").digest()[:8]) / 2**64
    assert found[0] == ("train" if place < 0.5 else "test" if place < 0.8 else "validation")


def test_a_walk_takes_the_split_of_its_first_prompt(path: Path) -> None:
    prompts = [f"prompt {number}" for number in range(20)]
    text = "walk,prompt\n" + "".join(f"w{n},{prompt}\nw{n},end {n}\n" for n, prompt in enumerate(prompts))
    assert splits_of(hashed(path, text)) == [hashed_split(prompt, SHARES) for prompt in prompts]


def test_cells_come_before_shares(path: Path) -> None:
    manifest = hashed(path, "prompt,split\n" + "".join(f"p{n},extra\nq{n},\n" for n in range(20)))
    expected = [split for n in range(20) for split in ("extra", hashed_split(f"q{n}", SHARES))]
    assert splits_of(manifest) == expected


def test_prompts_in_several_splits_are_told(path: Path) -> None:
    manifest = csv(path, "prompt,split\na,train\nb,train\na,train\na,test\nb,test\nc,test\n")
    assert manifest.warnings == (
        f"{path.name}: row 4, column 'split': 'a' is in test, and on row 1 in train, and 1 other prompt: what is trained "
        "on should not be tested on",
    )
    assert csv(path, "prompt,split\na,train\na,train\nb,test\n").warnings == ()


def test_a_stored_manifest_of_before_is_read(path: Path) -> None:
    manifest, target = csv(path, "prompt\na\n"), path.with_name("frozen.parquet")
    manifest.write(target)
    pq.write_table(pq.read_table(target).drop_columns(["split"]), target)
    again = read_stored(target)
    assert (again.splits, again.fingerprint) == (("train",), manifest.fingerprint)
