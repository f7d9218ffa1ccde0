"""A manifest (a file or a table in memory) → walks. Every bad row is reported at once, before anything starts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import COLUMNS, column_meant, column_names, table_name
from render.job import UNSWEPT, Sweep
from render.manifest.cells import Cells, CheckedTable, is_missing
from render.manifest.checks import (
    check_counts,
    check_held,
    check_images,
    check_keyframes,
    check_motions,
    check_seeds,
    check_steps,
    check_unused,
    check_walks,
    first_rows,
)
from render.manifest.conversions import split_size, with_points
from render.manifest.files import IMAGES, SOUNDS, fetch_table, read_files
from render.manifest.kinds import WALK_NAME, ColumnRule
from render.manifest.labels import check_labels, read_labels
from render.manifest.names import UNNAMED, Naming, name_columns
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable
from render.manifest.rules import ANYTHING, Defaults, ModelRules, common_rules, model_rule, rules_by_model
from render.manifest.splitting import read_splits
from render.manifest.stored import Manifest, manifest_from
from render.manifest.sweeping import sweep_table
from render.manifest.table import TableLike, memory_name, read_table
from render.manifest.timing import read_times

__all__ = ["read_manifest"]

OF_WALK = column_names("walk")
NAME_LENGTH = 40  # signs; a longer name of a column is likely a prompt
PROMPTS = (
    "caption",
    "captions",
    "text",
    "prompts",
    "description",
    "sentence",
    "title",
    "template",
)  # what others call it


def read_manifest(
    source: Path | TableLike,
    defaults: Defaults,
    models: Mapping[str, ModelRules],
    sweep: Sweep = UNSWEPT,
    naming: Naming = UNNAMED,
    rows_before: int = 0,
) -> Manifest:
    """Return the manifest in a file, a folder or a table in memory. Raises ManifestError with all that is wrong in it.

    `models` are those that the job names, MAIN among them. Every still and walk is repeated for each point of `sweep`.
    A manifest that a run has stored takes nothing from `defaults`, can't be swept, and must be as it was stored. Rows are
    numbered as if `rows_before` others stood before them: names and seeds of stills follow from their numbers.
    """
    name = table_name(source) if isinstance(source, Path) else memory_name(source)
    problems = Problems(str(source) if isinstance(source, Path) else type(source).__name__)
    raw = read_table(fetch_table(source, problems), problems, naming)
    if raw.stored:
        if sweep.axes:
            problems.fatal("a table as it was before a run read it, for a sweep", "the stored manifest of a run")
        checked = CheckedTable(raw, problems)
        return _check_stored(manifest_from(name, raw, problems), checked, defaults, models).after(rows_before)
    raw = replace(raw, rows=raw.rows + rows_before)
    checked = CheckedTable(_prepared(raw, sweep, naming, problems), problems)
    check_labels(checked.raw, naming.labels, problems)
    labels = read_labels(checked.raw, naming.labels, problems)
    columns = _resolve(checked, defaults, models)
    problems.raise_any()
    return Manifest(name, pa.table({**columns, **labels}), problems.parts, problems.warnings, raw.separators)


def _prepared(raw: RawTable, sweep: Sweep, naming: Naming, problems: Problems) -> RawTable:
    """Return the table in our names and forms, every still and walk once for each point of the sweep.

    A size that the sweep sets takes the place of the table's size, width and height.
    """
    named = with_points(name_columns(raw, naming, sweep.columns, problems))
    if "size" in naming.labels:
        return sweep_table(named, sweep, problems)
    if "size" not in sweep.columns:
        return sweep_table(split_size(CheckedTable(named, problems)), sweep, problems)
    others = {name: column for name, column in named.columns.items() if name not in ("size", "width", "height")}
    return split_size(CheckedTable(sweep_table(replace(named, columns=others), sweep, problems), problems))


def _check_stored(
    manifest: Manifest, checked: CheckedTable, defaults: Defaults, models: Mapping[str, ModelRules]
) -> Manifest:
    """Return a stored manifest that is unchanged and fits this job: its models, its media, the rates of its formats."""
    if manifest.fingerprint != checked.raw.stored:
        checked.problems.fatal("the stored manifest of a run, as it was written", "one that was changed since")
    checked.cells("walk", ColumnRule(WALK_NAME, None))
    for name, rule in common_rules(defaults).items():
        checked.cells(name, rule)
    _cells_of_models(checked, models)
    read_files(checked, IMAGES, defaults)
    read_files(checked, SOUNDS, defaults)
    checked.problems.raise_any()
    return manifest


def _cells_of_models(
    checked: CheckedTable, models: Mapping[str, ModelRules]
) -> tuple[Cells, npt.NDArray[np.int32], dict[str, Cells]]:
    """Return column `model`, the number of each row's model, and the columns that each model reads by its own rules."""
    model = checked.cells("model", model_rule(tuple(models)))
    which = _numbers(model, tuple(models))
    by_model = rules_by_model({**models, "": ANYTHING})  # rows of no known model: whatever is wrong with any
    return model, which, {name: checked.cells_by(name, standards, which) for name, standards in by_model.items()}


