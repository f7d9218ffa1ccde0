"""Read what `render expand` expands: templates, prompts with flags, keyframes."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from render.manifest import Problems, RawTable, is_text, read_table, show
from render.templates.flags import has_flags, read_flags
from render.templates.grammar import TemplateError
from render.templates.lines import is_entry, read_lines
from render.templates.schedule import EXAMPLE, is_schedule, nearly_schedule, read_schedule
from render.templates.styles import looks_like_styles

__all__ = ["read_source", "templates_of"]

PARAMETERS = re.compile(r"^\s*Negative prompt:|\bSteps: [0-9]+, ")  # as AUTOMATIC1111 writes them into images


def read_source(source: Path, problems: Problems) -> tuple[RawTable, bool]:
    """Return the table of a source, and True where it holds templates, False where it holds a walk or frames as they are.

    A text file is a template or a prompt with flags a line, or keyframes in JSON; other files are tables.
    """
    ending = source.suffix.lower()
    if ending == ".json":
        return read_schedule(source, problems), False
    if ending != ".txt":
        raw = read_table(source, problems)
        return raw, not raw.of_store
    try:
        lines = read_lines(source)
    except (OSError, ValueError) as error:
        problems.fatal("a text file in UTF-8 that can be read", str(error))
    if is_schedule("\n".join(lines)):
        return read_schedule(source, problems), False
    return _from_lines(lines, problems), True


def _from_lines(lines: list[str], problems: Problems) -> RawTable:
    """Return a table with the column `template`, and those that flags set; rows have the numbers of their lines."""
    rows = [number for number, line in enumerate(lines, 1) if is_entry(line)]
    if not rows:
        problems.fatal("at least one template", "none")
    _check_header(lines[rows[0] - 1], problems)
    if nearly_schedule([lines[row - 1] for row in rows]):
        problems.fatal("a prompt a line", f"keyframes, which are read as JSON: {EXAMPLE}")
    entries: list[dict[str, str]] = []
    for row in rows:
        line = lines[row - 1]
        try:
            _check_line(line)
            entries.append(read_flags(line) if has_flags(line) else {"template": line})
        except TemplateError as fault:
            problems.add(fault.required, fault.got, row=row)
            entries.append({"template": ""})
    problems.raise_any()
    names = dict.fromkeys(name for entry in entries for name in entry)
    cells = {name: [entry.get(name, "") for entry in entries] for name in names}
    columns = {name: pa.chunked_array([pa.array(own, pa.large_string())]) for name, own in cells.items()}
    return RawTable(columns, np.array(rows, np.int64), csv=True)


def _check_header(line: str, problems: Problems) -> None:
    """Refuse a table that is called .txt: its header would become a prompt, and its settings parts of prompts."""
    for separator in ",;\t":
        cells = [cell.strip().casefold() for cells in csv.reader([line], delimiter=separator) for cell in cells]
        if len(cells) > 1 and {"prompt", "template"} & set(cells):
            problems.fatal("a template, as the name ends in .txt", f"{show(line)} (a table? Call it .csv or .tsv)")


def _check_line(line: str) -> None:
    """Raise TemplateError for a line of another kind of list, which would become a prompt as it stands."""
    if PARAMETERS.search(line):
        raise TemplateError('a prompt, with flags such as --negative_prompt "dull" --steps 20 for settings', show(line))
    text = line.strip().removesuffix(",")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = [""] if text in ("[", "]") else None  # a list over several lines
    if isinstance(found, list) and not all(isinstance(one, int | float) for one in found):
        raise TemplateError("a prompt a line, not JSON", show(line))


def templates_of(raw: RawTable, problems: Problems) -> list[str | None]:
    """Return the template of every row; None for an empty cell, which is reported."""
    column: Any = raw.columns.get("template")
    if column is None and looks_like_styles(raw.columns):
        required = "a column 'template', or a list of prompts with these styles as --styles FILE"
        problems.fatal(required, "a style file (columns name, prompt, negative_prompt)")
    if "prompt" in raw.columns:
        problems.add("no column of this name: it will hold what the templates become", "it", column="prompt")
    if column is None:
        problems.fatal("a column 'template'", f"the columns {show(list(raw.columns))}")
    if not is_text(column.type):
        problems.fatal("text in the column 'template'", f"a column of {column.type}")
    empty = pc.equal(pc.utf8_trim_whitespace(column), "").fill_null(True)
    templates: list[str | None] = pc.if_else(empty, pa.scalar(None, column.type), column).to_pylist()
    if "template" not in raw.broken:
        for position in np.flatnonzero(empty).tolist():
            problems.add("a template", "an empty cell", row=int(raw.rows[position]), column="template")
    return templates
