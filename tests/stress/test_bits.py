"""The stress test finds what it looks for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bits import Comparison, Setting, walks

SETTING = Setting("float32", 2, 8)


def stored(folder: Path, *hashes: str) -> Path:
    (folder / "data").mkdir(parents=True)
    columns = {"walk": ["w"] * len(hashes), "frame": list(range(len(hashes))), "sha256": list(hashes)}
    pq.write_table(pa.table(columns), folder / "data" / "train-0.parquet")
    return folder


def test_equal_frames_are_counted_and_their_folders_deleted(tmp_path: Path) -> None:
    comparison = Comparison(tmp_path)
    for name in ("a", "b", "c"):
        comparison.add(SETTING, stored(tmp_path / name, "x", "y"))
    assert comparison.differences == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert comparison.summary(60) == "6 renders (6 in float32), 3 workers, 1.0 minutes: no difference"


@pytest.mark.parametrize("hashes", [("x", "z"), ("x",), ("x", "y", "z")])
def test_other_pixels_are_found(tmp_path: Path, hashes: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    comparison = Comparison(tmp_path)
    comparison.add(SETTING, stored(tmp_path / "a", "x", "y"))
    comparison.add(SETTING, stored(tmp_path / "b", *hashes))
    assert comparison.differences == 1
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}
    assert "DIFFERS: w " in capsys.readouterr().out
    assert "1 differ" in comparison.summary(60)


def test_settings_have_hashes_of_their_own(tmp_path: Path) -> None:
    comparison = Comparison(tmp_path)
    comparison.add(SETTING, stored(tmp_path / "a", "x"))
    comparison.add(Setting("bfloat16", 2, 8), stored(tmp_path / "b", "y"))
    assert comparison.differences == 0


def test_it_renders_stills_and_walks() -> None:
    made = list(walks())
    assert {walk.still for walk in made} == {True, False}
    assert len({walk.name for walk in made}) == len(made)
