"""A manifest (CSV, Parquet or a DataFrame) → walks. Every bad row is reported at once, before anything starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, repeat, starmap
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from render.core import COLUMNS, FROZEN_ONLY, MAIN, OF_WALK, Keyframe, Walk, replacing
from render.job import UNSWEPT, Sweep
from render.manifest.cells import WALK_NAME, Cells, Sheet, Standard
from render.manifest.checks import (
    check_circles,
    check_counts,
    check_held,
    check_idle,
    check_images,
    check_motions,
    check_seeds,
    check_steps,
    check_walks,
    first_keyframes,
)
from render.manifest.files import read_files
from render.manifest.labels import read_labels
from render.manifest.problems import Problems, show
from render.manifest.rules import ANYTHING, Defaults, ModelRules, common_rules, model_rule, rules_by_model
from render.manifest.sweeping import SWEPT, sweep_table
from render.manifest.table import CHUNK, FROZEN, RawTable, is_text, read_table
from render.manifest.timing import read_times
from render.media import image_fault

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Manifest", "read_frozen", "read_manifest"]


@dataclass(frozen=True, eq=False)
class Manifest:
    """The keyframes of a job, with every default filled in."""

    name: str  # the file's stem
    _table: Any = field(repr=False)  # pa.Table: COLUMNS without an empty cell but `walk` of stills, then the labels
    _files: tuple[tuple[int, str], ...] = ()  # of a folder: the rows before each file, and its name

    @property
    def row_count(self) -> int:
        return int(self._table.num_rows)

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Names of the models that rows use, in the order of their first rows."""
        return tuple(pc.unique(self._table["model"]).to_pylist())

    @cached_property
    def sounds(self) -> dict[str, str]:
        """SHA-256 → path below the folder of media, of every sound that walks have."""
        pairs = self._table.select(["audio_sha256", "audio"]).group_by(["audio_sha256", "audio"]).aggregate([])
        return {sha256: path for sha256, path in zip(*pairs.to_pydict().values(), strict=True) if path}

    @cached_property
    def label_schema(self) -> bytes:
        """The Arrow schema of `Keyframe.labels`, as `pa.ipc.read_schema` reads it. All text is `string`."""
        return bytes(self._labels.serialize().to_pybytes())

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that the rows say, whichever file, line ends and order of the columns (but labels) said it."""
        table = self._table if self._swept >= 0 else self._table.drop_columns(["source_row"])  # which just count, then
        digests = [hashlib.sha256() for _ in table.columns]
        for start in range(0, self.row_count, CHUNK):
            for digest, column in zip(digests, table.slice(start, CHUNK).columns, strict=True):
                cells = json.dumps(column.to_pylist(), default=_jsonable)
                digest.update(f"{cells[1:-1]}, ".encode())  # one text, wherever the chunks end
        labels = [(label.name, str(label.type)) for label in self._labels]
        return hashlib.sha256(json.dumps([labels, *(digest.hexdigest() for digest in digests)]).encode()).hexdigest()

    def where(self, row: int) -> str:
        """A row, as a warning tells it: the file and its row there."""
        before, file = max((part for part in self._files if part[0] < row), default=(0, self.name))
        return f"{file}: row {row - before}"

    def walks(self) -> Iterator[Walk]:
        """The walks in file order, built as they are asked for; a still with `images` becomes that many."""
        for name, rows in groupby(self._rows(), key=itemgetter(0)):
            if name is None:
                for _, images, keyframe in rows:
                    yield from _stills(keyframe, images, self._point(keyframe))
            else:
                yield Walk(name, tuple(keyframe for _, _, keyframe in rows))

    def _point(self, keyframe: Keyframe) -> str:
        """The point of a sweep that a row is of, in front of which there is a space; "" without a sweep."""
        return f" {keyframe.labels[self._swept]}" if self._swept >= 0 else ""

    @cached_property
    def _swept(self) -> int:
        return int(self._labels.get_field_index(SWEPT))

    def write(self, path: Path) -> None:
        """Writes Parquet that reads as these walks under any defaults; never half a file."""
        with replacing(path) as temporary:
            pq.write_table(self._table.replace_schema_metadata({FROZEN: b"1"}), temporary, compression="zstd")

    @property
    def _labels(self) -> Any:
        labels = list(self._table.schema)[len(COLUMNS) :]
        return pa.schema([(label.name, pa.string() if is_text(label.type) else label.type) for label in labels])

    def _rows(self) -> Iterator[tuple[str | None, int, Keyframe]]:
        """(walk, images, keyframe) of every row."""
        for start in range(0, self.row_count, CHUNK):
            columns = [column.to_pylist() for column in self._table.slice(start, CHUNK).columns]
            known, extra = dict(zip(COLUMNS, columns, strict=False)), columns[len(COLUMNS) :]
            walks, images, rows = (known.pop(name) for name in ("walk", "images", "source_row"))
            known["onset_pace"] = [tuple(pace) if pace else () for pace in known["onset_pace"]]
            labels = zip(*extra, strict=True) if extra else repeat((), len(walks))
            cells = zip(rows, *known.values(), labels, strict=True)
            yield from zip(walks, images, starmap(Keyframe, cells), strict=True)


def read_manifest(
    source: Path | pd.DataFrame, defaults: Defaults, models: Mapping[str, ModelRules], sweep: Sweep = UNSWEPT
) -> Manifest:
    """The manifest in a CSV or Parquet file, or a DataFrame. Raises ManifestError with all that is wrong in it.

    `models` are those that the job names, MAIN among them. Every still and walk is repeated for each point of
    `sweep`. What `Manifest.write` wrote takes nothing from `defaults`.
    """
    problems = Problems(str(source) if isinstance(source, Path) else "DataFrame")
    raw = sweep_table(read_table(source, problems), sweep, problems)
    name = source.stem if isinstance(source, Path) else "dataframe"
    return _manifest(name, Sheet(raw, problems), defaults, models)


def read_frozen(path: Path) -> Manifest:
    """What `Manifest.write` wrote, whatever is known of the models that it names."""
    problems = Problems(str(path))
    raw = read_table(path, problems)
    blank = Defaults("", 1, "linear", "slerp", 0, path.parent)  # no cell is empty
    return _manifest(path.stem, Sheet(raw, problems), blank, dict.fromkeys(_names(raw), ANYTHING))


def _names(raw: RawTable) -> list[str]:
    column = raw.columns.get("model")
    return [MAIN] if column is None else pc.unique(column).drop_null().to_pylist()


def _manifest(name: str, sheet: Sheet, defaults: Defaults, models: Mapping[str, ModelRules]) -> Manifest:
    if sheet.raw.frozen:
        if missing := [column for column in COLUMNS if column not in sheet.raw.columns]:
            sheet.problems.fatal("a stored manifest of this version", f"one without {', '.join(missing)}")
        defaults = replace(defaults, negative_prompt="")  # there, an empty one is meant; no other cell is empty
    labels = read_labels(sheet.raw, sheet.problems)
    columns = _resolve(sheet, defaults, models)
    sheet.problems.raise_any()
    return Manifest(name, pa.table({**columns, **labels}), sheet.problems.parts)


def _resolve(sheet: Sheet, defaults: Defaults, models: Mapping[str, ModelRules]) -> dict[str, Any]:
    """Every column of COLUMNS, [N], with its defaults."""
    walk = sheet.cells("walk", Standard(WALK_NAME, None))
    prompt = _prompts(sheet)
    model = sheet.cells("model", model_rule(tuple(models)))
    which = _numbers(model, tuple(models))
    cells = {name: sheet.cells(name, standard) for name, standard in common_rules(defaults).items()}
    by_model = rules_by_model({**models, "": ANYTHING})  # rows of no known model: whatever is wrong with any
    cells |= {name: sheet.cells_by(name, standards, which) for name, standards in by_model.items()}
    still = ~walk.given
    begin = first_keyframes(walk)
    check_walks(sheet, walk, begin)
    check_held(sheet, "model", walk, begin, model)
    for side in ("width", "height"):
        bad = cells[side].bad | (which != which[begin])  # which is told already
        check_held(sheet, side, walk, begin, replace(cells[side], bad=bad))
    check_counts(sheet, still, cells)
    check_steps(sheet, cells["steps"], cells["scheduler"])
    check_motions(sheet, begin, still, cells)
    columns: dict[str, Any] = {name: column.values for name, column in cells.items()}
    columns |= {name: columns[name][begin] for name in OF_WALK}
    columns["walk"] = pa.array(walk.values, pa.large_string())
    columns["prompt"] = prompt
    negative = re.sub(r"\r\n?", "\n", defaults.negative_prompt)  # as in the cells
    columns["negative_prompt"] = sheet.column("negative_prompt", "text").fill_null(negative)
    columns["seed"] = _resolve_seeds(sheet, still, begin, cells, defaults.seed)
    check_circles(sheet, begin, cells["motion"], columns)
    columns |= read_times(sheet, begin, still, cells, defaults)
    columns["frames"] = np.where(still, 1, columns["frames"])
    columns["model"] = model.values
    columns["source_row"] = _source_rows(sheet)
    columns["image"], columns["image_sha256"] = read_files(sheet, "image", defaults.media, image_fault)
    check_images(sheet, begin, cells["motion"], columns["image"])
    check_idle(sheet, begin, still, cells, columns["image"])
    return {name: columns[name] for name in COLUMNS}


def _source_rows(sheet: Sheet) -> Any:
    """[N] the row of the user's manifest that each is of: another number than here where a sweep repeats rows."""
    if sheet.raw.frozen:
        return sheet.raw.columns["source_row"]
    for name in sheet.raw.columns.keys() & set(FROZEN_ONLY):
        sheet.problems.add("no column of this name: it is filled in when the manifest is read", "it", column=name)
    return sheet.raw.rows


