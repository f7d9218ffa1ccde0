"""Lay out a contact sheet: sizes and places of cells, labels and titles, in pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from render.output.lettering import Lettering, lettering
from render.output.pixels import Pixels

__all__ = ["LINES_MAX", "SUFFIX", "Layout", "Line", "Pixels", "Sheet", "plan_layout"]

SIDE_RANGE = (256, 8192)  # of larger pictures Pillow and others warn as of a decompression bomb
CELL_RANGE = (16, 2048)
TEXT_RANGE = (12, 24)  # font size in pixels; it is a ninth of an image's longer side within these
LINES_MAX = 3  # of a label or of the title; longer texts are shortened
TITLE_WIDTH = 24  # line heights; a page is at least as wide as its title, up to this width
CELL_WIDTH = 5  # font sizes; least width of a cell with text above or below it
SUFFIX = " (page {})"  # of the title of a second or later page


@dataclass(frozen=True, slots=True)
class Sheet:
    """Settings of a contact sheet. Labels may be fewer than rows or columns. Raises ValueError for a value out of range."""

    columns: int  # 1 or more
    row_labels: tuple[str, ...] = ()  # left of the rows, from the first
    column_labels: tuple[str, ...] = ()  # above the columns, from the first
    captions: tuple[str, ...] = ()  # below the images: none at all, or one for each
    title: str = ""  # above every page, and in the PNG's metadata
    row_title: str = ""  # name of the quantity whose values the row labels are; it stands above them
    column_title: str = ""  # the same for the column labels
    cell: int = 256  # longest side of an image in pixels; larger ones are reduced, smaller ones stay as they are
    gap: int = 8  # pixels between cells, and around them
    side_max: int = 4096  # longest side of a page in pixels; at least four cells

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


@dataclass(frozen=True, slots=True)
class Line:
    """Images that stand side by side: a row, or a part of a row that is too wide for a page."""

    row: int
    column: int  # of the first image
    start: int  # number of the first image in reading order
    images: tuple[Pixels, ...]

    def grow(self, cell: tuple[int, int]) -> tuple[int, int]:
        """Return the least (width, height) that holds these images and `cell`."""
        heights, widths, _ = zip(*(pixels.shape for pixels in self.images), strict=True)
        return max(cell[0], *widths), max(cell[1], *heights)


@dataclass(frozen=True, slots=True)
class Layout:
    """Sizes that all pages share, in pixels. The cell of a single page may be larger than `cell`."""

    sheet: Sheet
    body: Lettering
    title: Lettering
    title_lines: list[str]
    title_width: int  # with the page number behind the title
    columns: int  # images of a line at most
    cell: tuple[int, int]  # (width, height) on a page whose images are no larger than the first
    image_width: int  # of the widest image that fits
    left: int  # x of the first column of images
    header: int  # height of the column labels with row and column title, and the space below
    caption: int  # height of the captions, and the space above

    @property
    def wraps(self) -> bool:
        return self.columns < self.sheet.columns

    @property
    def top(self) -> int:
        """Y of the first line's images."""
        lines = len(self.title_lines)
        return self.sheet.gap + (lines * self.title.line_px + self.sheet.gap if lines else 0) + self.header

    def pitch(self, cell: tuple[int, int]) -> int:
        """Return the distance of the images of two lines, from top to top."""
        return cell[1] + self.caption + self.sheet.gap + (self.header if self.wraps else 0)

    def size(self, lines: int, cell: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of a page."""
        gap = self.sheet.gap
        width = max(self.left + self.columns * (cell[0] + gap), self.title_width + 2 * gap)
        return width, self.top + (lines - 1) * self.pitch(cell) + cell[1] + self.caption + gap


def plan_layout(sheet: Sheet, height: int, width: int) -> Layout:
    """Plan the layout by the size of the first image, already reduced; later images may be larger, as far as they fit."""
    side = max(height, width)
    size = min(max(side // 9, TEXT_RANGE[0]), TEXT_RANGE[1])
    body, title = lettering(size), lettering(1.5 * size)
    if sheet.column_labels or sheet.captions:
        width = max(width, CELL_WIDTH * size)
    cell = width, max(height, body.line_px)
    sheet = _distinguish_all(sheet, cell, 3 * side // 2, body)
    beside = (sheet.row_title, *sheet.row_labels)
    wrapped = [line for label in beside for line in body.wrap(label, 3 * side // 2, LINES_MAX)]
    label_width = max(map(body.width, wrapped), default=0)
    left = 2 * sheet.gap + label_width if label_width else sheet.gap
    room = sheet.side_max - left
    fit = max(1, room // (width + sheet.gap))
    columns = math.ceil(sheet.columns / math.ceil(sheet.columns / fit))  # lines of nearly equal lengths
    header, caption = (_height(labels, width, body) for labels in (sheet.column_labels, sheet.captions))
    above = body.line_px + sheet.gap // 2 if sheet.column_title else 0
    header = max(header + above, _height((sheet.row_title,), label_width, body))
    title_room = max(left + columns * (width + sheet.gap), TITLE_WIDTH * title.line_px)
    room_above = sheet.side_max - header - caption - sheet.cell - 5 * sheet.gap
    most = min(LINES_MAX, max(1, room_above // title.line_px))
    title_lines, title_width = _title(sheet.title, title, min(title_room, sheet.side_max) - 2 * sheet.gap, most)
    return Layout(
        sheet=sheet,
        body=body,
        title=title,
        title_lines=title_lines,
        title_width=title_width,
        columns=columns,
        cell=cell,
        image_width=min(sheet.cell, room // columns - sheet.gap),
        left=left,
        header=header and header + sheet.gap // 2,
        caption=caption and caption + sheet.gap // 4,
    )


def _title(text: str, title: Lettering, width: int, most: int) -> tuple[list[str], int]:
    """Wrap the title. Returns its lines and their width, with room for a page number behind each."""
    suffix = title.width(SUFFIX.format(99))
    lines = title.wrap(text, width - suffix, most)
    return lines, max(map(title.width, lines)) + suffix if lines else 0


def _distinguish_all(sheet: Sheet, cell: tuple[int, int], row_width: int, body: Lettering) -> Sheet:
    return replace(
        sheet,
        row_labels=_distinguish(sheet.row_labels, row_width, min(LINES_MAX, cell[1] // body.line_px), body),
        column_labels=_distinguish(sheet.column_labels, cell[0], LINES_MAX, body),
        captions=_distinguish(sheet.captions, cell[0], LINES_MAX, body),
    )


def _distinguish(labels: tuple[str, ...], width: int, lines: int, body: Lettering) -> tuple[str, ...]:
    """Number labels that differ but would look alike, because they are cut or the fonts lack their characters."""
    looks = [tuple(body.wrap(label, width, lines)) for label in labels]
    alike = Counter(look for look, _ in set(zip(looks, labels, strict=True)))
    numbered = enumerate(zip(labels, looks, strict=True), start=1)
    return tuple(f"#{number} {label}" if alike[look] > 1 else label for number, (label, look) in numbered)


def _height(texts: Iterable[str], width: int, body: Lettering) -> int:
    """Return the height of the highest of the wrapped texts; 0 without any."""
    return body.line_px * max((len(body.wrap(text, width, LINES_MAX)) for text in texts), default=0)
