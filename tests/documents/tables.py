"""Write the tables of docs/manifest.md and docs/store.md that follow from tables in code.

python tests/documents/tables.py
"""

from __future__ import annotations

from pathlib import Path

from render.core.aliases import ALIASES
from render.core.columns import COLUMNS, Column
from render.plan.motions import MOTIONS
from render.store.columns import STORE_TABLE

__all__ = ["TABLES", "with_tables"]

DOCS = Path(__file__).parents[2] / "docs"
TAKEN = {"job": "the job's", "model": "the model's, or the job's"}


def _columns() -> list[list[str]]:
    rows = [["column", "of", "empty cells take", "meaning"]]
    for column in COLUMNS:
        if not column.by_reader:
            rows.append([f"`{column.name}`", column.of, _default(column), f"{_motions(column)}{column.meaning}"])
    return [*rows, ["any other", "keyframe", "nothing", "a label: carried into the store with its type"]]


def _default(column: Column) -> str:
    if column.default_of != "column":
        return TAKEN[column.default_of]
    match column.default:
        case None | "":
            return "nothing"
        case bool():
            return "yes" if column.default else "no"
        case str():
            return f"`{column.default}`"
    return f"{column.default:g}"


def _motions(column: Column) -> str:
    """Return the motions that alone have a use for a column, in front of its meaning."""
    only = [motion.name for motion in MOTIONS.values() if column.name in motion.takes]
    return f"in the motion {' or '.join(f'`{name}`' for name in only)}: " if only else ""


def _motion_rows() -> list[list[str]]:
    rows = [[f"`{motion.name}`", motion.keyframes_doc, motion.frames_doc] for motion in MOTIONS.values()]
    return [["motion", "keyframes", "frames"], *rows]


def _store_rows() -> list[list[str]]:
    rows = [[f"`{column.name}`", str(column.type).partition("<")[0], column.meaning] for column in STORE_TABLE]
    return [["column", "type", "meaning"], *rows]


def _alias_rows() -> list[list[str]]:
    rows = [[f"`{column}`", ", ".join(f"`{name}`" for name in names)] for column, names in ALIASES.items()]
    return [["ours", "of other programs"], *rows]


TABLES = {  # page, name between the markers → rows, the header first
    ("manifest.md", "columns"): _columns,
    ("manifest.md", "aliases"): _alias_rows,
    ("manifest.md", "motions"): _motion_rows,
    ("store.md", "store-columns"): _store_rows,
}


def with_tables(page: str, text: str) -> str:
    """Return the text of a page with its tables made anew."""
    for (of, name), rows in TABLES.items():
        if of == page:
            lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows()]
            lines.insert(1, "|" + "---|" * len(rows()[0]))
            before, start, rest = text.partition(f"<!-- {name} -->\n")
            _, end, after = rest.partition(f"<!-- /{name} -->")
            assert start, f"{page}: the marker of {name}"
            assert end, f"{page}: the end of {name}"
            text = before + start + "\n".join(lines) + "\n" + end + after
    return text


if __name__ == "__main__":
    for page in sorted({page for page, _ in TABLES}):
        path = DOCS / page
        path.write_text(with_tables(page, path.read_text(encoding="utf-8")), encoding="utf-8")