def _numbers(model: Cells, names: tuple[str, ...]) -> npt.NDArray[np.int32]:
    """[N] the place of each row's model among the names, and one more for what is none of them."""
    numbers = np.zeros(len(model.codes), np.int32)
    for number, name in enumerate(names):
        numbers[model.values == name] = number
    numbers[model.bad] = len(names)
    return numbers


def _prompts(sheet: Sheet) -> Any:
    if "prompt" not in sheet.raw.columns:
        sheet.problems.add("a column of this name", f"the columns {show(list(sheet.raw.columns))}", column="prompt")
        return sheet.column("prompt", "text")
    before = sheet.problems.total
    prompt = sheet.column("prompt", "text")
    if sheet.problems.total == before and "prompt" not in sheet.raw.broken:
        empty = pc.equal(pc.utf8_trim_whitespace(prompt), "").fill_null(True).to_numpy()
        rows = np.flatnonzero(empty)
        sheet.refuse_values("prompt", rows, rows * 0, lambda i: ("a text", show(prompt[i].as_py() or "")))
    return prompt


def _resolve_seeds(
    sheet: Sheet, still: npt.NDArray[np.bool_], begin: npt.NDArray[np.int64], cells: dict[str, Cells], job_seed: int
) -> npt.NDArray[np.int64]:
    """[N] a still's own or one derived from the job's; in a walk, an empty cell holds the seed before it."""
    seed, more = cells["seed"], cells["images"].values - 1
    positions = np.arange(len(begin))
    held = np.maximum.accumulate(np.where(seed.given | (begin == positions), positions, 0))
    seeds: npt.NDArray[np.int64] = seed.values[held]
    for position in np.flatnonzero(still & ~seed.given).tolist():
        seeds[position] = _derive_seed(job_seed, int(sheet.raw.rows[position]))
    cells_of_grid = np.where(cells["vary_noise"].values & (begin == positions), cells["frames"].values ** 2 - 1, 0)
    check_seeds(sheet, seeds, np.where(still, more, cells_of_grid), seed.bad)
    return seeds


def _derive_seed(job_seed: int, row: int) -> int:
    """53 bits, which a float64 holds, too."""
    return int.from_bytes(hashlib.sha256(f"{job_seed}:{row}".encode()).digest()[:8]) >> 11


def _stills(keyframe: Keyframe, images: int, point: str) -> Iterator[Walk]:
    name = f"still-{keyframe.row:06d}"
    if images == 1:
        yield Walk(f"{name}{point}", (keyframe,), still=True)
        return
    for image in range(images):
        yield Walk(f"{name}-{image:04d}{point}", (replace(keyframe, seed=keyframe.seed + image),), still=True)


def _jsonable(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
