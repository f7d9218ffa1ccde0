"""Tables that were made to hurt: each a clear error within seconds and little memory."""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from manifest_tables import DEFAULTS, MODELS

from render.core.errors import ManifestError
from render.manifest.formats.pages import read_page
from render.manifest.read import read_manifest

GIGABYTE = 2**20  # in the unit of ru_maxrss, kB
SECONDS_MAX = 10.0  # of CPU time


def refusal(path: Path) -> str:
    """The error of a table, which takes little time, and less than a gigabyte more than before."""
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, MODELS)
    assert time.process_time() - begin < SECONDS_MAX
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIGABYTE
    text = str(caught.value)
    assert max(map(len, text.splitlines())) < 1300
    return text


def constant(rows: int, text: str) -> pa.Table:
    return pa.table({"prompt": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), [text])})


def test_rows_that_take_no_room_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(constant(10_000_001, "a cat"), path)
    assert path.stat().st_size < 100_000
    assert "required at most 10,000,000 rows; got 10,000,001" in refusal(path)


def test_a_text_that_every_row_repeats(tmp_path: Path) -> None:
    """Nine million cells of 10 kB by 25 kB of file: they are counted before any is copied."""
    path = tmp_path / "m.parquet"
    pq.write_table(constant(9_000_000, "a cat " * 2000), path)
    assert "required cells of at most 512 MB in all; got more" in refusal(path)


def huge_cells(path: Path) -> Path:
    cells = pa.array(["a" * 300_000_000, "b" * 300_000_000], pa.large_string())
    pq.write_table(pa.table({"prompt": cells}), path, compression="zstd", write_statistics=False)
    return path


def varint(value: int, size: int) -> bytes:
    """A number as Thrift's compact protocol writes it, in `size` bytes."""
    parts = [(value >> 7 * place) & 127 for place in range(size)]
    return bytes([*(part | 128 for part in parts[:-1]), parts[-1]])


def test_cells_that_are_huge_once_unpacked(tmp_path: Path) -> None:
    path = huge_cells(tmp_path / "m.parquet")
    assert path.stat().st_size < 100_000
    assert "cells of at most 512 MB in all; got pages of 572 MB" in refusal(path)


def test_a_footer_that_lies_about_sizes(tmp_path: Path) -> None:
    """The pages' own headers, by which a reader makes room, say the truth."""
    path = huge_cells(tmp_path / "m.parquet")
    metadata = pq.read_metadata(path)
    declared = metadata.row_group(0).column(0).total_uncompressed_size
    content = path.read_bytes()
    size = len(varint(declared << 1, 5))
    footer = len(content) - 8 - metadata.serialized_size
    lying = content[:footer] + content[footer:].replace(varint(declared << 1, size), varint(100 << 1, size))
    path.write_bytes(lying)
    assert pq.read_metadata(path).row_group(0).column(0).total_uncompressed_size == 100
    assert "cells of at most 512 MB in all; got pages of" in refusal(path)


def test_pages_are_those_that_pyarrow_wrote(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    for version, statistics in (("1.0", True), ("2.0", True), ("2.0", False)):
        table = pa.table({"prompt": [f"a cat {n}" * (n % 50) for n in range(50_000)]})
        pq.write_table(table, path, data_page_version=version, data_page_size=10_000, write_statistics=statistics)
        chunk = pq.read_metadata(path).row_group(0).column(0)
        place, total, values, count = chunk.dictionary_page_offset, 0, 0, 0
        end = place + chunk.total_compressed_size
        with path.open("rb") as file:
            while place < end:
                page = read_page(file, place)
                total, values, place, count = total + page.content_bytes, values + page.values, page.end, count + 1
        assert place == end
        assert count > 5
        assert values >= 50_000
        assert total < chunk.total_uncompressed_size < total + 600 * count  # which counts the headers, too


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff" * 100, b"\x15\x00\x15", b"\x1c" * 200, b"\x19\xfc\xff\xff\xff\x7f"]
)
def test_what_is_no_page_header(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "page").write_bytes(data)
    with (tmp_path / "page").open("rb") as file, pytest.raises(ValueError, match="page header"):
        read_page(file, 0)


