"""Ordered images → contact sheets: PNGs of labelled cells, streamed, so that memory does not grow with the number.

A sheet is read like a table. What is too wide wraps: a row goes on in further lines, each under its own column labels.
What is too high continues on another page, with the labels again. A page's images are held until it is drawn, which
takes at most 7 bytes for each of its pixels: 3 in the images, 4 in Pillow's canvas, 117 MB at a `side_max` of 4096.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from render.durable import partial, sync
from render.lettering import Lettering, lettering

__all__ = ["Pixels", "Sheet", "write_sheet"]

SIDE_RANGE = (256, 8192)  # above, Pillow and others warn of a decompression bomb
CELL_RANGE = (16, 2048)
TEXT_RANGE = (12, 24)  # pixels of type, a ninth of an image's longer side
LINES_MAX = 3  # lines of a label; what is longer is shortened
TITLE_WIDTH = 24  # in lines' heights; a page is at least as wide as its title, up to this
SUFFIX = " (page {})"  # of the title, where there are several
PAPER, EDGE = (255, 255, 255), (208, 208, 208)

Pixels: TypeAlias = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sheet:
    """How images are laid out. Labels may be fewer than rows or columns. Raises ValueError for a value out of range."""

    columns: int  # 1 or more
    row_labels: tuple[str, ...] = ()  # left of the rows, from the first
    column_labels: tuple[str, ...] = ()  # above the columns, from the first
    captions: tuple[str, ...] = ()  # below the images: none, or one for each
    title: str = ""  # above every page, and in the PNG's metadata
    cell: int = 256  # longest side of an image in pixels; larger ones are reduced, smaller ones stay as they are
    gap: int = 8  # pixels between cells, and around them
    side_max: int = 4096  # pixels of a page's side; at least four cells

    def __post_init__(self) -> None:
        if self.columns < 1:
            raise ValueError(f"columns: required at least 1, got {self.columns}")
        if len(self.column_labels) > self.columns:
            raise ValueError(f"column_labels: required at most {self.columns}, got {len(self.column_labels)}")
        if not CELL_RANGE[0] <= self.cell <= CELL_RANGE[1]:
            raise ValueError(f"cell: required {CELL_RANGE[0]} to {CELL_RANGE[1]} pixels, got {self.cell}")
        if not 2 <= self.gap <= self.cell // 4:
            raise ValueError(f"gap: required 2 to {self.cell // 4} pixels, a quarter of a cell, got {self.gap}")
        least = max(SIDE_RANGE[0], 4 * self.cell)
        if not least <= self.side_max <= SIDE_RANGE[1]:
            raise ValueError(f"side_max: required {least} to {SIDE_RANGE[1]} pixels, got {self.side_max}")


def write_sheet(path: Path, images: Iterable[Pixels], sheet: Sheet) -> tuple[Path, ...]:
    """Write images uint8 [H, W, 3], in reading order, as `path`, a .png; its pages are NAME-1.png, … where it has several.

    Returns the files. All of them appear, each whole, once every image was read; after an error none does. The images
    are read once, one at a time. They may differ in size: a page's cells hold the sheet's first image and the largest on
    the page, and each image is in the middle of its cell.
    Raises ValueError for no images, for one of another type, and for labels that have no row, column or image.
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
        numbers = [""] if len(pages) == 1 else [f"-{number}" for number in range(1, len(pages) + 1)]
        names = tuple(path.with_name(f"{path.stem}{number}.png") for number in numbers)
        for page_file, name in zip(pages, names, strict=True):
            page_file.replace(name)
        sync(path.parent)
    finally:
        for page_file in pages:
            page_file.unlink(missing_ok=True)
    return names


@dataclass(frozen=True, slots=True)
class _Line:
    """Images that stand side by side: a row, or a part of one that is too wide."""

    row: int
    column: int  # of the first image
    start: int  # its number in reading order
    images: tuple[Pixels, ...]

    def grow(self, cell: tuple[int, int]) -> tuple[int, int]:
        """The (width, height) that holds these images and `cell`."""
        heights, widths, _ = zip(*(pixels.shape for pixels in self.images), strict=True)
        return max(cell[0], *widths), max(cell[1], *heights)


@dataclass(frozen=True, slots=True)
class _Layout:
    """What all pages share, in pixels; a page has its own cell (width, height), which may be larger than `cell`."""

    sheet: Sheet
    body: Lettering
    title: Lettering
    columns: int  # of a line
    cell: tuple[int, int]  # of a page whose images are no larger than the first
    image_width: int  # at most
    left: int  # where the images begin
    header: int  # height of the column labels, with the space below
    caption: int

    @property
    def wraps(self) -> bool:
        return self.columns < self.sheet.columns

    @property
    def top(self) -> int:
        """Where the first line's images begin."""
        return self.sheet.gap + (self.title.line_px + self.sheet.gap if self.sheet.title else 0) + self.header

    def pitch(self, cell: tuple[int, int]) -> int:
        """From one line to the next."""
        return cell[1] + self.caption + self.sheet.gap + (self.header if self.wraps else 0)

    def size(self, lines: int, cell: tuple[int, int]) -> tuple[int, int]:
        """Width and height of a page."""
        gap = self.sheet.gap
        title = self.title.width(self.sheet.title + SUFFIX.format(99)) if self.sheet.title else 0
        title = min(title, TITLE_WIDTH * self.title.line_px) + 2 * gap
        width = max(self.left + self.columns * (cell[0] + gap), min(title, self.sheet.side_max))
        return width, self.top + (lines - 1) * self.pitch(cell) + cell[1] + self.caption + gap


