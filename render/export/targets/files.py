"""Export as single picture files with a table or captions beside them: imagefolder, kohya, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from render.core import replacing, write_atomically
from render.export.targets.target import Target
from render.export.work import Part, Sample, Work, plain_json

__all__ = ["CSV", "IMAGEFOLDER", "KOHYA"]

ROWS = 1000  # pictures of a folder: the Hub takes fewer than 10,000


def _write_pictures(work: Work, part: Part, samples: Iterator[Sample], line: Any) -> None:
    """Write the pictures of a part to a folder of their own, and their lines of the split's table to the notes."""
    folder, lines = work.folder / part.split / f"{part.number:05d}", []
    folder.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        (folder / sample.file).write_bytes(sample.data)
        lines.append(line(sample, f"{folder.name}/{sample.file}"))
    write_atomically(work.lines(part), "".join(lines).encode("utf-8", "replace"))


def _join(work: Work, split: str, path: Path, head: str = "") -> None:
    """Write the table of a split from the lines of its parts."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(head.encode("utf-8", "replace"))
        file.writelines(work.all_lines(split))


def _json_line(sample: Sample, file: str) -> str:
    return plain_json({"file_name": file, "text": sample.caption} | sample.values) + "\n"


def _write_imagefolder(work: Work, part: Part, samples: Iterator[Sample]) -> None:
    _write_pictures(work, part, samples, _json_line)


def _finish_imagefolder(work: Work) -> None:
    for split in work.parts:
        _join(work, split, work.folder / split / "metadata.jsonl")


def _csv_line(values: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(values)  # the writer quotes cells with a sign of its line's end
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def _write_csv(work: Work, part: Part, samples: Iterator[Sample]) -> None:
    def line(sample: Sample, file: str) -> str:
        return _csv_line([f"{part.split}/{file}", *(_cell(value) for value in sample.values.values())])

    _write_pictures(work, part, samples, line)


def _cell(value: Any) -> Any:
    """Return a value as a cell: lists and structs as JSON, times as ISO 8601, nothing for null."""
    return plain_json({"": value})[5:-1] if isinstance(value, list | dict | tuple) else _scalar(value)


def _scalar(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _finish_csv(work: Work) -> None:
    head = _csv_line(["file_name", *work.schema.names])
    for split in work.parts:
        _join(work, split, work.folder / f"{split}.csv", head)


def _write_kohya(work: Work, part: Part, samples: Iterator[Sample]) -> None:
    """Write pictures and captions into one folder, since sd-scripts looks into no folder below it."""
    name = re.sub(r"[^\w-]+", "_", work.source) or "images"
    top = work.folder / part.split if len(work.frames) > 1 else work.folder
    folder = top / f"{work.choice.export.repeats}_{name}"
    folder.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        (folder / sample.file).write_bytes(sample.data)
        (folder / f"{sample.name}.txt").write_text(sample.caption, encoding="utf-8", errors="replace")


IMAGEFOLDER = Target(
    "imagefolder",
    "pictures with a metadata.jsonl, for `datasets` and the training scripts of diffusers",
    _write_imagefolder,
    lambda split: f"{split}/**",
    _finish_imagefolder,
    rows=ROWS,
    reserved=frozenset({"file_name", "text", "image"}),
    reserved_ends=("_file_name", "_file_names"),  # `datasets` opens the files that such columns name
    opening='from datasets import load_dataset\nimages = load_dataset("imagefolder", data_dir=folder, split=SPLIT)',
    is_dataset=True,
)
KOHYA = Target(
    "kohya",
    "a folder N_NAME of pictures and captions, for sd-scripts and its like",
    _write_kohya,
    lambda split: f"{split}/**",
    rows=ROWS,
)
CSV = Target(
    "csv",
    "pictures, and a CSV file a split",
    _write_csv,
    lambda split: f"{split}.csv",
    _finish_csv,
    rows=ROWS,
    reserved=frozenset({"file_name"}),
    opening="import pandas\nimages = pandas.read_csv(folder + FILES)",
)
