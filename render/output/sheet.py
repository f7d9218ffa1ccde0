"""Write ordered images as contact sheets: PNGs of labelled cells, page by page, so memory does not grow with their number.

A sheet is read like a table. A row that is too wide goes on in further lines, each under its own column labels. A sheet
that is too high goes on on another page, with the labels again. A page's images are held until it is drawn: at most 7
bytes for each of its pixels, 3 in the images and 4 in Pillow's canvas; 117 MB at a `side_max` of 4096.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from render.core import partial, publish, sync
from render.output.layout import LINES_MAX, SUFFIX, Layout, Line, Sheet, plan_layout
from render.output.pixels import Pixels, check_pixels

__all__ = ["write_sheet"]

PAPER, EDGE = (255, 255, 255), (208, 208, 208)


def write_sheet(path: Path, images: Iterable[Pixels], sheet: Sheet) -> tuple[Path, ...]:
    """Write images uint8 [H, W, 3], in reading order, as `path`, NAME.png; of several pages as NAME-pages/NAME-1.png, …

    Returns the files. They appear, whole, once every image was read, and replace an older sheet of this name; after an
    error nothing changes. The images are read once, one at a time. They may differ in size: a page's cells hold the
    sheet's first image and the largest on the page, and each image is in the middle of its cell.
    Raises ValueError for no images, for an image of another type, and for labels without a row, column or image.
    """
    if path.suffix != ".png":
        raise ValueError(f"{path}: required a name that ends in .png, got {path.suffix!r}")
    metadata = PngInfo()
    metadata.add_text("Title", sheet.title)  # as iTXt where it is not Latin-1
    pages: list[Path] = []
    try:
        for page in _pages(images, sheet):
            pages.append(partial(path))
            page.save(pages[-1], "png", pnginfo=metadata)
            sync(pages[-1])
            del page  # before the next one is drawn
        return _publish(pages, path)
    finally:
        for page_file in pages:
            page_file.unlink(missing_ok=True)


def _publish(pages: list[Path], path: Path) -> tuple[Path, ...]:
    """Give the pages their final names, in a folder of their own if there are several; delete those of an older sheet."""
    folder, digits = path.with_name(f"{path.stem}-pages"), len(str(len(pages)))
    numbers = range(1, len(pages) + 1) if len(pages) > 1 else ()
    names = tuple(folder / f"{path.stem}-{number:0{digits}d}.png" for number in numbers) or (path,)
    names[0].parent.mkdir(exist_ok=True)
    for page, name in zip(pages, names, strict=True):
        publish(page, name)
    for old in {path, *folder.glob("*.png")} - set(names):
        old.unlink(missing_ok=True)
    with suppress(OSError):  # the folder is not there, or not empty
        folder.rmdir()
    sync(path.parent)
    return names


def _pages(images: Iterable[Pixels], sheet: Sheet) -> Iterator[Image.Image]:
    """Yield pages as they fill, each with as many lines as `side_max` allows."""
    stream = _checked(images, sheet)
    first = _reduced(next(stream), sheet.cell, sheet.cell)
    layout = plan_layout(sheet, *first.shape[:2])
    rest = (_reduced(pixels, layout.image_width, sheet.cell) for pixels in stream)
    page: list[Line] = []
    cell, number = layout.cell, 1
    for line in _lines(chain([first], rest), layout):
        grown = line.grow(cell)
        if page and layout.size(len(page) + 1, grown)[1] > sheet.side_max:
            yield _draw(page, cell, layout, SUFFIX.format(number))
            page, grown, number = [], line.grow(layout.cell), number + 1
        page.append(line)
        cell = grown
    yield _draw(page, cell, layout, SUFFIX.format(number) if number > 1 else "")


def _checked(images: Iterable[Pixels], sheet: Sheet) -> Iterator[Pixels]:
    """Pass the images on. Raises ValueError for one of another type and, after the last, for superfluous labels."""
    count = 0
    for pixels in images:
        check_pixels(pixels, f"image {count}")
        count += 1
        yield pixels
    rows = math.ceil(count / sheet.columns)
    if not count:
        raise ValueError("images: required at least one, got none")
    if len(sheet.row_labels) > rows:
        what = f"{count} images in columns of {sheet.columns}"
        raise ValueError(f"row_labels: required at most {rows}, for {what}, got {len(sheet.row_labels)}")
    if sheet.captions and len(sheet.captions) != count:
        raise ValueError(f"captions: required none or {count}, one for each image, got {len(sheet.captions)}")


def _lines(images: Iterator[Pixels], layout: Layout) -> Iterator[Line]:
    start, total = 0, layout.sheet.columns
    while True:
        row, column = divmod(start, total)
        line = tuple(islice(images, min(layout.columns, total - column)))
        if not line:
            return
        yield Line(row, column, start, line)
        start += len(line)


def _reduced(pixels: Pixels, width: int, height: int) -> Pixels:
    """Copy an image [H, W, 3], reduced in proportion to fit these sides; it is never enlarged."""
    scale = min(1, width / pixels.shape[1], height / pixels.shape[0])
    if scale == 1:
        return pixels.copy()  # a view would keep the whole source alive
    size = [max(1, math.floor(side * scale)) for side in pixels.shape[1::-1]]
    return np.array(Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.LANCZOS))


def _draw(page: list[Line], cell: tuple[int, int], layout: Layout, suffix: str = "") -> Image.Image:
    sheet = layout.sheet
    canvas = Image.new("RGB", layout.size(len(page), cell), PAPER)
    title = [*layout.title_lines[:-1], *(line + suffix for line in layout.title_lines[-1:])]
    layout.title.write(canvas, (sheet.gap, sheet.gap), "l", title)
    for number, line in enumerate(page):
        top = layout.top + number * layout.pitch(cell)
        if number == 0 or layout.wraps:
            _draw_header(canvas, top, line.column, cell[0], layout)
        for label in sheet.row_labels[line.row : line.row + 1]:
            fit = min(LINES_MAX, cell[1] // layout.body.line_px)
            lines = layout.body.wrap(label, layout.left - 2 * sheet.gap, fit)
            middle = top + (cell[1] - len(lines) * layout.body.line_px) // 2
            layout.body.write(canvas, (layout.left - sheet.gap, middle), "r", lines)
        _draw_images(canvas, top, line, cell, layout)
    return canvas


def _draw_header(canvas: Image.Image, top: int, column: int, width: int, layout: Layout) -> None:
    """Draw the column labels of a line that begins at `column`, aligned at their bottoms, and the titles of the labels."""
    sheet, body, left = layout.sheet, layout.body, layout.left
    bottom = top - sheet.gap // 2
    for place, label in enumerate(sheet.column_labels[column : column + layout.columns]):
        lines = body.wrap(label, width, LINES_MAX)
        middle = left + place * (width + sheet.gap) + width // 2
        body.write(canvas, (middle, bottom - len(lines) * body.line_px), "m", lines)
    across = layout.columns * (width + sheet.gap) - sheet.gap
    above = body.shorten(sheet.column_title, across)
    body.write(canvas, (left + across // 2, top - layout.header), "m", [above])
    beside = body.wrap(sheet.row_title, left - 2 * sheet.gap, LINES_MAX)
    body.write(canvas, (left - sheet.gap, bottom - len(beside) * body.line_px), "r", beside)


def _draw_images(canvas: Image.Image, top: int, line: Line, cell: tuple[int, int], layout: Layout) -> None:
    """Draw the images of a line in the middle of their cells, each with a thin edge around it and its caption below."""
    draw = ImageDraw.Draw(canvas)
    width, height = cell
    for place, pixels in enumerate(line.images):
        left = layout.left + place * (width + layout.sheet.gap)
        x, y = left + (width - pixels.shape[1]) // 2, top + (height - pixels.shape[0]) // 2
        draw.rectangle((x - 1, y - 1, x + pixels.shape[1], y + pixels.shape[0]), outline=EDGE)
        canvas.paste(Image.fromarray(pixels), (x, y))
        for caption in layout.sheet.captions[line.start + place : line.start + place + 1]:
            lines = layout.body.wrap(caption, width, LINES_MAX)
            layout.body.write(canvas, (left + width // 2, top + height + layout.sheet.gap // 4), "m", lines)