LONG = "a" * 131_073


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.csv", f"prompt\n{LONG}\n", "row 1: required cells of at most 131,072 characters; got a longer one"),
        ("m.csv", f'prompt,kind\na,b\n"{LONG}",c\n', "row 2: required cells of at most 131,072 characters"),
        ("m.jsonl", json.dumps({"prompt": LONG}), "row 1, column 'prompt': required at most 131,072 characters"),
        ("m.txt", LONG, "row 1, column 'prompt': required at most 131,072 characters; got 131,073"),
        ("m.csv", "prompt," + ",".join(f"c{n}" for n in range(1000)) + "\n" + "a," * 1000, "1,000 columns; got 1,001"),
        ("m.jsonl", "[" * 100_000, "lists and objects nested too deep on line 1"),
        ("m.jsonl", '{"prompt": "a", "x": ' + "[" * 100_000, "nested too deep on line 1"),
        ("m.jsonl", '{"prompt": "a", "seed": ' + "9" * 5000 + "}", "an integer of thousands of digits on line 1"),
        ("m.csv", "prompt\n" + "a" * 17 * 2**20, "required lines of at most 16 MB; got a longer one"),
    ],
)
def test_texts_that_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    assert message in refusal(tmp_path / name)


def test_cells_of_a_parquet_file_have_the_same_bound(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"prompt": ["a", LONG], "negative_prompt": ["b", "c"]}), path)
    assert "row 2, column 'prompt': required at most 131,072 characters; got 131,073" in refusal(path)


def test_a_gzip_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.csv.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"prompt\n")
        for _ in range(600):
            file.write(b"a cat on a mat, in the rain\n" * 2**15 + b"a" * 2**17)
    assert "required at most 512 MB of text; got more" in refusal(path)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "m.parquet", "m.txt", "m.csv.gz"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    assert "required a file that can be read; got a pipe" in refusal(path)
    path.unlink()
    path.symlink_to(name)
    assert "required a file that can be read; got a symbolic link to itself" in refusal(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    assert "required a file that can be read; got a device" in refusal(path)


@pytest.mark.parametrize("column", ["image", "audio"])
def test_media_that_are_no_files(tmp_path: Path, column: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    path = tmp_path / "m.csv"
    defaults: Any = {"media": tmp_path}
    for name, got in (("pipe.png", "a pipe"), ("loop.png", "a symbolic link to itself"), ("n" * 5000, "too long")):
        path.write_text(f"walk,prompt,{column}\nw,a,{name}\nw,b,\n")
        with pytest.raises(ManifestError) as caught:
            read_manifest(path, replace(DEFAULTS, **defaults), MODELS)
        assert got in str(caught.value)
        assert len(str(caught.value)) < 2000


def test_sixty_long_names_are_shortened(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("prompt," + ",".join("x" * 2000 + str(n) for n in range(60)) + "\na" + ",1" * 59 + "\n")
    assert len(refusal(path)) < 5000


EVERY_BYTE_OF_A_FOOTER = """
import sys
from pathlib import Path
import pyarrow as pa
from render.manifest.formats.bounded import TooMuchError
from render.manifest.formats.parquet import read_bounded

path = Path(sys.argv[1])
whole = path.read_bytes()
footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
for place in range(footer, len(whole) - 8):
    for value in (1, 0x2C):
        path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
        try:
            read_bounded(path)
        except (pa.ArrowException, OSError, ValueError, KeyError, TooMuchError):
            pass
print("whole")
"""


@pytest.mark.slow
def test_no_damaged_footer_ends_the_process(tmp_path: Path) -> None:
    """Pyarrow ends the process when a column's metadata with damaged size statistics is asked for."""
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"prompt": ["a", "b"], "seed": [1, 2]}), path)
    command = [sys.executable, "-c", EVERY_BYTE_OF_A_FOOTER, str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr[-2000:]