def _plan(sheet: Sheet, height: int, width: int) -> _Layout:
    """The layout by the first image's size, already reduced; later ones may be larger, as far as they fit."""
    side = max(height, width)
    size = min(max(side // 9, TEXT_RANGE[0]), TEXT_RANGE[1])
    body, title = lettering(size), lettering(1.5 * size)
    wrapped = [line for label in sheet.row_labels for line in body.wrap(label, 3 * side // 2, LINES_MAX)]
    label_width = max(map(body.width, wrapped), default=0)
    left = 2 * sheet.gap + label_width if label_width else sheet.gap
    room = sheet.side_max - left
    fit = max(1, room // (width + sheet.gap))
    columns = math.ceil(sheet.columns / math.ceil(sheet.columns / fit))  # lines of like lengths
    header, caption = (_height(labels, width, body) for labels in (sheet.column_labels, sheet.captions))
    return _Layout(
        sheet=sheet,
        body=body,
        title=title,
        columns=columns,
        cell=(width, max(height, body.line_px)),
        image_width=min(sheet.cell, room // columns - sheet.gap),
        left=left,
        header=header and header + sheet.gap // 2,
        caption=caption and caption + sheet.gap // 4,
    )


def _pages(images: Iterable[Pixels], sheet: Sheet) -> Iterator[Image.Image]:
    """Pages as they fill, each with as many lines as `side_max` allows."""
    stream = _checked(images, sheet)
    first = _reduced(next(stream), sheet.cell, sheet.cell)
    layout = _plan(sheet, *first.shape[:2])
    rest = (_reduced(pixels, layout.image_width, sheet.cell) for pixels in stream)
    page: list[_Line] = []
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
    """The images. Raises ValueError for one of another type and, after the last, for labels that are too many."""
    count = 0
    for pixels in images:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"image {count}: required uint8 [H, W, 3], got {pixels.dtype} {list(pixels.shape)}")
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


def _lines(images: Iterator[Pixels], layout: _Layout) -> Iterator[_Line]:
    start, total = 0, layout.sheet.columns
    while True:
        row, column = divmod(start, total)
        line = tuple(islice(images, min(layout.columns, total - column)))
        if not line:
            return
        yield _Line(row, column, start, line)
        start += len(line)


def _reduced(pixels: Pixels, width: int, height: int) -> Pixels:
    """A copy [H, W, 3] of at most these sides, in the same proportions; never enlarged."""
    scale = min(1, width / pixels.shape[1], height / pixels.shape[0])
    if scale == 1:
        return pixels.copy()  # a view would keep more alive than itself
    size = [max(1, math.floor(side * scale)) for side in pixels.shape[1::-1]]
    return np.array(Image.fromarray(pixels).resize((size[0], size[1]), Image.Resampling.LANCZOS))


def _draw(page: list[_Line], cell: tuple[int, int], layout: _Layout, suffix: str = "") -> Image.Image:
    sheet = layout.sheet
    canvas = Image.new("RGB", layout.size(len(page), cell), PAPER)
    if sheet.title:
        room = canvas.width - 2 * sheet.gap - layout.title.width(suffix)
        layout.title.write(canvas, (sheet.gap, sheet.gap), "l", [layout.title.shorten(sheet.title, room) + suffix])
    for number, line in enumerate(page):
        top = layout.top + number * layout.pitch(cell)
        if number == 0 or layout.wraps:
            _draw_column_labels(canvas, top, line.column, cell[0], layout)
        for label in sheet.row_labels[line.row : line.row + 1]:
            fit = min(LINES_MAX, cell[1] // layout.body.line_px)
            lines = layout.body.wrap(label, layout.left - 2 * sheet.gap, fit)
            middle = top + (cell[1] - len(lines) * layout.body.line_px) // 2
            layout.body.write(canvas, (layout.left - sheet.gap, middle), "r", lines)
        _draw_images(canvas, top, line, cell, layout)
    return canvas


def _draw_column_labels(canvas: Image.Image, top: int, column: int, width: int, layout: _Layout) -> None:
    """The labels of a line that begins at a column: centred, their last lines side by side."""
    for place, label in enumerate(layout.sheet.column_labels[column : column + layout.columns]):
        lines = layout.body.wrap(label, width, LINES_MAX)
        middle = layout.left + place * (width + layout.sheet.gap) + width // 2
        bottom = top - layout.sheet.gap // 2
        layout.body.write(canvas, (middle, bottom - len(lines) * layout.body.line_px), "m", lines)


def _draw_images(canvas: Image.Image, top: int, line: _Line, cell: tuple[int, int], layout: _Layout) -> None:
    """The images of a line in the middle of their cells, each with a thin edge around it and its caption below."""
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


def _height(texts: Iterable[str], width: int, body: Lettering) -> int:
    """Pixels that the highest of the wrapped texts takes; 0 without any."""
    return body.line_px * max((len(body.wrap(text, width, LINES_MAX)) for text in texts), default=0)
