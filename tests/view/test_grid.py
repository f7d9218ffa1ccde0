"""Pages of images: what they show of a store, and that no text of it is markup."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
from looking import FRAMES, STILLS, WALK, Looked, Page, looking, paint_store

from render import open_store
from render.view.browse import PAGE

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style><svg onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "a\u202eb \u0007 c\nd",
    "🚀 ünï",
]


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    with looking(paint_store(tmp_path_factory.mktemp("images"), WALK + STILLS)) as found:
        yield found


def test_the_grid_shows_every_image_with_its_prompt(looked: Looked) -> None:
    page = Page(looked.get("/images"))
    assert page.cells == looked.keys()
    prompts = [row["prompt"] for row in looked.viewer.query("SELECT prompt FROM frames ORDER BY shard, row")]
    assert [image["alt"] for image in page.all("img")] == prompts
    assert f"{FRAMES} images" in page.text


def test_a_part_goes_on_where_the_page_before_ends(looked: Looked) -> None:
    assert Page(looked.get("/images/part?first=20&s=seed")).cells == looked.keys(order="seed, shard, row")[20:]
    assert PAGE % 2 == PAGE % 3 == PAGE % 5 == PAGE % 8 == 0


def test_the_state_is_in_every_link(looked: Looked) -> None:
    page = Page(looked.get("/images?c=thing&o=is&v=rocket&s=seed&d=1"))
    assert page.cells == looked.keys("thing = 'rocket'", "seed DESC")
    link = next(found["href"] for found in page.all("a") if found["href"].startswith("/frame/"))
    assert link == f"/frame/{page.cells[0]}?c=thing&o=is&v=rocket&s=seed&d=1&at=0"
    one = Page(looked.get(f"/frame/{page.cells[1]}?c=thing&o=is&v=rocket&s=seed&d=1&at=1"))
    (before,), (after,) = one.all("a", rel="prev"), one.all("a", rel="next")
    assert before["href"].startswith(f"/frame/{page.cells[0]}?")
    assert after["href"].startswith(f"/frame/{page.cells[2]}?")
    assert not Page(looked.get(f"/frame/{page.cells[0]}?c=thing&o=is&v=rocket&s=seed&d=1&at=1")).all("a", rel="prev")


def test_a_frame_shows_its_columns_recipe_row_and_command(looked: Looked) -> None:
    key = looked.keys("thing = 'rocket' AND seed = 3")[0]
    page = Page(looked.get(f"/frame/{key}"))
    assert f"render reproduce {looked.viewer.out} {key}" in page.text
    stored = next(one for one in open_store(looked.viewer.out).frames(walk_of(looked, key)) if one.row["key"] == key)
    assert json.loads(stored.row["recipe"]).items() <= json.loads(pre(page.text)).items()
    row = Page(looked.get(f"/frame/{key}/row")).text
    source = 4 + [one["prompt"] == "3d rocket" and one["seed"] == 3 for one in STILLS].index(True)
    assert row.startswith(f"row {source} ")
    assert "prompt 3d rocket" in row
    walk = Page(looked.get(f"/frame/{looked.keys()[0]}/row")).text
    assert walk.count("source_row") == 3


def walk_of(looked: Looked, key: str) -> str:
    return str(looked.viewer.query("SELECT walk FROM frames WHERE key = ?", (key,))[0]["walk"])


def pre(text: str) -> str:
    """The JSON in a page's text."""
    return text[text.index("{") : text.rindex("}") + 1]


def test_a_download_is_the_stored_bytes(looked: Looked) -> None:
    frame = open_store(looked.viewer.out).frame("dog-to-cat", 3)
    answer = looked.client.get(f"/image/{frame.row['key']}?download=1")
    assert answer.content == frame.data
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == 'attachment; filename="dog-to-cat-00003.png"'


def test_thumbnails_are_small_webp(tmp_path: Path) -> None:
    rows = [{"prompt": "wide", "seed": 1, "width": 1024, "height": 512}]
    with looking(paint_store(tmp_path, rows)) as looked:
        (key,) = looked.keys()
        for side in (256, 768):
            answer = looked.client.get(f"/thumb/{key}?s={side}")
            image = PIL.Image.open(io.BytesIO(answer.content))
            assert (image.format, image.size) == (
                "PNG" if side == 768 and len(answer.content) > 40_000 else "WEBP",
                (side, side // 2),
            )
        assert looked.client.get(f"/thumb/{key}?s=5000").status_code == 400
        assert looked.client.get("/thumb/none").status_code == 404


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_of_a_store_is_markup(tmp_path: Path, text: str) -> None:
    rows = [{"prompt": text, "seed": seed, "thing": text, text[:40]: text} for seed in (1, 2)]
    walk = [{"walk": "w", "prompt": text, "seed": 1, "frames": 3}, {"walk": "w", "prompt": "b", "seed": 1}]
    with looking(paint_store(tmp_path, [*walk, *rows])) as looked:
        key = looked.keys("walk != 'w'")[0]
        looked.post("/mark", keys=[key], note=text)
        paths = ["/", "/images", "/images?view=stacks", "/images?view=table&x=thing&y=seed", "/walks", "/walk?name=w"]
        paths += [
            f"/frame/{key}",
            f"/frame/{key}/row",
            f"/compare?seeds={key}",
            "/values?c=thing",
            f"/images?q={'<b>'}",
        ]
        known = {"html", "svg", "img", "script", "link", "meta", "title", "style"}
        for path in paths:
            page = Page(looked.get(path))
            for tag, attributes in page.elements:
                assert not {"onerror", "onload", "onmouseover"} & attributes.keys(), path
                assert tag != "script" or attributes["src"].startswith("/static/"), path
                assert attributes.get("src", "/").startswith("/"), path
                assert tag not in known or attributes.get("src") != "x"
            assert "\u0007" not in "".join(page.texts)
        grid = Page(looked.get("/images"))
        shown = text.replace("\u202e", "\ufffd").replace("\u0007", "\ufffd")
        assert shown in [image["alt"] for image in grid.all("img")]
        assert grid.all("article", **{"data-note": shown})


def test_frames_of_other_seeds_are_compared(looked: Looked) -> None:
    key = looked.keys("prompt = '3d rocket' AND seed = 2")[0]
    page = Page(looked.get(f"/compare?seeds={key}"))
    seeds = [
        row["seed"]
        for k in shown_keys(page)
        for row in looked.viewer.query("SELECT seed FROM frames WHERE key = ?", (k,))
    ]
    assert seeds == [2, 0, 1, 3]
    assert len(page.all("img-comparison-slider")) == 1
    assert "seed 2 0 1 3" in page.text


def shown_keys(page: Page) -> list[str]:
    return [found["data-key"] for found in page.all("figure")]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 6])
def test_some_frames_are_compared(looked: Looked, count: int) -> None:
    keys = looked.keys()[:count]
    page = Page(looked.get("/compare?" + "&".join(f"k={key}" for key in keys)))
    assert shown_keys(page) == keys[:4]
    assert len(page.all("img-comparison-slider")) == (count > 1)


def test_what_is_not_there_is_said(looked: Looked) -> None:
    for path in (
        "/frame/none",
        "/compare?k=none",
        "/walk?name=none",
        "/file/sheets/none.png",
        "/values?c=none",
        "/nothing",
    ):
        assert "404" in Page(looked.get(path, 404)).text or "Not found" in Page(looked.get(path, 404)).text


def test_suggestions_are_the_values_of_a_column(looked: Looked) -> None:
    values = Page(looked.get("/values?c=thing")).all("option")
    assert [one["value"] for one in values] == ["dog face", "red apple", "rocket"]
