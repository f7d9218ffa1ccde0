"""Open text files of tables: gzip is unpacked, a byte-order mark says which Unicode encoding they have."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from render.manifest.formats.bounded import BoundedReader, TooMuchError
from render.manifest.problems import Problems

__all__ = ["check_size", "open_text"]

MARKS = {  # the longer first: UTF-16's is the beginning of UTF-32's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
BUFFER = 2**18  # bytes read at a time
OTHERS = {
    b"PAR1": "a Parquet file",
    b"PK\x03\x04": "a zip archive (a spreadsheet? Save it as CSV)",
    b"\xd0\xcf\x11\xe0": "a file of old Office (a spreadsheet? Save it as CSV)",
    b"SQLite": "an SQLite database",
}


@contextmanager
def open_text(path: Path, problems: Problems) -> Iterator[IO[str]]:
    r"""Give the text of a table, with `\n` for every line end. Raises ManifestError for what is no text.

    Bytes that are not UTF-8 become surrogates, which are found cell by cell; UTF-16 and UTF-32 are read by their mark,
    and must be whole.
    """
    zipped = path.suffix.casefold() == ".gz"
    what = f"{path.name.removesuffix('.gz').rpartition('.')[2].upper()} text in UTF-8"
    try:
        with path.open("rb") as file:
            head = file.read(2)
        if zipped != (head == b"\x1f\x8b"):
            required = "a gzip archive" if zipped else f"{what} (or a name that ends in .gz)"
            problems.fatal(f"{required}, as its ending says", "another file" if zipped else "a gzip archive")
        with gzip.open(path) if zipped else path.open("rb") as packed:
            file = io.BufferedReader(BoundedReader(packed), BUFFER)
            head = file.peek(6)[:6]
            for magic, other in OTHERS.items():
                if head.startswith(magic):
                    problems.fatal(f"{what}, as its ending says", other)
            encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), "")
            errors = "strict" if encoding else "surrogateescape"
            with io.TextIOWrapper(file, encoding=encoding or "utf-8-sig", errors=errors) as text:
                yield text
    except TooMuchError as error:
        problems.fatal(*error.args)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problems.fatal("a whole gzip archive", str(error))
    except UnicodeDecodeError as error:
        problems.fatal(f"whole text in {error.encoding.upper()}, as its byte-order mark says", error.reason)


def check_size(path: Path, problems: Problems) -> None:
    """Raise ManifestError for a text with more bytes, lines or longer lines than a table may have, before it is parsed."""
    with open_text(path, problems) as text:
        while text.buffer.read(BUFFER):  # type: ignore[attr-defined]
            pass
