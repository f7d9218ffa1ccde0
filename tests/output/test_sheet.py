"""Contact sheets, read back with Pillow. Images are found on a page by their colours."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from render.output import sheet as sheet_module
from render.output.layout import Layout, Sheet, plan_layout
from render.output.lettering import lettering
from render.output.pixels import Pixels
from render.output.sheet import EDGE, write_sheet


def coloured(number: int, width: int = 40, height: int = 30) -> Pixels:
    """Noise in which red or green tells the number: no two images share a pixel, nor has any the grey of text."""
    image = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = number % 200, 255 - number // 200
    return image


def read(path: Path) -> Pixels:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def find(page: Pixels, image: Pixels) -> tuple[int, int] | None:
    """(x, y) of an image's upper left corner on a page, pixel for pixel."""
    height, width, _ = image.shape
    for y, x in np.argwhere((page == image[0, 0]).all(-1)).tolist():
        if np.array_equal(page[y : y + height, x : x + width], image):
            return x, y
    return None


def places(path: Path, images: list[Pixels]) -> list[tuple[int, int]]:
    found = [find(read(path), image) for image in images]
    assert None not in found
    return [place for place in found if place]


def test_grid_without_labels(tmp_path: Path) -> None:
    images = [coloured(n) for n in range(7)]
    assert write_sheet(tmp_path / "a.png", iter(images), Sheet(3, gap=8)) == (tmp_path / "a.png",)
    page = read(tmp_path / "a.png")
    assert page.shape == (3 * 38 + 8, 3 * 48 + 8, 3)
    assert places(tmp_path / "a.png", images) == [(8 + 48 * (n % 3), 8 + 38 * (n // 3)) for n in range(7)]
    assert (page[8 + 2 * 38 + 1 :, 8 + 48 + 1 :] == 255).all()  # two cells are blank
    assert (page[7, 7:49] == EDGE).all()  # a white image has an edge on white paper


def test_sizes_are_centred_and_large_ones_reduced(tmp_path: Path) -> None:
    wide, high, small = coloured(1, 128, 40), coloured(2, 20, 128), coloured(3, 16, 12)
    large = np.full((300, 600, 3), (10, 200, 30), np.uint8)
    write_sheet(tmp_path / "a.png", [wide, high, small, large], Sheet(2, cell=128, gap=2))
    page = read(tmp_path / "a.png")
    assert page.shape == (2 * 130 + 2, 2 * 130 + 2, 3)
    assert places(tmp_path / "a.png", [wide, high, small]) == [(2, 2 + 44), (132 + 54, 2), (2 + 56, 132 + 58)]
    y, x = np.nonzero((page == (10, 200, 30)).all(-1))
    assert (x.min(), x.max() + 1, y.min(), y.max() + 1) == (132, 260, 132 + 32, 132 + 96)


def test_reduction_is_pillows(tmp_path: Path) -> None:
    image = coloured(5, 512, 384)
    write_sheet(tmp_path / "a.png", [image], Sheet(1))
    small = np.asarray(Image.fromarray(image).resize((256, 192), Image.Resampling.LANCZOS))
    assert find(read(tmp_path / "a.png"), small) == (8, 8)


def ink(page: Pixels) -> np.ndarray[Any, np.dtype[np.bool_]]:
    dark: np.ndarray[Any, np.dtype[np.bool_]] = (page.max(-1) < 128) & (page.max(-1) - page.min(-1) == 0)
    return dark


def test_labels_stand_beside_their_rows_and_columns(tmp_path: Path) -> None:
    images = [np.full((64, 64, 3), (200, 100 + n, 90), np.uint8) for n in range(6)]
    labelled = Sheet(3, ("flat", "3d"), ("seed 1", "", "seed 3"), tuple("abcdef"), "dog")
    write_sheet(tmp_path / "a.png", images, labelled)
    page, at = read(tmp_path / "a.png"), places(tmp_path / "a.png", images)
    dark = ink(page)
    for x, y in at[::3]:
        assert dark[y : y + 64, :x].any()
    above = [dark[at[0][1] - 20 : at[0][1], x : x + 64].any() for x, _ in at[:3]]
    assert above == [True, False, True]
    for x, y in at:
        assert dark[y + 65 : y + 85, x : x + 64].any()  # the caption
    assert dark[:28, :60].any()  # the title


@pytest.mark.parametrize("field", ["row_labels", "column_labels", "captions", "title"])
def test_each_kind_of_label_changes_the_page(tmp_path: Path, field: str) -> None:
    images = [coloured(n, 64, 64) for n in range(4)]
    two: Any = {"title": "ab", "captions": ("a", "b", "c", "d")}.get(field, ("a", "b"))
    other: Any = {"title": "xb", "captions": ("a", "x", "c", "d")}.get(field, ("a", "x"))
    pages = []
    for labels in (two, other):
        write_sheet(tmp_path / "a.png", images, replace(Sheet(2), **{field: labels}))
        places(tmp_path / "a.png", images)  # labels never cover an image
        pages.append(read(tmp_path / "a.png"))
    write_sheet(tmp_path / "b.png", images, Sheet(2))
    assert read(tmp_path / "b.png").size < pages[0].size
    assert not np.array_equal(pages[0], pages[1])


def test_long_labels_keep_their_place(tmp_path: Path) -> None:
    images = [coloured(n, 64, 64) for n in range(4)]
    long = "Wide and long words without an end " * 20
    write_sheet(tmp_path / "a.png", images, Sheet(2, (long, long), (long, long), (long,) * 4, long))
    page, at = read(tmp_path / "a.png"), places(tmp_path / "a.png", images)
    dark = ink(page)
    for x, y in at:
        assert not dark[:, x + 65 : x + 71][80:].any()  # the gap between columns, below the title's three lines
        assert not dark[y - 3 : y - 1, x : x + 64].any()
    assert not dark[:, page.shape[1] - 8 :].any()
    assert not dark[:, :8].any()


def test_pages_split_by_rows_with_labels_again(tmp_path: Path) -> None:
    images = [coloured(n, 64, 64) for n in range(20)]
    sheet = Sheet(2, tuple("abcdefghij"), ("left", "right"), title="many", cell=64, side_max=400)
    names = write_sheet(tmp_path / "a.png", images, sheet)
    assert [str(p.relative_to(tmp_path)) for p in names] == [f"a-pages/a-{n}.png" for n in (1, 2, 3)]
    assert [p for p in sorted(tmp_path.rglob("*")) if p.is_file()] == sorted(names)
    counts = [sum(find(read(name), image) is not None for image in images) for name in names]
    assert counts == [8, 8, 4]
    headers = []
    for name, start in zip(names, (0, 8, 16), strict=True):
        at = places(name, images[start : start + 2])
        page = read(name)
        headers.append(page[28 : at[0][1] - 1, at[0][0] :])
        assert max(page.shape) <= 400
    assert ink(headers[0]).any()
    assert all(np.array_equal(headers[0], header) for header in headers)


def test_pages_of_an_older_sheet_go(tmp_path: Path) -> None:
    """And none of another sheet, whatever its name."""
    images = [coloured(n, 64, 64) for n in range(20)]
    others = [tmp_path / name for name in ("a-1.png", "a-pages.png", "a.x.png")]
    for path in others:
        write_sheet(path, images[:1], Sheet(2))
    for count, files in (
        (20, ["a-pages/a-1.png", "a-pages/a-2.png", "a-pages/a-3.png"]),
        (10, ["a-pages/a-1.png", "a-pages/a-2.png"]),
        (4, ["a.png"]),
        (20, ["a-pages/a-1.png", "a-pages/a-2.png", "a-pages/a-3.png"]),
    ):
        names = write_sheet(tmp_path / "a.png", images[:count], Sheet(2, cell=64, side_max=300))
        assert [str(path.relative_to(tmp_path)) for path in names] == files
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*names, *others}
        assert (tmp_path / "a-pages").exists() == (count > 4)


def test_names_of_rows_and_columns(tmp_path: Path) -> None:
    """They stand above the labels, below the title however long it is."""
    images = [coloured(n, 64, 64) for n in range(4)]
    sheet = Sheet(2, ("1", "2"), ("3", "4"), title="a very large room " * 30)
    marks, line = [], lettering(12).line_px + 4
    headings: list[dict[str, Any]] = [{}, {"row_title": "guidance"}, {"column_title": "seed"}]
    for titles in headings:
        write_sheet(tmp_path / "a.png", images, replace(sheet, **titles))
        (x, y), *_ = places(tmp_path / "a.png", images)
        dark = ink(read(tmp_path / "a.png"))
        marks.append((y, bool(dark[y - 20 : y - 1, :x].any())))
    assert marks == [(y - line, False), (y - line, True), (y, False)]
    assert dark[y - 4 - 2 * line : y - 4 - line, x + 40 : x + 96].any()


LONG = "one and the same beginning of a prompt that is far too long for any cell of this sheet, "


@pytest.mark.parametrize("field", ["row_labels", "column_labels", "captions"])
@pytest.mark.parametrize("labels", [(f"{LONG} a", f"{LONG} b"), ("\U0010fffd", "\U0010fffe"), ("a b", "a  b", "c")])
def test_labels_that_would_look_alike_are_numbered(field: str, labels: tuple[str, ...]) -> None:
    def laid_out(labels: tuple[str, ...]) -> Layout:
        fields: dict[str, Any] = {field: labels}
        return plan_layout(Sheet(3, **fields), 64, 64)

    layout = laid_out(labels)
    shown = [layout.body.wrap(label, 96, 3) for label in getattr(layout.sheet, field)]
    assert [lines[0].split()[0] for lines in shown[:2]] == ["#1", "#2"]
    assert shown[2:] == [["c"]] * (len(labels) - 2)
    same = laid_out(labels[:1] * 2)
    assert getattr(same.sheet, field) == labels[:1] * 2


def test_narrow_images_have_captions_that_can_be_read(tmp_path: Path) -> None:
    images = [np.full((96, 8, 3), (200, 100 + n, 90), np.uint8) for n in range(3)]
    write_sheet(tmp_path / "a.png", images, Sheet(3, captions=("step 7 of 20",) * 3))
    dark, at = ink(read(tmp_path / "a.png")), places(tmp_path / "a.png", images)
    (width,) = {b - a for (a, _), (b, _) in pairwise(at)}
    assert width >= lettering(12).width("step 7")
    x, y = at[1]
    assert dark[y + 97 :, x - 20 : x + 28].any()


def test_a_wide_row_wraps_under_its_own_labels(tmp_path: Path) -> None:
    images = [coloured(n, 64, 64) for n in range(20)]
    sheet = Sheet(10, ("a", "b"), tuple("0123456789"), cell=64, side_max=480)
    write_sheet(tmp_path / "a.png", images, sheet)
    at = places(tmp_path / "a.png", images)
    xs, ys = sorted({x for x, _ in at}), sorted({y for _, y in at})
    assert (len(xs), len(ys)) == (5, 4)  # six would fit, but five and five are of like length
    assert at == [(xs[n % 5], ys[n // 5]) for n in range(20)]
    dark = ink(read(tmp_path / "a.png"))
    for x, y in at:
        assert dark[y - 19 : y - 1, x : x + 64].any()
    label = [dark[y - 19 : y - 1, xs[0] : xs[0] + 64] for y in ys]
    assert np.array_equal(label[0], label[2])
    assert not np.array_equal(label[0], label[1])
    row = [dark[y : y + 64, : xs[0] - 1] for y in ys]
    assert np.array_equal(row[0], row[1])
    assert not np.array_equal(row[0], row[2])


SIZES = st.tuples(st.integers(1, 700), st.integers(1, 700))
TEXT = st.text("ab W", max_size=60)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(SIZES, min_size=1, max_size=12),
    columns=st.integers(1, 14),
    cell=st.integers(16, 160),
    gap=st.integers(2, 40),
    text=TEXT,
)
@example(sizes=[(700, 700)] * 3, columns=2, cell=160, gap=40, text="W" * 60)
@example(sizes=[(1, 1), (16, 16)] * 6, columns=14, cell=16, gap=4, text="aa " * 20)
@example(sizes=[(700, 1), (1, 700)], columns=1, cell=72, gap=18, text="aa " * 20)
def test_every_page_keeps_the_limit(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    columns: int,
    cell: int,
    gap: int,
    text: str,
) -> None:
    images = [np.full((height, width, 3), (250, 40, n), np.uint8) for n, (width, height) in enumerate(sizes)]
    labels = (text,), (text,) * columns, (text,) * len(images), text
    sheet = Sheet(columns, *labels, cell=cell, gap=min(gap, cell // 4), side_max=max(256, 4 * cell))
    names = write_sheet(tmp_path_factory.mktemp("sheet") / "a.png", images, sheet)
    pages = [read(name) for name in names]
    assert all(max(page.shape) <= sheet.side_max for page in pages)
    for image in images:
        assert sum((page == image[0, 0]).all(-1).any() for page in pages) == 1


def test_same_bytes_again_and_title_in_the_metadata(tmp_path: Path) -> None:
    sheet = Sheet(2, ("a",), ("é", "°"), title="café 日本")
    for name in ("a", "b"):
        write_sheet(tmp_path / f"{name}.png", [coloured(1), coloured(2)], sheet)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["Title"] == "café 日本"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"columns": 0}, "columns: required at least 1, got 0"),
        ({"columns": 2, "column_labels": tuple("abc")}, "column_labels: required at most 2, got 3"),
        ({"columns": 1, "cell": 8}, "cell: required 16 to 2048 pixels, got 8"),
        ({"columns": 1, "gap": 65}, "gap: required 2 to 64 pixels, a quarter of a cell, got 65"),
        ({"columns": 1, "side_max": 1023}, "side_max: required 1024 to 8192 pixels, got 1023"),
        ({"columns": 1, "side_max": 9000}, "side_max: required 1024 to 8192 pixels, got 9000"),
    ],
)
def test_settings_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{told}$"):
        Sheet(**fields)


GOOD = np.zeros((9, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("name", "images", "fields", "told"),
    [
        ("a.png", [], {}, "images: required at least one, got none"),
        ("a.jpg", [GOOD], {}, r"a\.jpg: required a name that ends in \.png, got '\.jpg'"),
        (
            "a.png",
            [GOOD] * 3,
            {"row_labels": tuple("abc")},
            "row_labels: required at most 2, for 3 images in columns of 2, got 3",
        ),
        ("a.png", [GOOD] * 3, {"captions": ("a",)}, "captions: required none or 3, one for each image, got 1"),
        ("a.png", [GOOD], {"captions": ("a", "b")}, "captions: required none or 1, .* got 2"),
        ("a.png", [GOOD, GOOD[..., 0]], {}, r"image 1: required uint8 \[H, W, 3\], got uint8 \[9, 9\]"),
        ("a.png", [GOOD[:0]], {}, r"image 0: .* got uint8 \[0, 9, 3\]"),
        ("a.png", [GOOD.astype(np.float32)], {}, r"image 0: .* got float32 \[9, 9, 3\]"),
    ],
)
def test_images_refused(tmp_path: Path, name: str, images: list[Pixels], fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        write_sheet(tmp_path / name, images, Sheet(2, **fields))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", [OSError("store is gone"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
@pytest.mark.parametrize("after", [0, 3, 90])  # images; a page holds 49
def test_failure_leaves_the_old_files(tmp_path: Path, after: int, fault: BaseException) -> None:
    old = [tmp_path / "a.png", tmp_path / "a-1.png"]
    for path in old:
        path.write_bytes(b"old")

    def broken() -> Iterator[Pixels]:
        yield from (coloured(n, 32, 32) for n in range(after))
        raise fault

    with pytest.raises(type(fault)) as caught:
        write_sheet(tmp_path / "a.png", broken(), Sheet(7, cell=32, side_max=290))
    assert caught.value is fault
    assert sorted(tmp_path.iterdir()) == sorted(old)
    assert all(path.read_bytes() == b"old" for path in old)


def test_a_page_that_cannot_be_saved_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(image: Image.Image, file: Path, *args: Any, **fields: Any) -> None:
        file.write_bytes(b"half")
        raise OSError("disk is full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk is full"):
        write_sheet(tmp_path / "a.png", [GOOD], Sheet(1))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    canvases: list[weakref.ref[Image.Image]] = []
    draw = sheet_module._draw

    def watched(*args: Any) -> Image.Image:
        assert not [ref for ref in canvases if ref() is not None]  # the last page is gone before the next is drawn
        canvases.append(weakref.ref(page := draw(*args)))
        return page

    def images(count: int) -> Iterator[Pixels]:
        nonlocal most
        refs: list[weakref.ref[Pixels]] = []
        for number in range(count):
            image = coloured(number, 64, 64)
            refs = [ref for ref in refs if ref() is not None] + [weakref.ref(image)]
            most = max(most, len(refs))
            yield image

    monkeypatch.setattr(sheet_module, "_draw", watched)
    tracemalloc.start()
    names = write_sheet(tmp_path / "a.png", images(2000), Sheet(10, side_max=1024))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(names) == len(canvases) == 15
    assert most <= 2
    # Of 25 MB: 150 images of a page, the next row, and what Python needs. Pillow's canvas is not traced.
    assert peak < 160 * 64 * 64 * 3 + 2**20


def test_an_image_may_change_after_it_was_taken(tmp_path: Path) -> None:
    buffer = np.zeros((32, 32, 3), np.uint8)

    def reused() -> Iterator[Pixels]:
        for number in range(4):
            buffer[:] = coloured(number, 32, 32)
            yield buffer

    write_sheet(tmp_path / "a.png", reused(), Sheet(2))
    places(tmp_path / "a.png", [coloured(n, 32, 32) for n in range(4)])
