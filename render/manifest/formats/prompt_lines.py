"""A text file of one prompt a line → a table with the column `prompt`; what looks like another kind of list is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from render.manifest.formats.bounded import CELL_MAX
from render.manifest.formats.text import open_text
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable

__all__ = ["read_prompt_lines"]

EXPAND = "`render expand` reads such lists into a manifest"
OTHER_KINDS = {  # lines that are no prompt as they stand: what they look like
    re.compile(r"^--[a-z_]+|\s--(neg|prompt|[a-z]+_[a-z_]+|width|height|steps|seed|sampler|cfg|ar)\b"): (
        f"like A1111's prompt lines with flags: {EXPAND}"
    ),
    re.compile(r'^\s*\{\s*"'): "like JSON: a file of one object a line is called .jsonl",
    re.compile(r"^\s*[\[\]{}],?\s*$"): f"like JSON: a file of one object a line is called .jsonl, and {EXPAND}",
}


def read_prompt_lines(path: Path, problems: Problems) -> RawTable:
    """Return a prompt for each line that is neither blank nor begins with #; rows have the numbers of their lines."""
    with open_text(path, problems) as file:
        lines = {number: line.removesuffix("\n") for number, line in enumerate(file, 1) if line.strip()}
    comments = [number for number, line in lines.items() if line.lstrip().startswith("#")]
    entries = {number: line for number, line in lines.items() if number not in set(comments)}
    if not entries:
        problems.fatal("at least one line with a prompt", "none")
    _check_header(next(iter(entries.values())), problems)
    prompts = []
    for number, line in entries.items():
        prompts.append(line.encode(errors="replace").decode())
        looks = next((why for sign, why in OTHER_KINDS.items() if sign.search(line)), None)
        if prompts[-1] != line:
            got = f"{show(line.encode(errors='surrogateescape'))} (Windows-1252? Save it as UTF-8)"
            problems.add("text in UTF-8", got, row=number)
        elif looks:
            problems.add("a prompt", f"{show(line)} (looks {looks})", row=number)
    if comments:
        problems.warn(f"{len(comments)} lines that begin with # are left out, the first is {comments[0]}")
    column = pa.chunked_array([pa.array(prompts, pa.large_string())])
    rows = np.array(list(entries), np.int64)
    return RawTable({"prompt": column}, rows, csv=True, comma_rows=np.zeros(len(rows), np.bool_))


def _check_header(line: str, problems: Problems) -> None:
    """Refuse a table that is called .txt: its header would become a prompt, and its settings parts of prompts."""
    for separator in (",", ";", "\t"):
        cells = [cell.strip().casefold() for row in csv.reader([line[:CELL_MAX]], delimiter=separator) for cell in row]
        if "prompt" in cells or "template" in cells:
            required = "a line with a prompt, for the name ends in .txt"
            problems.fatal(required, f"{show(line)} (looks like the header of a table: call it .csv or .tsv)")
