"""Objects that are empty or not whole are damage, on every kind of store: named, and mended by `render repair`."""

from __future__ import annotations

from pathlib import Path

import pytest
from painters import painting
from test_run_in_bucket import SETTINGS, SMALL

from render import StoreError, open_store, repair_store, run_job, verify_store
from render.core import ObjectPath, write_atomically

pytest_plugins = ["buckets", "other_buckets"]

QUICK = (*SETTINGS, "sheets.kinds=[]", "animation.formats=[]")


def read_all(out: ObjectPath) -> None:
    store = open_store(out)
    for walk in store.walks:
        list(store.frames(walk))


def test_what_is_not_whole_is_damage_and_no_outage(any_bucket: ObjectPath, tmp_path: Path) -> None:
    """An object of 0 bytes has no range that could be read: S3 answers 416."""
    (tmp_path / "small.csv").write_text(SMALL)
    with painting():
        run_job(tmp_path / "small.csv", *QUICK, f"output={any_bucket}")
        empty, half, _ = sorted((any_bucket / "data").iterdir())
        *_, record = sorted((any_bucket / ".run" / "commits").iterdir())
        write_atomically(empty, b"")
        write_atomically(half, half.read_bytes()[:100])
        with pytest.raises(
            StoreError, match=rf"{empty.name}: .*got a damaged one.*`render repair {any_bucket}` mends it"
        ):
            read_all(any_bucket)
        write_atomically(record, b"")
        with pytest.raises(
            StoreError, match=rf"`render repair {any_bucket}` mends them:\s.*{record.name}.*an empty file"
        ):
            read_all(any_bucket)
        found = "\n".join(map(str, verify_store(any_bucket).problems))
        assert all(path.name in found for path in (empty, half, record)), found
        with pytest.raises(StoreError, match=f"`render repair {any_bucket}` mends") as caught:
            run_job(tmp_path / "small.csv", *QUICK, f"output={any_bucket}")
        assert all(path.name in str(caught.value) for path in (empty, half, record)), caught.value
        if str(any_bucket).startswith("s3"):
            repair_store(any_bucket)
            assert verify_store(any_bucket).problems == ()
