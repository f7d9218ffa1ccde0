"""The job of an output planned again, when what it names has moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from render.cli import main
from render.core import InputError, JobError
from render.job import load_job
from render.prepare import Prepared, prepare, prepare_again, record_or_resume
from render.store import Ledger

ROOT = Path(__file__).parents[2]


@pytest.fixture
def moved(tmp_path: Path) -> Prepared:
    """An output that was begun in a cluster, with a start image in a folder that is gone."""
    media = tmp_path / "unpacked"
    media.mkdir()
    shutil.copy(next((ROOT / "manifests" / "gallery").glob("*.png")), media / "start.png")
    (tmp_path / "m.csv").write_text("prompt,image,strength\n3d dog,start.png,0.5\n")
    job = load_job(tmp_path / "m.csv", [f"media={media}", f"output={tmp_path / 'out'}", "sampling.steps=2"])
    prepared = prepare(job, weights=True)
    record_or_resume(prepared)
    ledger = Ledger(prepared.job.output)
    ledger.create()
    ledger.folder.job.write_text(ledger.folder.job.read_text().replace("address: null", "address: 127.0.0.1:1"))
    media.rename(tmp_path / "kept")
    return prepared


def test_what_has_moved_is_named_by_overrides(moved: Prepared, tmp_path: Path) -> None:
    out = moved.job.output
    with pytest.raises(InputError, match=r"start\.png|workers\.address"):
        prepare_again(out)
    with pytest.raises(InputError, match=r"start\.png[^$]*\n\(what has moved can be named after OUT: media=FOLDER"):
        prepare_again(out, ["workers.address=null"])
    again = prepare_again(out, [f"media={tmp_path / 'kept'}", "workers.address=null"])
    assert again.job.media_root == tmp_path / "kept"
    assert again.plan.fingerprint == moved.plan.fingerprint


def test_another_picture_of_the_same_name_is_refused(moved: Prepared, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "kept" / "start.png")
    with pytest.raises(InputError, match=r"start\.png|manifest"):
        prepare_again(moved.job.output, [f"media={tmp_path / 'kept'}", "workers.address=null"])


@pytest.mark.parametrize("override", ["sampling.steps=3", "model.clip_skip=1", "workers.batch_rows=2", "mediax=1"])
def test_what_would_change_pixels_is_refused(moved: Prepared, override: str) -> None:
    with pytest.raises(JobError, match=f"override '{override}': required media, workers.address"):
        prepare_again(moved.job.output, [override])


def test_the_commands_take_them(moved: Prepared, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(moved.job.output)
    places = [f"media={tmp_path / 'kept'}", "workers.address=null"]
    assert main(["retry", out, *places]) == 0
    assert "0 frames tried again" in capsys.readouterr().out
    for command in ("retry", "repair"):
        assert main([command, out]) == 2
        assert main([command, out, "sampling.steps=3"]) == 2
        assert "required media" in capsys.readouterr().err
