"""Merging of shards; the reference is pyarrow."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from render.core import Receipt, file_sha256
from render.store.compaction import write_compact

NAN = float("nan")


def test_labels_that_are_not_a_number_are_merged(tmp_path: Path) -> None:
    """Arrow takes no table with NaN for equal to another one, nor to itself."""
    sources = []
    for number, label in enumerate((NAN, 0.5)):
        path = tmp_path / f"train-0000{number}-of-00002-0123abcd.parquet"
        images = [{"bytes": b"png", "path": "x.png"}] * 2
        pq.write_table(pa.table({"image": images, "label": [label, NAN], "labels": [[label, 1.0], [NAN]]}), path)
        receipt = Receipt(f"0000{number}", path.name, 2, path.stat().st_size, file_sha256(path), 1.0, 4)
        sources.append((path, receipt))
    (tmp_path / "scratch").mkdir()
    compaction = write_compact(sources, tmp_path / "scratch")
    labels = pq.read_table(tmp_path / "scratch" / compaction.file)["label"].to_pylist()
    assert repr(labels) == repr([NAN, NAN, 0.5, NAN])
    assert compaction.rows() == {"00000": slice(0, 2), "00001": slice(2, 4)}
