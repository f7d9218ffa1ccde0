"""The files of a manifest, on this machine or behind URLs: the table itself, and the media that its cells name.

A table may come from anybody. Its cells reach no file outside the folder of media, and no server but those that the job
names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from render.core import (
    IMAGE_BYTES,
    SOUND_BYTES,
    TABLE_ENDINGS,
    ManifestError,
    ObjectPath,
    file_sha256,
    is_below,
    is_url,
    local_file,
    local_files,
    local_folder,
    media_path,
    real_path,
    shorten,
    table_ending,
    why_unreadable,
)
from render.manifest.cells import CheckedTable
from render.manifest.formats.bounded import TABLE_BYTES
from render.manifest.problems import Problems, show
from render.manifest.rules import Defaults
from render.manifest.table import IN_FOLDER
from render.media import image_fault, sound_fault

__all__ = ["IMAGES", "SOUNDS", "Fault", "MediaKind", "fetch_table", "read_files"]

Fault: TypeAlias = tuple[str, str]  # what is required, what was got


@dataclass(frozen=True, slots=True)
class MediaKind:
    """A column of media files."""

    column: str
    check: Callable[[Path], Fault | None]
    most_bytes: int  # of a file that is fetched


IMAGES = MediaKind("image", image_fault, IMAGE_BYTES)
SOUNDS = MediaKind("audio", sound_fault, SOUND_BYTES)


def fetch_table(source: Any, problems: Problems) -> Any:
    """Return a local copy of a manifest at a URL, of a folder in a bucket those of its tables; any other as it is.

    Raises ManifestError with the reason.
    """
    if not isinstance(source, Path) or not is_url(source):
        return source
    try:
        if table_ending(source):
            return local_file(source, TABLE_BYTES)
        if isinstance(source, ObjectPath):
            return local_folder(
                source, lambda name: "/" not in name and table_ending(Path(name)) in IN_FOLDER, TABLE_BYTES
            )
    except OSError as error:
        raise ManifestError(str(error)) from None
    return problems.fatal(f"an address whose path ends in {', '.join(TABLE_ENDINGS)}", show(source.name))


def read_files(checked: CheckedTable, kind: MediaKind, defaults: Defaults) -> tuple[Any, Any]:
    """Return a column of media and its NAME_sha256, [N], "" for no file. Every file is opened once."""
    name, hashed = kind.column, f"{kind.column}_sha256"
    paths = checked.column(name, "text").fill_null("").combine_chunks().dictionary_encode()
    pinned = checked.column(hashed, "text").fill_null("")
    hashes, faults = _read_each(paths.dictionary.to_pylist(), kind, defaults)
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


def _read_each(cells: list[str], kind: MediaKind, defaults: Defaults) -> tuple[list[str], dict[int, Fault]]:
    """Return the SHA-256 of each cell's file, "" for none, and by number what is wrong with the others."""
    found = {cell: _place(cell, defaults) for cell in cells if cell}
    copies = local_files((place for place in found.values() if isinstance(place, Path)), kind.most_bytes)
    hashes, faults = [], {}
    for number, cell in enumerate(cells):
        place = found.get(cell, ("", ""))
        file = copies[place] if isinstance(place, Path) else place
        fault = _fault(cell, file, kind) if cell else None
        hashes.append(file_sha256(file) if cell and not fault and isinstance(file, Path) else "")
        if fault:
            faults[number] = fault
    return hashes, faults


def _place(cell: str, defaults: Defaults) -> Path | Fault:
    """Return the path of the file that a cell names; a fault for one outside what the job allows."""
    root = defaults.media
    try:
        path = media_path(root, cell)
    except ValueError as error:
        required, _, got = str(error).removeprefix("required ").partition(", got ")
        return required, got
    if not is_url(path):
        inside = not Path(cell).is_absolute() and real_path(path).is_relative_to(real_path(root))
        return path if inside else (f"a path inside {shorten(root)}", show(cell))
    allowed = [*([root] if is_url(root) else []), *defaults.media_urls]
    if any(is_below(path, folder) for folder in allowed):
        return path
    named = ", ".join(str(folder) for folder in allowed)
    required = f"a URL below {shorten(named)}" if allowed else "a path in the folder of media"
    return f"{required} (job key media_urls lists the folders whose URLs cells may have)", show(cell)


def _fault(cell: str, file: Path | OSError | Fault, kind: MediaKind) -> Fault | None:
    if isinstance(file, tuple):
        return file
    if isinstance(file, OSError):
        return "a file that can be fetched", f"{show(cell)} (required {str(file).partition(': required ')[2]})"
    if (why := why_unreadable(file)) and why != "no such file or directory":
        return "a file", f"{show(cell)} ({why})"
    fault = kind.check(file)
    return fault and (fault[0], f"{show(cell)} ({fault[1]})")
