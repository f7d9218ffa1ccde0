"""Expand prompt templates into a manifest: `{red|blue} car`, weights, `{2$$a|b|c}`, variables, wildcard files.

The same seed gives the same prompts in every process, whatever the other rows are: each row has its own generator.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from render.core import JobError, expand_home, one_line, replacing
from render.manifest import Problems, RawTable, show
from render.templates.combination import read_combination
from render.templates.combine import combine
from render.templates.grammar import TemplateError, parse_template
from render.templates.sources import read_source, templates_of
from render.templates.styles import apply_styles, read_styles
from render.templates.wildcards import MODES, Mode, Wildcards, draw

__all__ = ["Expansion", "expand_templates"]

COMBINATIONS = (".yaml", ".yml")  # endings of files of columns to combine
GRAMMAR = r"[{}]|__|\$[${]|%\{"  # signs without which a text is a prompt as it stands
PROMPTS_MAX = 1_000_000  # of one template


@dataclass(frozen=True, slots=True)
class Expansion:
    """Settings of an expansion. Raises JobError for a value out of range."""

    mode: Mode = "random"  # or combinatorial: all prompts of a template once, whatever the weights
    count: int = 1  # prompts of each template in random mode; a higher count only adds prompts
    seed: int = 0  # in random mode
    limit: int = 10_000  # prompts of a template at most, in combinatorial mode
    wildcards: Path | None = None  # folder of wildcard files: `__places/town__` is places/town.txt
    styles: Path | None = None  # style file: every template in every style

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise JobError(f"mode: required one of {', '.join(MODES)}; got {self.mode!r}")
        for name in ("count", "limit"):
            if not 1 <= getattr(self, name) <= PROMPTS_MAX:
                raise JobError(f"{name}: required 1 … {PROMPTS_MAX:,}; got {getattr(self, name)}")
        if self.wildcards is not None:
            object.__setattr__(self, "wildcards", expand_home(self.wildcards))
        if self.wildcards is not None and not self.wildcards.is_dir():
            raise JobError(f"wildcards: required a folder; got {str(self.wildcards)!r}")
        if self.styles is not None:
            object.__setattr__(self, "styles", expand_home(self.styles))
        if self.styles is not None and not self.styles.is_file():
            raise JobError(f"styles: required a style file; got {str(self.styles)!r}")


def expand_templates(
    source: str | Path, target: str | Path, expansion: Expansion, warn: Callable[[str], object] = str
) -> int:
    """Write a manifest with the prompts of all templates, and return their number.

    The source is a CSV or Parquet table with a column `template`, or a text file of one template a line, in which blank
    lines and lines that begin with # are skipped, and flags behind two dashes become columns. The other columns are copied.
    Keyframes in JSON become a walk; the columns of a YAML file are combined; of the output folder of a run the manifest has
    the stored frames. `warn` is called with what is left out. Raises ManifestError with every bad row, and JobError for a
    target that can't be written.
    """
    source, target = expand_home(source), expand_home(target)
    source = source / "data" if (source / ".run").is_dir() else source
    if target.suffix.lower() not in (".csv", ".parquet") or target.resolve() == source.resolve():
        raise JobError(f"output: required another file, that ends in .csv or .parquet; got {str(target)!r}")
    _check_place(target)
    problems = Problems(str(source))
    is_combination = source.suffix.lower() in COMBINATIONS
    if is_combination:
        raw, has_templates, expansion = _combined(source, expansion, problems, warn)
    else:
        raw, has_templates = read_source(source, problems)
    for text in problems.warnings:
        warn(text)
    if not has_templates:
        if expansion.styles:
            problems.fatal("templates or prompts, for --styles", "keyframes, or a store")
        problems.raise_any()
        _write(pa.table(raw.columns), target)
        return len(raw.rows)
    if expansion.styles and "template" in raw.columns:
        raw = apply_styles(raw, read_styles(expansion.styles), problems)
    prompts, positions = _expand(raw, templates_of(raw, problems), expansion, problems)
    problems.raise_any()
    indices = pa.array(positions, pa.int64())
    others = {name: column for name, column in raw.columns.items() if name != "template" or not is_combination}
    copied = {name: column.combine_chunks().take(indices) for name, column in others.items()}
    _write(pa.table({"prompt": pa.array(prompts, pa.large_string()), **copied}), target)
    return len(prompts)


def _combined(
    source: Path, expansion: Expansion, problems: Problems, warn: Callable[[str], object]
) -> tuple[RawTable, bool, Expansion]:
    """Return the rows of a combination, True where their prompts are templates still, and the expansion of these."""
    if expansion.count != 1 or expansion.mode != "random":
        raise JobError(f"{source}: required count in the file (without it, all combinations); got --count or --mode")
    combination = read_combination(source, problems)
    if combination.seed is not None:
        expansion = replace(expansion, seed=combination.seed)
    raw = combine(combination, expansion.seed, expansion.limit, problems, warn)
    is_grammar = pc.any(pc.match_substring_regex(raw.columns["prompt"].cast(pa.large_string()), GRAMMAR)).as_py()
    if not is_grammar and not expansion.styles:
        return raw, False, expansion
    names = {"prompt": "template"}
    return replace(raw, columns={names.get(n, n): cells for n, cells in raw.columns.items()}), True, expansion


def _check_place(target: Path) -> None:
    """Raise JobError for a target that can't be written, before the work is done."""
    if os.path.isdir(target):  # unlike Path's, it takes a name that is too long
        raise JobError(f"output: required a file; got the folder {str(target)!r}")
    if not target.parent.is_dir():
        got = "a file" if target.parent.exists() else "none"
        raise JobError(f"output: required the folder {str(target.parent)!r}, to write {target.name!r} into; got {got}")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise JobError(f"output: required a folder that can be written to; got {str(target.parent)!r}")


