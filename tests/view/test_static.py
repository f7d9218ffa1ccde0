"""Pages without a server: every file that they name is there, and nothing leads out of the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from looking import FRAMES, STILLS, WALK, Page, looking, paint_store

from render import animate_store, cli, sheet_store
from render.core import JobError
from render.view import static_pages, write_static

LINKS = ("src", "href")


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = paint_store(tmp_path_factory.mktemp("static"), WALK + STILLS)
    animate_store(out, "animation.formats=[gif]")
    sheet_store(out, "sheets.kinds=[walk]")
    with looking(out) as looked:
        looked.post("/mark", keys=looked.keys()[:1], mark="keep", note="<b>x</b>")
    return out


def test_the_pages_are_whole(painted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    done = write_static(painted, folder)
    assert (done.index, done.images, done.walks, done.left_out) == (folder / "index.html", FRAMES, 1, ())
    for file in folder.glob("*.html"):
        page = Page(file.read_text())
        for tag, attributes in page.elements:
            assert not any(name.startswith(("hx-", "on")) or name == "style" for name in attributes)
            for name in LINKS:
                link = attributes.get(name, "")
                if tag == "a" and link == "#main":
                    continue
                assert not link or (folder / link).is_file(), (file.name, link)
        assert "render view" not in page.text
    grid = Page((folder / "images.html").read_text())
    assert len(grid.cells) == FRAMES
    assert [one["data-mark"] for one in grid.all("article") if "data-mark" in one] == ["keep"]
    overview = Page((folder / "index.html").read_text())
    assert f"{FRAMES} images 5 prompts 1 kept" in overview.text
    assert {"files/animations/dog-to-cat.gif", "files/sheets/walk/dog-to-cat.png"} <= {
        i["src"] for i in overview.all("img")
    }
    (player,) = [one for one in Page((folder / "walk-1.html").read_text()).all("section") if "data-player" in one]
    assert all((folder / frame["src"]).is_file() for frame in json.loads(player["data-player"]))


def test_the_grid_is_bounded_and_turns_pages(painted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_pages, "IMAGES_MAX", 20)
    monkeypatch.setattr(static_pages, "PAGE", 8)
    assert write_static(painted, tmp_path / "pages").images == 20
    pages = [
        Page((tmp_path / "pages" / name).read_text()) for name in ("images.html", "images-2.html", "images-3.html")
    ]
    assert [len(page.cells) for page in pages] == [8, 8, 4]
    assert pages[0].all("a", rel="next")[0]["href"] == "images-2.html"
    assert not pages[2].all("a", rel="next")
    assert f"the first 20 of {FRAMES} images" in pages[0].text


def test_a_folder_with_other_files_is_refused_and_its_own_is_written_anew(painted: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    for folder in (tmp_path / "other", tmp_path / "other" / "letter.txt"):
        with pytest.raises(JobError, match="required a new or an empty folder"):
            write_static(painted, folder)
    (tmp_path / "pages").mkdir()
    write_static(painted, tmp_path / "pages")
    assert write_static(painted, tmp_path / "pages").images == FRAMES


def test_the_command_writes_pages(painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["view", str(painted), "--static", str(tmp_path / "pages")]) == 0
    assert f"{FRAMES} images and 1 walk in {tmp_path / 'pages' / 'index.html'}" in capsys.readouterr().out


def test_wrong_ports_and_folders_are_refused(painted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for port in ("70000", "-1"):
        assert cli.main(["view", str(painted), "--port", port]) == 2
        assert "required a port of this machine that is free" in capsys.readouterr().err
    assert cli.main(["view", str(tmp_path)]) == 2
    assert "required the output folder of a run" in capsys.readouterr().err
