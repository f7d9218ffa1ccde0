"""Which sheets a run writes, and what is on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from render import ManifestError, open_store, plan_job, run_job
from render.cli import main
from render.prepare import frozen_manifest
from render.verify import verify_store

SMALL = ("sampling.steps=2", "sampling.width=64", "sampling.height=64", "workers.count=1", "workers.cpus=1")
SWEEP = "sweep=[{guidance: 1..3..2}, {seed: [1, 2, 3], negative_prompt: ['', blue, red]}]"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stills and a walk at six points."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "m.csv").write_text("walk,prompt,frames,images\n,3d dog face,,2\n,flat red apple,,\nw,a,2,\nw,b,,\n")
    run_job(
        folder / "m.csv",
        *SMALL,
        SWEEP,
        "animation.formats=[]",
        "sheets.kinds=[sweep,walk,still]",
        f"output={folder / 'out'}",
    )
    return folder / "out"


def test_names_carry_the_point(swept: Path) -> None:
    store = open_store(swept)
    stills = [name for name in store.walks if name.startswith("still")]
    assert stills[:2] == [f"still-000001-000{n} guidance=1 seed=1 negative_prompt#1" for n in (0, 1)]
    assert len(stills) == (2 + 1) * 6
    assert "w guidance=3 seed=3 negative_prompt#3" in store.walks
    assert stills[12] == "still-000002 guidance=1 seed=1 negative_prompt#1"
    assert stills[-1] == "still-000002 guidance=3 seed=3 negative_prompt#3"  # by its row, at the last point, too
    row = store.frame("w guidance=3 seed=3 negative_prompt#3").row
    assert (row["cfg"], row["seed"], row["negative_prompt"]) == (3.0, 3, "red")
    assert row["sweep"] == "guidance=3 seed=3 negative_prompt#3"


def test_the_stored_manifest_has_the_sweep_in_it(swept: Path) -> None:
    walks = list(frozen_manifest(swept).walks())
    assert len(walks) == (2 + 1 + 1) * 6
    assert verify_store(swept).problems == ()


def test_sheets_of_a_sweep(swept: Path) -> None:
    """The images of a still at its points, the last group across."""
    names = {path.name for path in (swept / "sheets").iterdir()}
    assert {"sweep-w.png", "sweep-still-000001-0000.png", "stills.png"} <= names
    assert sum(name.startswith("sweep-") for name in names) == 3
    store = open_store(swept)
    page = np.asarray(PIL.Image.open(swept / "sheets" / "sweep-w.png"))
    places = []
    for name in (name for name in store.walks if name.startswith("w ")):
        image = np.asarray(store.frame(name).image())
        tops = np.arange(page.shape[0] - 63)
        places += [
            (top, left)
            for top in tops
            for left in np.flatnonzero((page[top, : page.shape[1] - 63] == image[0, 0]).all(-1))
            if np.array_equal(page[top : top + 64, left : left + 64], image)
        ]
    assert len(places) == 6
    assert len({top for top, _ in places}) == 2
    assert len({left for _, left in places}) == 3
    assert places == sorted(places)


def test_the_command_writes_them_anew(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (swept / "sheets" / "stills.png").unlink()
    assert main(["sheets", str(swept), "sheets.kinds=[still]", "sheets.cell=32"]) == 0
    assert capsys.readouterr().out.strip().endswith("sheets/stills.png")
    assert (swept / "sheets" / "stills.png").exists()


def test_a_plan_tells_the_points(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = swept.parent / "m.csv"
    assert main(["plan", str(manifest), SWEEP]) == 0
    assert "sweep      6 points of every row" in capsys.readouterr().out
    assert main(["plan", str(manifest), SWEEP, "sweep_limit=5"]) == 2
    assert "6 points (2 × 3)" in capsys.readouterr().err


def test_what_a_sweep_can_not_set_is_told(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("prompt,sweep\na,x\n")
    with pytest.raises(ManifestError, match="column 'sweep': required no column of this name"):
        plan_job(path)
    path.write_text("prompt\na\n")
    with pytest.raises(ManifestError, match="column 'steps': required an integer"):
        plan_job(path, "sweep=[{steps: [0, 4]}]")