def _expand(
    raw: RawTable, templates: list[str | None], expansion: Expansion, problems: Problems
) -> tuple[list[str], list[int]]:
    """Return all prompts, and for each the position of its template's row."""
    wildcards = Wildcards(expansion.wildcards)
    seen: Counter[str] = Counter()
    prompts: list[str] = []
    positions: list[int] = []
    for position, template in enumerate(templates):
        if template is None:
            continue
        rand = _random(expansion.seed, template, seen[template])
        seen[template] += 1
        try:
            found = _prompts(template, expansion, wildcards, rand)
        except TemplateError as fault:
            problems.add(fault.required, fault.got, row=int(raw.rows[position]), column="template")
        else:
            prompts += found
            positions += [position] * len(found)
    return prompts, positions


def _prompts(template: str, expansion: Expansion, wildcards: Wildcards, rand: Random) -> list[str]:
    command = parse_template(template)
    wildcards.check(command, expansion.mode)
    drawn = draw(command, wildcards, expansion.mode, rand)
    most = expansion.count if expansion.mode == "random" else expansion.limit + 1
    found = list(islice(drawn, most))
    if not found:
        raise TemplateError("at least one prompt", f"none: too few different options in {show(template)}")
    if expansion.mode == "combinatorial" and len(found) == most:
        raise TemplateError(f"at most {expansion.limit:,} prompts of a template, or a higher limit", "more")
    return found


def _random(seed: int, template: str, earlier: int) -> Random:
    """Make the generator of one row. `earlier` is the number of rows above it with the same template, to draw anew."""
    digest = hashlib.sha256(json.dumps([seed, template, earlier]).encode()).digest()
    return Random(int.from_bytes(digest))


def _write(table: Any, target: Path) -> None:
    """Write the manifest, whole or not at all."""
    try:
        with replacing(target) as temporary:
            if target.suffix.lower() == ".csv":
                pacsv.write_csv(table, temporary)
            else:
                pq.write_table(table, temporary, compression="zstd")
    except pa.ArrowException as error:
        raise JobError(f"{target}: required columns that the file can hold; got {one_line(error)}") from None
    except OSError as error:
        raise JobError(f"{target}: required a file that can be written; got {error}") from None