def _resolve(checked: CheckedTable, defaults: Defaults, models: Mapping[str, ModelRules]) -> dict[str, Any]:
    """Return every stored column, [N], with its defaults."""
    walk = checked.cells("walk", ColumnRule(WALK_NAME, None))
    prompt = _prompts(checked)
    cells = {name: checked.cells(name, standard) for name, standard in common_rules(defaults).items()}
    model, which, of_models = _cells_of_models(checked, models)
    cells |= of_models
    still = ~walk.given
    first_row = first_rows(walk)
    check_walks(checked, walk, first_row)
    check_held(checked, "model", walk, first_row, model)
    for side in ("width", "height"):
        bad = cells[side].bad | (which != which[first_row])  # reported above
        check_held(checked, side, walk, first_row, replace(cells[side], bad=bad))
    check_counts(checked, still, cells)
    check_steps(checked, cells["steps"], cells["scheduler"])
    check_motions(checked, first_row, still, cells)
    columns: dict[str, Any] = {name: column.values for name, column in cells.items()}
    columns |= {name: values[first_row] for name, values in columns.items() if name in OF_WALK and values.strides[0]}
    columns["walk"] = pa.array(walk.values, pa.large_string())
    columns["prompt"] = prompt
    negative = re.sub(r"\r\n?", "\n", defaults.negative_prompt)  # as in the cells
    negatives = checked.column("negative_prompt", "text")
    for name, texts in (("prompt", prompt), ("negative_prompt", negatives)):
        _warn_of_missing(checked, name, texts)
    columns["negative_prompt"] = negatives.fill_null(negative)
    columns["seed"] = _resolve_seeds(checked, still, first_row, cells, defaults.seed)
    columns |= read_times(checked, first_row, still, cells, defaults)
    columns["frames"] = np.where(still, 1, columns["frames"])
    columns["model"] = model.values
    columns["source_row"] = _source_rows(checked)
    columns["split"] = read_splits(checked, first_row, cells["split"], prompt, defaults.splits)
    columns["image"], columns["image_sha256"] = read_files(checked, IMAGES, defaults)
    check_images(checked, first_row, cells["motion"], columns["image"])
    check_keyframes(checked, first_row, cells["motion"], columns)
    check_unused(checked, first_row, still, cells, columns["image"])
    return {column.name: columns[column.name] for column in COLUMNS if column.stored}


def _source_rows(checked: CheckedTable) -> Any:
    """Return [N] the row of the user's table that each row is of; a sweep repeats rows."""
    for column in COLUMNS:
        if column.by_reader and column.name in checked.raw.columns:
            required = "no column of this name: it is filled in when the manifest is read"
            checked.problems.add(required, "it", column=column.name)
    return checked.raw.rows


