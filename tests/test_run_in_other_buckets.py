"""Outputs in Google's and Azure's stores: whole runs, the commands on them, and the same command after faults."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

import pytest
from buckets import copy_of, left_in_scratch
from fault_proxy import Asked, Proxy
from painters import painting
from stores import pixels
from test_run_in_bucket import SETTINGS, SMALL, moving_parts, names, paint

from render import RunError, StoreError, open_store, run_job, verify_store
from render.cli import main
from render.core import ObjectPath
from render.store.ledger import Ledger

pytest_plugins = ["other_buckets"]

EVERY = int(os.environ.get("RENDER_TEST_EVERY", "25"))  # of a request that fails in turn


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.csv").write_text(SMALL)
    return tmp_path / "small.csv"


def test_a_run_in_a_bucket_is_the_run_in_a_folder(small: Path, other_bucket: ObjectPath, tmp_path: Path) -> None:
    paint(small, other_bucket)
    paint(small, tmp_path / "out")
    copy = copy_of(other_bucket, tmp_path / "copy")
    assert pixels(copy) == pixels(tmp_path / "out")
    assert moving_parts(copy) == moving_parts(tmp_path / "out")
    assert names(copy) == [name for name in names(tmp_path / "out") if name != ".run/lock"]
    before = sorted((path.name, path.facts().etag) for path in (other_bucket / "data").iterdir())
    paint(small, other_bucket)
    assert sorted((path.name, path.facts().etag) for path in (other_bucket / "data").iterdir()) == before
    assert verify_store(other_bucket).problems == ()
    assert left_in_scratch() == []


@pytest.mark.long
def test_the_commands_on_a_store(small: Path, other_bucket: ObjectPath) -> None:
    paint(small, other_bucket)
    before = moving_parts(other_bucket)
    for name in before:
        (other_bucket / name).unlink()
    assert [main([name, str(other_bucket)]) for name in ("verify", "animate", "sheets")] == [0, 0, 0]
    assert moving_parts(other_bucket) == before
    store = open_store(str(other_bucket))
    assert store.frame("ball", 2).image().size == (64, 64)
    assert len(store.dataset().to_table(columns=["walk"])) == 5
    small.write_text(f"{SMALL},3d octopus,4,\n")
    with painting():
        assert run_job(small, *SETTINGS, f"output={other_bucket}", extend=True).frames == 6
    assert left_in_scratch() == []


def test_a_second_run_is_kept_out(other_bucket: ObjectPath) -> None:
    ledger = Ledger(other_bucket)
    ledger.create()
    with ledger.lock(), pytest.raises(StoreError), Ledger(other_bucket).lock():
        pass
    with ledger.lock():
        pass


def test_a_table_in_a_bucket(other_bucket: ObjectPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "small.csv").write_text(SMALL)
    (other_bucket / "tables" / "small.csv").upload(tmp_path / "small.csv")
    with painting():
        assert run_job(f"{other_bucket}/tables/small.csv", *SETTINGS, f"output={tmp_path / 'out'}").frames == 5


@pytest.mark.long
@pytest.mark.parametrize("fault", ["cut", "lose"])
def test_the_same_command_resumes_after_a_fault_at_any_request(
    small: Path, other_bucket: ObjectPath, proxy: Proxy, tmp_path: Path, fault: str
) -> None:
    """From some request on the store does not answer; then it does."""
    paint(small, tmp_path / "whole")
    module = import_module(f"render.core.{other_bucket.parts[0][:-1]}")
    fewer = {"TRIES": 1, "FIRST_TRIES": 1} if module.__name__.endswith("az") else {"TRY_S": 0.01, "FIRST_TRY_S": 0.01}
    proxy.begin()
    paint(small, other_bucket / "whole")
    total = len(proxy.asked)
    for number in range(3, total, EVERY):
        out = other_bucket / f"out-{number}"

        def broken(asked: Asked, number: int = number) -> str:
            return fault if asked.number == number else "cut" if asked.number > number else ""

        proxy.begin(broken)
        module.open_bucket.cache_clear()
        with patch.multiple(module, **fewer), pytest.raises((RunError, StoreError)):
            paint(small, out)
        proxy.begin()
        module.open_bucket.cache_clear()
        (out / ".run" / "lock").unlink()  # as that of a dead process
        paint(small, out)
        assert verify_store(out).problems == (), number
        copy = copy_of(out, tmp_path / f"copy-{number}")
        assert pixels(copy) == pixels(tmp_path / "whole"), number
        assert names(copy) == [name for name in names(tmp_path / "whole") if name != ".run/lock"], number
