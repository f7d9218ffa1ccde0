"""The files that a manifest names: inside the folder they may come from, sound, and known by their hashes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from render.core import file_sha256, real_path, shorten, why_unreadable
from render.manifest.cells import CheckedTable
from render.manifest.problems import show

__all__ = ["Fault", "read_files"]

Fault: TypeAlias = tuple[str, str]  # what is required, what was got


def read_files(checked: CheckedTable, name: str, root: Path, check: Callable[[Path], Fault | None]) -> tuple[Any, Any]:
    """Return a column of paths below `root` and its NAME_sha256, [N], "" for no file. Every file is opened once."""
    hashed = f"{name}_sha256"
    paths = checked.column(name, "text").fill_null("").combine_chunks().dictionary_encode()
    pinned = checked.column(hashed, "text").fill_null("")
    hashes: list[str] = []
    faults: dict[int, Fault] = {}
    for number, path in enumerate(paths.dictionary.to_pylist()):
        fault = _fault(path, root, check) if path else None
        hashes.append(file_sha256(root / path) if path and not fault else "")
        if fault:
            faults[number] = fault
    codes = paths.indices.to_numpy()
    bad = np.flatnonzero(np.isin(codes, list(faults)))
    checked.refuse_values(name, bad, codes[bad], lambda row: faults[int(codes[row])])
    own = pa.array(hashes, pa.large_string()).take(paths.indices)
    given, actual = np.array(pinned.to_pylist(), object), np.array(own.to_pylist(), object)
    other = (given != "") & (given != actual) & ~np.isin(codes, list(faults))
    without = f"an empty cell on a row without an {name} file"
    checked.refuse(
        hashed,
        np.flatnonzero(other),
        lambda row: (f"{actual[row]}, the file's" if actual[row] else without, show(given[row])),
    )
    return paths.dictionary_decode(), own


def _fault(path: str, root: Path, check: Callable[[Path], Fault | None]) -> Fault | None:
    file = real_path(root / path)
    if Path(path).is_absolute() or not file.is_relative_to(real_path(root)):
        return f"a path inside {shorten(root)}", show(path)
    if (why := why_unreadable(file)) and why != "no such file or directory":
        return "a file", f"{show(path)} ({why})"
    fault = check(file)
    return fault and (fault[0], f"{show(path)} ({fault[1]})")
