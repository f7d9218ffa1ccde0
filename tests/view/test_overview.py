"""The overview and outputs that are not whole: running, damaged, compacted, with failures, in a bucket, empty."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import painters
import pytest
from buckets import Server
from looking import COOKIE, FRAMES, STILLS, TOKEN, WALK, Looked, Page, client_of, looking, paint_store
from painters import Painter, paint, painting
from stores import wait_until

from render import animate_store, compact_store, run_job, sheet_store
from render.core import ObjectPath, Receipt, Recipe, StoreError
from render.store import Failure, Rendered
from render.view import viewer as viewing
from render.view.pictures import Shards
from render.view.viewer import Viewer

pytest_plugins = ["buckets"]


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_store(tmp_path_factory.mktemp("overview"), WALK + STILLS)


@pytest.fixture
def out(painted: Path, tmp_path: Path) -> Path:
    return shutil.copytree(painted, tmp_path / "out")


def test_the_overview_has_the_numbers_and_the_night(out: Path) -> None:
    with looking(out) as looked:
        looked.post("/mark", keys=looked.keys()[:3], mark="keep")
        page = Page(looked.get("/")).text
        assert f"{FRAMES} images 5 prompts 3 kept 0 rejected" in page
        assert "dog face 16 red apple 5 rocket 5" in page
        status = Page(looked.get("/overview/status"))
        assert f"{FRAMES} of {FRAMES} frames (100 %)" in status.text
        (progress,) = status.all("progress")
        assert float(progress["value"]) == 1
        night = Page(looked.get("/overview/night"))
        assert f"{FRAMES} done 0 missing 0 failed" in night.text
        assert {"Images a second", "Batches filled"} <= set(night.texts) | {text.strip() for text in night.texts}


def test_sheets_and_animations_are_shown(out: Path) -> None:
    animate_store(out, "animation.formats=[gif,mp4]")
    sheet_store(out, "sheets.kinds=[walk]")
    with looking(out) as looked:
        page = Page(looked.get("/"))
        sources = [one["src"] for one in page.all("img") + page.all("video")]
        assert {
            "/file/animations/dog-to-cat.gif",
            "/file/animations/dog-to-cat.mp4",
            "/file/sheets/walk/dog-to-cat.png",
        } <= set(sources)
        for source in sources:
            answer = looked.client.get(source)
            assert answer.content == (out / source.removeprefix("/file/")).read_bytes()
        part = looked.client.get("/file/animations/dog-to-cat.mp4", headers={"Range": "bytes=0-99"})
        assert (part.status_code, len(part.content)) == (206, 100)


def test_failures_are_told_by_their_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def paint_some(recipe: Recipe) -> Rendered | Failure:
        text = "rocket" if "rocket" in recipe.json else "apple" if "apple" in recipe.json else ""
        return (
            Failure(f"Traceback (most recent call last):\nValueError: no <b>{text}</b>", 2) if text else paint(recipe)
        )

    monkeypatch.setattr(painters, "paint", paint_some)
    with looking(paint_store(tmp_path, WALK + STILLS)) as looked:
        night = Page(looked.get("/overview/night"))
        assert "16 done 0 missing 10 failed" in night.text
        assert "5 ValueError: no <b>rocket</b>" in night.text
        assert "render retry" in night.text


def test_a_damaged_shard_is_named_and_the_others_are_shown(out: Path) -> None:
    shard = sorted((out / "data").iterdir())[2]
    shard.write_bytes(shard.read_bytes()[:-100])
    with looking(out) as looked:
        assert len(Page(looked.get("/images")).cells) == FRAMES - 5
        assert "1 damaged shard left out" in Page(looked.get("/news")).text
        assert shard.name in Page(looked.get("/overview/night")).text


def test_a_shard_that_is_damaged_later_is_named_too(out: Path) -> None:
    with looking(out) as looked:
        key = looked.keys()[0]
        shard = looked.viewer.catalog.shards[0]
        data = bytearray(shard.read_bytes())
        data[: len(data) // 2] = bytes(len(data) // 2)
        shard.write_bytes(data)
        for path in (f"/image/{key}", f"/thumb/{key}"):
            answer = looked.client.get(path)
            assert answer.status_code == 500
            assert "render repair" in answer.text
            assert "immutable" not in answer.headers["cache-control"]
        assert len(Page(looked.get("/images")).cells) == FRAMES


def test_pictures_are_found_after_a_compaction(out: Path) -> None:
    with looking(out) as looked:
        key = looked.keys()[-1]
        before = looked.client.get(f"/image/{key}").content
        looked.viewer.shards = Shards(out)  # nothing is open or in memory any more
        compact_store(out)
        assert looked.client.get(f"/image/{key}").content == before
        assert len(looked.viewer.catalog.shards) == 1


def test_the_first_shards_are_shown_before_all_are_read(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Viewer, "_read_on", lambda _: None)
    with closing(Viewer(out, first=2)) as viewer:
        looked = Looked(viewer, client_of(viewer, {COOKIE: TOKEN}))
        page = Page(looked.get("/images"))
        assert len(page.cells) == 10
        assert "10 images of those that are read" in page.text
        news = Page(looked.get("/news"))
        assert "reading: 10 images so far" in news.text
        assert news.all("div")[0]["hx-trigger"] == "every 1s"


def test_a_running_output_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewing, "LOOK_S", 0.0)
    seen: list[tuple[int, str]] = []

    class Watched(Painter):
        def render(self, units: object, listener: object) -> Iterator[Receipt]:
            out = self._ledger.folder.out
            with looking(out) as looked:
                for receipt in super().render(units, listener):  # type: ignore[arg-type]
                    yield receipt
                    wait_until(lambda: grown(looked, len(seen)), "the new frames")
                    seen.append((len(Page(looked.get("/images")).cells), Page(looked.get("/news?seen=1")).text))
                status = looked.get("/overview/status")
                assert 'hx-trigger="every 5s"' in status

    def grown(looked: Looked, units: int) -> bool:
        looked.get("/news")
        return len(Page(looked.get("/images")).cells) > 5 * units

    monkeypatch.setattr("painters.Painter", Watched)
    paint_store(tmp_path, WALK + STILLS)
    assert [count for count, _ in seen] == sorted({count for count, _ in seen})
    assert seen[-1][0] == FRAMES
    assert "rendering" in seen[2][1]
    assert "more: show" in seen[2][1]


def test_an_output_without_frames(tmp_path: Path) -> None:
    out = paint_store(tmp_path, STILLS)
    for file in (*(out / "data").iterdir(), *(out / ".run" / "commits").iterdir()):
        file.unlink()
    with looking(out) as looked:
        assert "Nothing is rendered yet" in looked.get("/images")
        for path in (
            "/",
            "/walks",
            "/overview/status",
            "/overview/night",
            "/images?view=stacks",
            "/images?view=table&x=seed&y=prompt",
        ):
            looked.get(path)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="required the output folder of a run"):
        Viewer(tmp_path)


@pytest.mark.slow
def test_a_bucket_is_looked_at_as_a_folder_is(bucket: ObjectPath, server: Server, tmp_path: Path) -> None:
    table = paint_store(tmp_path, WALK + STILLS).parent / "table.jsonl"
    with painting():
        run_job(table, f"output={bucket}", "sampling.width=64", "sampling.height=64", "store.unit_frames=5")
    with looking(bucket) as looked:
        key = looked.keys()[0]
        assert len(Page(looked.get("/images")).cells) == FRAMES
        for path in ("/", "/walks", f"/frame/{key}", f"/frame/{key}/row", "/walk?name=dog-to-cat", "/overview/status"):
            looked.get(path)
        server.begin()
        first, *others = looked.keys("shard = 4")
        assert looked.client.get(f"/image/{first}").status_code == 200
        asked = len(server.requests)
        for other in others:
            looked.client.get(f"/thumb/{other}")
        assert 0 < asked <= 3
        assert len(server.requests) == asked  # neighbours come from the same row group
        gif = looked.client.get("/file/animations/dog-to-cat.gif")
        assert gif.content == (bucket / "animations/dog-to-cat.gif").read_bytes()
        looked.post("/mark", keys=[key], mark="keep")
        wait_until((bucket / "marks.parquet").is_file, "the marks")
    with looking(bucket) as again:
        assert again.viewer.marks.of(key).mark == "keep"
