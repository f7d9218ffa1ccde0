"""Which sheets a run writes, and what is on them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import PIL.Image
import pytest
from PIL.PngImagePlugin import PngImageFile
from stores import run_here

from render import ManifestError, open_store, plan_job
from render.cli import main
from render.job.settings import override
from render.job.sweep import UNSWEPT, parse_sweep
from render.mending.verify import verify_store
from render.output import sheets
from render.output.layout import Sheet
from render.output.sheets import write_sheets
from render.prepare.resume import stored_manifest

SMALL = ("sampling.steps=2", "sampling.width=64", "sampling.height=64", "workers.count=1", "workers.cpus=1")
KINDS = "sheets.kinds=[sweep,walk,images,still]"
SWEEP = "sweep=[{guidance: 1..3..2}, {seed: [1, 2, 3], negative_prompt: ['', blue, red]}]"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stills and a walk at six points."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "m.csv").write_text("walk,prompt,frames,images\n,3d dog face,,2\n,flat red apple,,\nw,a,2,\nw,b,,\n")
    run_here(
        folder / "m.csv",
        *SMALL,
        SWEEP,
        "animation.formats=[]",
        KINDS,
        f"output={folder / 'out'}",
    )
    return folder / "out"


@pytest.mark.slow
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
    walks = list(stored_manifest(swept).walks())
    assert len(walks) == (2 + 1 + 1) * 6
    assert verify_store(swept).problems == ()


def test_sheets_of_a_sweep(swept: Path) -> None:
    """The images of a still at its points, the last group across."""
    names = {path.name for path in (swept / "sheets" / "sweep").iterdir()}
    assert names == {"w.png", "still-000001-0000.png", "still-000002.png"}
    store = open_store(swept)
    page = np.asarray(PIL.Image.open(swept / "sheets" / "sweep" / "w.png"))
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


def test_each_kind_has_names_of_its_own(swept: Path) -> None:
    sheets = swept / "sheets"
    assert {path.name for path in sheets.iterdir()} == {"sweep", "walk", "images", "stills.png"}
    points = list(parse_sweep(override(SWEEP)[1]).names())
    assert {path.name for path in (sheets / "walk").iterdir()} == {f"w {point}.png" for point in points}
    assert {path.name for path in (sheets / "images").iterdir()} == {f"still-000001 {point}.png" for point in points}


@pytest.mark.slow
def test_all_images_of_a_row(swept: Path) -> None:
    point = "guidance=3 seed=2 negative_prompt#2"
    page = PIL.Image.open(swept / "sheets" / "images" / f"still-000001 {point}.png")
    assert isinstance(page, PngImageFile)
    assert page.text["Title"] == f"3d dog face ({point})"
    store, found = open_store(swept), []
    for image in (np.asarray(store.frame(f"still-000001-000{n} {point}").image()) for n in (0, 1)):
        windows = np.lib.stride_tricks.sliding_window_view(np.asarray(page), image.shape)[:, :, 0]
        found.append(np.argwhere((windows == image).all((-1, -2, -3))).tolist())
    ((y, x),), ((y_too, x_too),) = found
    assert (y, x + 64) < (y_too + 1, x_too)


class Told:
    """Stands for `write_sheet`: keeps what is asked for."""

    def __init__(self) -> None:
        self.sheets: dict[str, Sheet] = {}

    def __call__(self, path: Path, images: Iterable[object], sheet: Sheet) -> tuple[Path, ...]:
        assert list(images)
        assert path.name not in self.sheets
        self.sheets[path.name] = sheet
        return (path,)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Sheet]:
    told = Told()
    monkeypatch.setattr(sheets, "write_sheet", told)
    return told.sheets


def plain_store(path: Path) -> Any:
    """An empty store, in which every walk is said to be."""
    store = SimpleNamespace(path=path, firsts=lambda names: (None for _ in names))
    return MagicMock(wraps=store, path=path, __contains__=lambda *_: True, frames=lambda _: SimpleNamespace(indices=[]))


def test_what_is_not_committed(tmp_path: Path) -> None:
    """A sheet for what is there in part, its empty cells crossed; none for what is not there at all."""
    (tmp_path / "m.csv").write_text("prompt,width,height\na,128,64\nb,128,64\n")
    sweep = "sweep=[{seed: [1, 2]}]"
    walks = plan_job(tmp_path / "m.csv", sweep).manifest.walks
    committed = next(iter(walks())).name
    white = PIL.Image.new("RGB", (128, 64), (255, 255, 255))
    frame = SimpleNamespace(image=lambda: white)
    store = MagicMock(path=tmp_path, __contains__=lambda _, name: name == committed)
    store.firsts = lambda names: (frame if name == committed else None for name in names)
    written = list(write_sheets(store, walks, parse_sweep(override(sweep)[1]), ["sweep", "still"], 128))
    assert [path.name for path in written] == ["still-000001.png", "stills.png"]
    page = np.asarray(PIL.Image.open(written[0]).convert("L"))
    windows = np.lib.stride_tricks.sliding_window_view(page, (64, 128))
    places = (windows[..., 32, 63] == 160) & np.isin(windows[..., ::63, ::127], 160).all((-1, -2))  # centre, corners
    ((top, left),) = np.argwhere(places)
    assert np.unique(page[top : top + 64, left : left + 128]).tolist() == [160, 224]
    store = MagicMock(path=tmp_path, __contains__=lambda *_: False)
    assert not list(write_sheets(store, walks, parse_sweep(override(sweep)[1]), ["sweep", "still"], 128))


def titles_of(told: dict[str, Sheet], tmp_path: Path, rows: str, groups: object) -> dict[str, tuple[str, str, str]]:
    """(title, row title, column title) of every sweep's sheet."""
    (tmp_path / "m.csv").write_text(rows)
    sweep = parse_sweep(groups)
    prepared = plan_job(tmp_path / "m.csv", f"sweep={json.dumps(groups)}")
    list(write_sheets(plain_store(tmp_path), prepared.manifest.walks, sweep, ["sweep"], 64))
    return {name: (sheet.title, sheet.row_title, sheet.column_title) for name, sheet in told.items()}


