"""Check an export before anything is written, all errors at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from render.catalog import Catalog, CatalogColumn
from render.core import FORMATS, JobError, is_url
from render.export.targets import TARGETS
from render.export.value import Export
from render.export.work import Choice, is_split

__all__ = ["check_export"]

SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(|[kmgt]i?)b?", re.IGNORECASE)
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
BINARY_UNITS = {f"{sign}i": 1024**power for power, sign in enumerate("kmgt", 1)}
SHARD_BYTES = 500 * 10**6


def check_export(export: Export, catalog: Catalog) -> Choice:
    """Return the choice that an export means. Raises JobError with everything that is wrong with it."""
    if export.to not in TARGETS:
        raise JobError(f"--to: required one of {', '.join(TARGETS)}; got {export.to!r}")
    errors = [*_folder_errors(export.folder, catalog.out), *_target_errors(export)]
    names = [column.name for column in catalog.columns]
    is_column = "=" not in export.splits
    asked = {"balance": export.balance, "dedupe": export.dedupe, "caption": export.caption}
    for option, name in asked.items() | {("splits", export.splits if is_column else "")}:
        if name and name not in names:
            errors.append(f"--{option}: required a column, one of {', '.join(names)}; got {name!r}")
    errors += [
        f"--columns: required columns among {', '.join(names)}; got {name!r}"
        for name in export.columns
        if name not in names
    ]
    shares: tuple[tuple[str, float], ...] = ()
    shard_bytes = SHARD_BYTES
    try:
        shares = () if is_column else parse_shares(export.splits)
        shard_bytes = parse_size(export.max_shard) if export.max_shard else SHARD_BYTES
    except JobError as error:
        errors.append(str(error))
    try:
        catalog.check(export.where, "--where")
    except JobError as error:
        errors.append(str(error))
    columns = _columns(export, catalog)
    target = TARGETS[export.to]
    taken = {one.name for one in columns if one.name in target.reserved or one.name.endswith(target.reserved_ends)}
    errors += [f"--columns: required none named {name!r}, which {export.to} uses itself" for name in sorted(taken)]
    if errors:
        raise JobError("\n".join(errors))
    return Choice(export, columns, shares, shard_bytes)


def _columns(export: Export, catalog: Catalog) -> tuple[CatalogColumn, ...]:
    """Return the chosen columns, by default all but the marks: what somebody noted is for themselves."""
    if not export.columns:
        return tuple(column for column in catalog.columns if column.source != "mark")
    found = {column.name: column for column in catalog.columns}
    return tuple(found[name] for name in dict.fromkeys(export.columns) if name in found)


def _folder_errors(folder: Path, out: Path) -> Iterator[str]:
    where = f"-o {folder}"
    if is_url(str(folder)):
        yield f"{where}: required a folder of this machine, got a URL"
    elif folder.exists() and not folder.is_dir():
        yield f"{where}: required a new or empty folder, got a file"
    elif not is_url(str(out)) and folder.absolute().resolve().is_relative_to(out.absolute().resolve()):
        yield f"{where}: required a folder outside the store, got one inside it"


def _target_errors(export: Export) -> Iterator[str]:
    """Yield what is wrong with the options for a target: none is lost in silence."""
    target = TARGETS[export.to]
    if missing := target.missing():
        yield f"--to {export.to}: {missing}"
    if export.format and export.format not in FORMATS:
        yield f"--format: required one of {', '.join(FORMATS)}; got {export.format!r}"
    if export.max_shard and target.rows is not None:
        several = ", ".join(name for name, other in TARGETS.items() if other.rows is None)
        yield f"--max-shard: required a target with many pictures a file ({several}), got {export.to}"
    for option, text in (("license", export.license), ("language", export.language)):
        if text and not re.fullmatch(r"[\w.+-]+(, ?[\w.+-]+)*", text):
            yield f"--{option}: required ids such as {'cc-by-4.0' if option == 'license' else 'en'}, got {text!r}"
    if export.repeats < 1:
        yield f"--repeats: required a number from 1, got {export.repeats}"
    if export.repeats != 1 and export.to != "kohya":
        yield f"--repeats: required --to kohya, got {export.to}"


def parse_shares(text: str) -> tuple[tuple[str, float], ...]:
    """Return the splits and their shares. Raises JobError when the shares do not add up to 1.

    >>> parse_shares("train=0.9, test=0.1")
    (('train', 0.9), ('test', 0.1))
    """
    found: dict[str, float] = {}
    required = "--splits: required names with shares that add up to 1, such as train=0.9,test=0.1, or a column"
    for part in text.split(","):
        name, _, share = (piece.strip() for piece in part.partition("="))
        if not is_split(name) or name in found:
            raise JobError(f"{required}; got the name {name!r}{' twice' if name in found else ''}")
        try:
            found[name] = float(share)
        except ValueError:
            raise JobError(f"{required}; got the share {share!r}") from None
    if any(not share > 0 for share in found.values()) or not math.isclose(sum(found.values()), 1, abs_tol=1e-6):
        raise JobError(f"{required}; got {text!r}, together {sum(found.values()):g}")
    return tuple(found.items())


def parse_size(text: str) -> int:
    """Return a size in bytes. Raises JobError.

    >>> parse_size("500MB"), parse_size("1.5 GiB"), parse_size("2g")
    (500000000, 1610612736, 2000000000)
    """
    match = SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * (UNITS | BINARY_UNITS)[match[2].lower()]) if match else 0
    if size < 1:
        raise JobError(f"--max-shard: required a size such as 500MB or 2GiB, got {text!r}")
    return size
