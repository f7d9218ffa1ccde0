"""Splits of the data set: for every row that says none, by the hash of its prompt; and prompts that are in several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from render.core import counted, hashed_split
from render.manifest.cells import Cells, CheckedTable
from render.manifest.problems import show

__all__ = ["read_splits"]


def read_splits(
    checked: CheckedTable,
    first_row: npt.NDArray[np.int64],
    cells: Cells,
    prompt: Any,
    splits: Mapping[str, float],
) -> Any:
    """Return [N] the split of every row: that of its walk's first row, or else by the hash of that row's prompt.

    `prompt` are [N]. Without `splits` an empty cell is `train`. Warns of prompts that are in several splits, as a test of
    what was trained on is none.
    """
    if not splits and not cells.given.any():
        return cells.values  # one default, which takes no memory for each row
    values = cells.values[first_row]
    if splits:
        firsts = prompt.fill_null("").take(pa.array(first_row)).combine_chunks().dictionary_encode()
        names = np.array([hashed_split(text, splits) for text in firsts.dictionary.to_pylist()], object)
        values = np.where(cells.given[first_row], values, names[firsts.indices.to_numpy()])
    found = pa.array(values, pa.string())
    _warn_of_shared(checked, prompt, found)
    return found


def _warn_of_shared(checked: CheckedTable, prompt: Any, splits: Any) -> None:
    """Warn of prompts that are in more than one split."""
    numbers = splits.dictionary_encode().indices.to_numpy()
    if not numbers.any():
        return
    prompts = prompt.combine_chunks().dictionary_encode()
    codes = prompts.indices.fill_null(0).to_numpy()
    first = np.zeros(len(prompts.dictionary) + 1, numbers.dtype)
    first[codes[::-1]] = numbers[::-1]  # of each prompt, the split on its first row
    others = np.flatnonzero(numbers != first[codes])
    if not len(others):
        return
    place, before = int(others[0]), int(np.argmax(codes == codes[others[0]]))
    more = len(np.unique(codes[others])) - 1
    and_more = f", and {counted(more, 'other prompt')}" if more else ""
    rows = checked.raw.rows
    checked.problems.warn(
        f"row {rows[place]}, column 'split': {show(prompt[place].as_py())} is in {splits[place]}, and on row {rows[before]} "
        f"in {splits[before]}{and_more}: what is trained on should not be "
        "tested on"
    )