def _numbers(model: Cells, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """Return [N] the place of each row's model among the names, and one past the last for an unknown model."""
    numbers = np.zeros(len(model.codes), np.int32)
    for number, name in enumerate(names):
        numbers[model.values == name] = number
    numbers[model.bad] = len(names)
    return numbers


def _prompts(checked: CheckedTable) -> Any:
    """Return [N] prompts; an empty one is an error."""
    if "prompt" not in checked.raw.columns:
        _refuse_no_prompt(checked)
        return checked.column("prompt", "text")
    before = checked.problems.total
    prompt = checked.column("prompt", "text")
    if checked.problems.total == before and "prompt" not in checked.raw.broken:
        empty = pc.equal(pc.utf8_trim_whitespace(prompt), "").fill_null(True).to_numpy()
        rows = np.flatnonzero(empty)
        checked.refuse_values("prompt", rows, rows * 0, lambda i: ("a text", show(prompt[i].as_py() or "")))
    return prompt


def _refuse_no_prompt(checked: CheckedTable) -> None:
    """Add an error for a table without prompts, unless the column that must have them is refused for its name."""
    names = list(checked.raw.columns)
    if any(name in checked.problems.blamed and column_meant(name) == "prompt" for name in names):
        return
    likely = next((name for name in names if name.strip().casefold() in PROMPTS), None)
    hint = f" (if it is {likely!r}, the job can say so: columns: {{{likely}: prompt}})" if likely else ""
    if names[0].startswith("{"):
        hint = " (JSON? A file of one object a line is called .jsonl)"
    elif checked.raw.csv and not likely and any(name.strip().isdigit() or len(name) > NAME_LENGTH for name in names):
        hint = " (is the first line a row? The names of the columns stand there)"
    checked.problems.add("a column of this name", f"the columns {show(names)}{hint}", column="prompt")


def _warn_of_missing(checked: CheckedTable, name: str, texts: Any) -> None:
    """Warn of texts such as NA, which R writes for a missing one, and pandas where it was made a text."""
    positions = np.flatnonzero(is_missing(texts).fill_null(False).to_numpy(zero_copy_only=False))
    if len(positions):
        row, what = checked.raw.rows[positions[0]], show(texts[int(positions[0])].as_py())
        more = f", as on {len(positions) - 1} other rows," if len(positions) > 1 else ""
        checked.problems.warn(
            f"row {row}, column {name!r}: {what}{more} is taken as text; an empty cell says that none is"
        )


def _resolve_seeds(
    checked: CheckedTable,
    still: npt.NDArray[np.bool_],
    first_row: npt.NDArray[np.int64],
    cells: dict[str, Cells],
    job_seed: int,
) -> npt.NDArray[np.uint64]:
    """Return [N] seeds: a still's own or one derived from the job's; in a walk an empty cell takes the seed before it."""
    seed, more = cells["seed"], cells["images"].values - 1
    positions = np.arange(len(first_row))
    held = np.maximum.accumulate(np.where(seed.given | (first_row == positions), positions, 0))
    seeds: npt.NDArray[np.uint64] = seed.values[held]
    for position in np.flatnonzero(still & ~seed.given).tolist():
        seeds[position] = _derive_seed(job_seed, int(checked.raw.rows[position]))
    cells_of_grid = np.where(cells["vary_noise"].values & (first_row == positions), cells["frames"].values ** 2 - 1, 0)
    check_seeds(checked, seeds, np.where(still, more, cells_of_grid), seed.bad)
    return seeds


def _derive_seed(job_seed: int, row: int) -> int:
    """Return the seed of a still without one, of 53 bits, which a float64 holds, too."""
    return int.from_bytes(hashlib.sha256(f"{job_seed}:{row}".encode()).digest()[:8]) >> 11
