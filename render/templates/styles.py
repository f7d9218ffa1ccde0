"""Style files, as of AUTOMATIC1111's web UI: name, prompt and negative prompt, with `{prompt}` where the prompt goes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from render.manifest import Problems, RawTable, is_text, read_table, show
from render.templates.lines import read_lines

__all__ = ["Style", "apply_styles", "looks_like_styles", "read_styles"]

COLUMNS = ("name", "prompt", "negative_prompt")


@dataclass(frozen=True, slots=True)
class Style:
    """Text around prompts and negative prompts."""

    name: str
    prompt: str
    negative_prompt: str


def looks_like_styles(columns: Iterable[str]) -> bool:
    """Tell a style file by the names of its columns."""
    return {*COLUMNS} <= set(columns)


def read_styles(path: Path) -> list[Style]:
    """Return the styles of a CSV table, or of a list of objects in JSON. Those without text are left out.

    Raises ManifestError with everything that is wrong.
    """
    problems = Problems(str(path))
    if path.suffix.lower() == ".json":
        rows = _read_json(path, problems)
    else:
        raw = read_table(path, problems)
        if "text" in raw.columns and "prompt" not in raw.columns:  # as in the web UI's first versions
            raw = replace(
                raw, columns={{"text": "prompt"}.get(name, name): cells for name, cells in raw.columns.items()}
            )
        _check_columns(raw, problems)
        cells = zip(*(column.to_pylist() for column in raw.columns.values()), strict=True)
        rows = [(int(row), dict(zip(raw.columns, own, strict=True))) for row, own in zip(raw.rows, cells, strict=True)]
    styles: dict[str, Style] = {}
    for row, cells_of in rows:
        style = Style(*((cells_of.get(name) or "").strip() for name in COLUMNS))
        if not style.prompt and not style.negative_prompt:
            continue
        if not style.name or style.name in styles:
            problems.add("a name for every style, each once", show(style.name), row=row, column="name")
        styles[style.name] = style
    if not styles and not problems.total:
        problems.add("at least one style with a text", "none")
    problems.raise_any()
    return list(styles.values())


def _check_columns(raw: RawTable, problems: Problems) -> None:
    names = list(raw.columns)
    if not {"name", "prompt"} <= set(names) <= set(COLUMNS):
        problems.fatal(f"a style file, with the columns {', '.join(COLUMNS)}", f"the columns {show(names)}")
    for name, column in raw.columns.items():
        if not is_text(column.type):
            problems.fatal(f"text in the column {name!r}", f"a column of {column.type}")


def _read_json(path: Path, problems: Problems) -> list[tuple[int, dict[str, Any]]]:
    """Return (number, keys) of a list of objects."""
    required = 'styles, such as [{"name": "oil", "prompt": "{prompt}, oil painting", "negative_prompt": "photo"}]'
    try:
        found = json.loads("\n".join(read_lines(path)))
    except (OSError, ValueError, RecursionError) as error:
        problems.fatal(required, str(error))
    if not isinstance(found, list):
        problems.fatal(required, show(found))
    for number, one in enumerate(found, start=1):
        whole = isinstance(one, dict) and set(one) <= {*COLUMNS} and all(isinstance(text, str) for text in one.values())
        if not whole:
            problems.add(f"an object of texts with the keys {', '.join(COLUMNS)}", show(one), row=number)
    problems.raise_any()
    return list(enumerate(found, start=1))


def apply_styles(raw: RawTable, styles: list[Style], problems: Problems) -> RawTable:
    """Return the table with every row once for each style, whose name is in the new column `style`.

    A style's text takes the prompt at `{prompt}`, and is put behind it where it has no such place.
    """
    if "style" in raw.columns:
        problems.fatal("no column of this name: it will hold the names of the styles", "a column 'style'")
    count = len(raw.rows)
    sources = np.repeat(np.arange(count), len(styles))
    columns = {name: column.take(pa.array(sources)) for name, column in raw.columns.items()}
    negative = raw.columns.get("negative_prompt", pa.chunked_array([[""] * count], pa.large_string())).to_pylist()
    cells = {
        "template": [
            _merge(s.prompt, text) if text else text for text in raw.columns["template"].to_pylist() for s in styles
        ],
        "negative_prompt": [_merge(s.negative_prompt, text or "") for text in negative for s in styles],
        "style": [s.name for s in styles] * count,
    }
    made = {name: pa.chunked_array([pa.array(own, pa.large_string())]) for name, own in cells.items()}
    return replace(raw, columns=columns | made, rows=raw.rows[sources])


def _merge(style: str, prompt: str) -> str:
    """Return a prompt in its style.

    >>> _merge("{prompt}, oil painting", "a cat"), _merge("oil painting", "a cat"), _merge("", "a cat")
    ('a cat, oil painting', 'a cat, oil painting', 'a cat')
    """
    if "{prompt}" in style:
        return style.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style) if part)
