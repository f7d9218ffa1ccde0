"""Paths as people write them: `~`, the endings of tables, and what can't be read to an end: pipes, devices, loops.

Standard library only.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from render.core.objects import ObjectPath
from render.core.urls import is_url

__all__ = [
    "TABLE_ENDINGS",
    "expand_home",
    "is_folder",
    "real_path",
    "special_kind",
    "table_ending",
    "table_name",
    "why_no_table",
    "why_unreadable",
]

KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt")  # of tables; each may have .gz behind it
TABLE_ENDINGS = (*TEXT_ENDINGS, ".parquet")
OTHER_ENDINGS = {  # of files that people bring as tables: what to do with them
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "a spreadsheet: save it as CSV"),
    **dict.fromkeys((".feather", ".arrow"), "Feather: pyarrow.parquet.write_table makes a .parquet of its table"),
    ".json": "JSON: one object a line, as .jsonl, is read; a list of keyframes is for `render expand`",
    ".pkl": "a pickle: pandas' to_parquet makes a .parquet of it",
    ".zip": "an archive: unpack it",
}


def special_kind(path: Path) -> str:
    """Return `a pipe`, `a socket` or `a device`; "" for a file, a folder and a path to nothing."""
    if is_url(path):
        return ""
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "")
    except (OSError, ValueError):  # none such, or no name that there can be
        return ""


def why_unreadable(path: Path) -> str:
    """Return why a path can't be opened as a file: `a pipe`, `a folder`, `no such file or directory`; "" for a file.

    Every input file is looked at here before it is opened: opening a pipe waits for somebody who writes to it.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            return "a symbolic link to itself"
        if isinstance(error, FileNotFoundError):  # of an object, too, which has no errno
            return "no such file or directory"
        return (error.strerror or "").lower() if isinstance(error, OSError) else "no such file or directory"
    return "" if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "a folder")


def real_path(path: Path) -> Path:
    """Return an absolute path with its symbolic links followed; one that leads to itself, and a URL, is left as it is."""
    if is_url(path):
        return path
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a NUL byte in the name
        return path.absolute()


def is_folder(path: Path) -> bool:
    """Return True for a folder; False for what can't be looked at, such as a name too long for a file system.

    Of URLs, those in a bucket without a table's ending are folders.
    """
    if is_url(path):
        return isinstance(path, ObjectPath) and not table_ending(path)
    return os.path.isdir(path)


def expand_home(path: str | Path) -> Path:
    """Return a path with `~` or `~USER` in front replaced by that home folder; unchanged for an unknown user."""
    if isinstance(path, Path) and is_url(path):
        return path
    return Path(os.path.expanduser(path))


def table_ending(path: Path) -> str:
    """Return the ending by which a file is a table, "" for other files.

    >>> [table_ending(Path(name)) for name in ("a.CSV", "b.jsonl.gz", "c.yaml", "d.parquet.gz")]
    ['.csv', '.jsonl', '', '']
    """
    name = path.name.casefold()
    plain = name.removesuffix(".gz")
    ending = os.path.splitext(plain)[1]
    return ending if ending in (TEXT_ENDINGS if plain != name else TABLE_ENDINGS) else ""


def table_name(path: Path) -> str:
    """Return the name of a file without the endings of a table: `first` for first.csv.gz; `OUT-again` for a store's data."""
    if path.name == "data" and not is_url(path) and (path.parent / ".run").is_dir():
        return f"{path.parent.name}-again"
    stem = path.stem if path.suffix.casefold() == ".gz" and table_ending(path) else path.name
    return Path(stem).stem


def why_no_table(path: Path) -> str:
    """Return what to do with a file that is no table, as it follows in an error; "" for no idea."""
    hint = OTHER_ENDINGS.get(path.suffix.casefold(), "")
    return f" ({hint})" if hint else ""