def test_a_sweep_names_its_axes(told: dict[str, Sheet], tmp_path: Path) -> None:
    groups = [{"guidance": [1, 2]}, {"steps": 3}, {"seed": [1, 2], "negative_prompt": ["", "x"]}]
    rows = "walk,prompt\n,a dog\nzoo,a cat\n"
    assert titles_of(told, tmp_path, rows, groups) == {
        "still-000001.png": ("still-000001: a dog", "guidance; steps", "seed, negative_prompt"),
        "zoo.png": ("zoo: a cat", "guidance; steps", "seed, negative_prompt"),
    }
    assert told["zoo.png"].row_labels == ("1; 3", "2; 3")
    assert told["zoo.png"].column_labels == ("1, none", "2, x")


def test_a_sweep_of_prompts_is_named_after_none(told: dict[str, Sheet], tmp_path: Path) -> None:
    """And its walks after what stands before the point, whatever the points begin with alike."""
    found = titles_of(told, tmp_path, "walk,prompt\n,a dog\nzoo,a cat\n", [{"prompt": ["red car", "red bus"]}])
    names = ("still-000001", "zoo")
    assert found == {f"{name}.png": (name, "", "prompt") for name in names}


def test_captions_tell_what_moves(told: dict[str, Sheet], tmp_path: Path) -> None:
    gallery = Path(__file__).parents[2] / "manifests" / "gallery"
    walks = plan_job(gallery).manifest.walks
    list(write_sheets(plain_store(tmp_path), walks, UNSWEPT, ["walk", "grid", "images", "still"], 64))
    chart = told["guidance.png"]
    assert (chart.columns, len(chart.captions)) == (10, 80)
    assert chart.captions[:3] + chart.captions[-1:] == tuple(f"guidance {x}" for x in ("0.25", "0.5", "0.75", "20"))
    assert told["latents.png"].captions == tuple(f"step {n} of 20" for n in range(0, 21, 2))
    assert told["lost.png"].captions == tuple(f"noise {n} of 20" for n in range(0, 21, 2))
    assert told["five.png"].captions == ("flat red apple", "t = 0.25", "t = 0.50", "t = 0.75", "flat tangerine")
    assert told["five.png"].title == "five: flat red apple → flat tangerine"
    grid = told["fixed-noise.png"]
    assert grid.title == "fixed-noise: 3d dog face → 3d cat face / flat dog face → flat cat face"
    rows = [told[name] for name in sorted(told) if name.startswith("still-")]
    assert [len(sheet.captions) for sheet in rows] == [6, 9, 9]
    assert rows[0].title == "3d rocket on a blue background, from rocket.png at step 7 of 20"
    assert rows[1].captions == tuple(f"seed {n}" for n in range(100, 109))
    assert told["stills.png"].captions[:2] == (
        "flat castle on a blue background",
        "flat castle on a blue background, without blue background",
    )


def test_stills_of_one_prompt_are_told_apart(told: dict[str, Sheet], tmp_path: Path) -> None:
    for name in ("x", "y"):
        PIL.Image.new("RGB", (64, 64)).save(tmp_path / f"{name}.png")
    (tmp_path / "m.csv").write_text(
        "prompt,image,seed,guidance,steps,scheduler\n"
        "a,x.png,1,3,4,\na,y.png,1,3,4,\na,,1,3,4,\n"
        "b,,1,2,4,\nb,,1,2.5,4,\nb,,2,2.5,4,\n"
        "c,,1,3,4,\nc,,1,3,5,\nd,,1,3,4,\nd,,1,3,4,\ne,,1,3,4,ddim\ne,,1,3,4,euler\nf,x.png,1,3,4,\n"
    )
    list(write_sheets(plain_store(tmp_path), plan_job(tmp_path / "m.csv").manifest.walks, UNSWEPT, ["still"], 64))
    assert told["stills.png"].captions == (
        *("from x.png at step 1 of 4: a", "from y.png at step 1 of 4: a", "a"),
        *("guidance 2: b", "guidance 2.5, seed 1: b", "guidance 2.5, seed 2: b"),
        *("4 steps: c", "5 steps: c", "row 9: d", "row 10: d", "ddim: e", "euler: e", "f"),
    )


def test_the_command_writes_them_anew(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (swept / "sheets" / "stills.png").unlink()
    assert main(["sheets", str(swept), "sheets.kinds=[still]", "sheets.cell=32"]) == 0
    assert capsys.readouterr().out.strip().endswith("sheets/stills.png")
    assert (swept / "sheets" / "stills.png").exists()


@pytest.mark.parametrize(
    ("command", "key"), [("sheets", "sheets.cell=32"), ("animate", "animation.fps=5")], ids=["sheets", "animate"]
)
def test_only_settings_of_what_is_written_can_be_others(
    swept: Path, capsys: pytest.CaptureFixture[str], command: str, key: str
) -> None:
    """What the images were made with stays, and where they are."""
    others = ["sweep=[{seed: 1..6}]", "output=foo", "sampling.steps=99"]
    assert main([command, str(swept), key, *others]) == 2
    section = key.partition(".")[0]
    expected = [f"override {text!r}: required a key of {section}.*, got another" for text in others]
    assert capsys.readouterr().err.removeprefix("render: ").splitlines() == expected
    assert main([command, str(swept), key]) == 0


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
