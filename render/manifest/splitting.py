"""Splits of the data set: for every row that says none, by the hash of its prompt; and prompts that are in several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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
    if len(pc.unique(splits)) < 2:
        return
    table = pa.table({"prompt": prompt, "split": splits, "place": pa.array(np.arange(len(splits)))})
    pairs = table.group_by(["prompt", "split"], use_threads=False).aggregate([("place", "min")])
    firsts = pairs.group_by("prompt", use_threads=False).aggregate(
        [("split", "count"), ("place_min", "min"), ("place_min", "max")]
    )
    shared = firsts.filter(pc.greater(firsts["split_count"], 1)).sort_by("place_min_max")
    if not shared.num_rows:
        return
    one = shared.slice(0, 1).to_pylist()[0]
    first, other = one["place_min_min"], one["place_min_max"]
    rows = checked.raw.rows
    more = f", and {counted(shared.num_rows - 1, 'other prompt')}" if shared.num_rows > 1 else ""
    checked.problems.warn(
        f"row {rows[other]}, column 'split': {show(one['prompt'])} is in {splits[other]}, and on row {rows[first]} in "
        f"{splits[first]}{more}: what is trained on should not be tested on"
    )
