"""Headers of safetensors files: names, shapes, types and places of the tensors, checked against the file's size."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from render.core import shorten, why_unreadable

__all__ = ["Header", "Tensor", "parameters", "read_header", "read_weights"]

HEADER_BYTES = 100_000_000  # as many as the safetensors library accepts
BYTES = {  # of one value, by the format's names of types
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a file."""

    dtype: str  # as the format names it, such as F32
    shape: tuple[int, ...]
    begin: int  # bytes behind the header
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a file."""

    tensors: dict[str, Tensor]  # by name
    file_bytes: int  # of the whole file, as the header says


def read_header(file: Path) -> Header:
    """Return the header of a safetensors file: eight bytes of length, JSON, the tensors one behind the other.

    Raises ValueError for a header that is none; its text says what was got. The file may be shorter than its header says.
    """
    if why := why_unreadable(file):
        raise ValueError(why)
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > min(size, HEADER_BYTES):
            raise ValueError(f"a header that ends at byte {length:,} of {size:,}")
        try:
            header = json.loads(stream.read(length))
        except RecursionError:
            raise ValueError("a header nested too deep") from None
    if not isinstance(header, dict):
        raise ValueError(f"a header that is a {type(header).__name__}")
    tensors = {name: _tensor(name, value) for name, value in header.items() if name != "__metadata__"}
    expected = 8 + length + max((tensor.end for tensor in tensors.values()), default=0)
    _check_places(tensors)
    return Header(tensors, expected)


def read_weights(folder: Path, stem: str) -> dict[str, Tensor]:
    """Return name → tensor of the files that a library loads from a network's folder: those of an index, or one file."""
    index = folder / f"{stem}.safetensors.index.json"
    names = {f"{stem}.safetensors"}
    if index.is_file():
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return {name: tensor for file in sorted(names) for name, tensor in read_header(folder / file).tensors.items()}


def parameters(file: Path) -> int:
    """Return the number of values in all tensors of a file."""
    return sum(math.prod(tensor.shape) for tensor in read_header(file).tensors.values())


def _tensor(name: str, value: Any) -> Tensor:
    try:
        dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{shorten(name)} without dtype, shape and data_offsets ({shorten(error)})") from error
    if not all(type(number) is int and 0 <= number < 2**63 for number in (*shape, begin, end)):
        raise ValueError(f"{shorten(name)} of shape {shorten(shape)} at {shorten((begin, end))}")
    if not isinstance(dtype, str) or (dtype in BYTES and math.prod(shape) * BYTES[dtype] != end - begin):
        got = f"of shape {shorten(list(shape))} and type {shorten(dtype)}"
        raise ValueError(f"{shorten(name)} {got} in {end - begin:,} bytes, from {begin:,} to {end:,}")
    return Tensor(dtype, shape, begin, end)


def _check_places(tensors: dict[str, Tensor]) -> None:
    """Raise ValueError for tensors that overlap, and for bytes between them, which the format forbids."""
    ordered = sorted(tensors.items(), key=lambda pair: (pair[1].begin, pair[1].end))
    if ordered and ordered[0][1].begin:
        raise ValueError(f"{shorten(ordered[0][0])} as the first tensor, at byte {ordered[0][1].begin:,}")
    for (name, one), (other, two) in pairwise(ordered):
        if one.end != two.begin:
            what = "overlap" if two.begin < one.end else "have bytes between them"
            raise ValueError(f"{shorten(name)} and {shorten(other)}, which {what}")
