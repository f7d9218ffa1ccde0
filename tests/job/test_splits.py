"""The job's key `splits`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from render.core import JobError
from render.job import load_job, to_yaml


def job(folder: Path, splits: Any, *overrides: str) -> Any:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({"manifest": "m.csv", "splits": splits}, sort_keys=False))
    return load_job(path, overrides)


def test_shares_are_read_and_written(tmp_path: Path) -> None:
    found = job(tmp_path, {"train": 0.9, "Test": 0.1})
    assert found.splits == {"train": 0.9, "test": 0.1}
    (tmp_path / "again.yaml").write_text(to_yaml(found))
    assert load_job(tmp_path / "again.yaml").splits == found.splits
    assert load_job(tmp_path / "again.yaml", ["splits.train=0.8", "splits.test=0.2"]).splits == {
        "train": 0.8,
        "test": 0.2,
    }
    assert job(tmp_path, {"train": 0.9, "test": 0.1}, "splits={a: 1}").splits == {"a": 1.0}
    assert job(tmp_path, None).splits == {}


def test_thirds_add_up(tmp_path: Path) -> None:
    assert len(job(tmp_path, {"a": 0.333333, "b": 0.333333, "c": 0.333334}).splits) == 3


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        ({"train": 0.9, "test": 0.2}, "key 'splits': required shares that add up to 1; got 1.1 (train 0.9, test 0.2)"),
        (0.9, "key 'splits': required names with shares, such as {train: 0.9, test: 0.1}; got 0.9"),
        ({"train": "90%"}, "key 'splits.train': required a share above 0, up to 1; got '90%'"),
        ({"train": 0}, "key 'splits.train': required a share above 0, up to 1; got 0"),
        ({"all": 1.0}, "key 'splits.all': required a name such as train, validation or test"),
        ({"a": float("nan")}, "key 'splits.a': required a share above 0, up to 1; got nan"),
    ],
)
def test_shares_that_are_none(tmp_path: Path, splits: Any, problem: str) -> None:
    with pytest.raises(JobError) as caught:
        job(tmp_path, splits)
    assert f"{tmp_path / 'job.yaml'}: {problem}" in str(caught.value)


def test_every_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(JobError) as caught:
        job(tmp_path, {"a-b": 0.5, "c": 2}, "seed=-1")
    assert len(str(caught.value).splitlines()) == 3
