"""The start images that a manifest names: there, whole, of a sane size, and inside the folder they may come from."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa

from render.cells import Sheet
from render.table import show

__all__ = ["read_images"]

PIXELS_MAX = 2**26  # of a start image: 8192²


def read_images(sheet: Sheet, root: Path) -> tuple[Any, Any]:
    """The columns `image` and `image_sha256`, [N], "" where there is none. Every file is opened once.

    A frozen manifest has been checked, and knows the hashes: its files need not be there.
    """
    paths = sheet.column("image", "text").fill_null("").combine_chunks().dictionary_encode()
    pinned = sheet.column("image_sha256", "text").fill_null("")
    if sheet.raw.frozen:
        return paths.dictionary_decode(), pinned
    hashes, faults = [], {}
    for number, path in enumerate(paths.dictionary.to_pylist()):
        found, required = _hash(path, root) if path else ("", "")
        hashes.append("" if required else found)
        if required:
            faults[number] = (required, found)
    codes = paths.indices.to_numpy()
    sheet.refuse("image", np.flatnonzero(np.isin(codes, list(faults))), lambda row: faults[int(codes[row])])
    own = pa.array(hashes, pa.large_string()).take(paths.indices)
    given, actual = np.array(pinned.to_pylist(), object), np.array(own.to_pylist(), object)
    other = (given != "") & (given != actual) & ~np.isin(codes, list(faults))
    sheet.refuse("image_sha256", np.flatnonzero(other), lambda row: (f"{actual[row]}, the file's", show(given[row])))
    return paths.dictionary_decode(), own


def _hash(path: str, root: Path) -> tuple[str, str]:
    """(SHA-256, "") of an image file, or (what was got, what is required)."""
    file = (root / path).resolve()
    if Path(path).is_absolute() or not file.is_relative_to(root.resolve()):
        return show(path), f"a path inside {root}"
    try:
        data = file.read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)  # the size is looked at here
            with PIL.Image.open(file) as image:
                if image.width * image.height > PIXELS_MAX:
                    return f"{image.width}×{image.height} in {show(path)}", f"at most {PIXELS_MAX:,} pixels"
                image.load()
    except (OSError, SyntaxError, ValueError, PIL.Image.DecompressionBombError) as error:
        return f"{show(path)} ({type(error).__name__}: {error})", "an image file"
    return hashlib.sha256(data).hexdigest(), ""
