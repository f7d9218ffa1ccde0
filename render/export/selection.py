"""Choose the frames of an export by SQL: condition, duplicates, splits, balance; then read them page by page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from render.catalog import Catalog, CatalogColumn, quoted
from render.core import JobError, StoreError
from render.export.work import Choice, is_split

__all__ = ["EXPORTED", "Selection", "pages", "select"]

CHOSEN, EXPORTED = "export chosen", "export frames"  # tables: places and splits; these with the exported columns
PAGE_ROWS = 20_000  # of the table, without pictures, in memory at once
DIGITS = 13  # hexadecimal ones of a prompt's SHA-256 that its split follows from: 52 bits
AS_TEXT = ("ENUM", "UUID", "INTERVAL", "HUGEINT", "JSON", "BIT", "BIGNUM")  # types that Parquet's readers differ on
START, PLACE = '"export start"', '"export place"'  # columns that no label is called: group, and its place in 0 … 1


@dataclass(frozen=True, slots=True)
class Selection:
    """The frames of an export, in the order in which they are written."""

    frames: dict[str, int]  # of each split
    fingerprint: str  # of the keys and splits, in their order
    left_out: dict[str, int]  # reason → frames
    schema: pa.Schema  # of the chosen columns


def select(catalog: Catalog, choice: Choice) -> Selection:
    """Choose the frames of an export. Raises JobError when there are none, or no split of theirs."""
    export = choice.export
    split, numbers = _split(catalog, choice)
    kept = "true"
    if export.dedupe:  # null is no value that two frames could share
        value = f"coalesce(CAST({quoted(export.dedupe)} AS VARCHAR), 'key ' || key || ' ' || walk || ' ' || frame)"
        kept = f"row_number() OVER (PARTITION BY {value} ORDER BY shard, row) = 1"
    catalog.define(
        CHOSEN,
        f"""WITH groups AS (SELECT walk, arg_min(prompt, frame) AS {START} FROM frames GROUP BY walk),
        wanted AS (SELECT * FROM frames WHERE ({export.where}
        )),
        hashed AS (SELECT *, CAST('0x' || substr(sha256({START}), 1, {DIGITS}) AS UBIGINT) / {16.0**DIGITS} AS {PLACE}
            FROM wanted JOIN groups USING (walk))
        SELECT shard, row, key, {split} AS split, {_number(split, numbers)} AS number, {kept} AS kept,
            {_class(export.balance)} AS class FROM hashed""",
    )
    left_out = _left_out(catalog, bool(export.balance))
    if not catalog.query(f"SELECT 1 FROM {quoted(CHOSEN)} WHERE kept LIMIT 1").num_rows:
        got = "none" if export.where == "true" else f"none for which {export.where!r} holds"
        raise JobError(f"--where: required frames to export, got {got}")
    chosen = ", ".join(f"{_exported(column)} AS {quoted(f'column {column.name}')}" for column in choice.columns)
    catalog.define(
        EXPORTED,
        f"""SELECT row_number() OVER (ORDER BY chosen.number, shard, row) - 1 AS id, chosen.split, shard, row,
        frames.key, frames.walk, frames.frame, CAST(frames.{quoted(export.caption)} AS VARCHAR) AS caption, {chosen}
        FROM (SELECT shard, row, split, number FROM {quoted(CHOSEN)} WHERE kept) AS chosen JOIN frames USING (shard, row)
        ORDER BY id""",
    )
    counts = catalog.query(f"SELECT split, count(*) AS frames FROM {quoted(EXPORTED)} GROUP BY split").to_pylist()
    found = {row["split"]: row["frames"] for row in counts}
    schema = catalog.query(f"SELECT * FROM {quoted(EXPORTED)} LIMIT 0").schema
    fields = [schema.field(f"column {column.name}").with_name(column.name) for column in choice.columns]
    return Selection({name: found.get(name, 0) for name in numbers}, _fingerprint(catalog), left_out, pa.schema(fields))


def _split(catalog: Catalog, choice: Choice) -> tuple[str, list[str]]:
    """Return the SQL of a frame's split, and the names of the splits in their order."""
    if choice.shares:
        cases, end = "", 0.0
        for name, share in choice.shares[:-1]:
            end += share
            cases += f" WHEN {PLACE} < {end!r} THEN {_text(name)}"
        last = choice.shares[-1][0]
        return (f"CASE{cases} ELSE {_text(last)} END" if cases else _text(last)), [name for name, _ in choice.shares]
    column = quoted(choice.export.splits)
    sql = (
        f"SELECT DISTINCT CAST({column} AS VARCHAR) AS split FROM frames WHERE ({choice.export.where}\n) ORDER BY split"
    )
    names = catalog.query(sql)["split"].to_pylist()
    wrong = [name for name in names if name is None or not is_split(name) or len(names) > 100]
    if wrong:
        required = "required a column whose values are names of at most 100 splits"
        raise JobError(f"--splits {choice.export.splits}: {required}; got {wrong[0]!r} (or shares: train=0.9,test=0.1)")
    return f"CAST({column} AS VARCHAR)", names


def _number(split: str, names: list[str]) -> str:
    return f"list_position([{', '.join(map(_text, names))}], {split})"


def _text(name: str) -> str:
    doubled = name.replace("'", "''")
    return f"'{doubled}'"


def _class(balance: str) -> str:
    return f"CAST({quoted(balance)} AS VARCHAR)" if balance else "NULL"


def _left_out(catalog: Catalog, balances: bool) -> dict[str, int]:
    """Return how many frames are left out and why, after those beyond a balance are left out, too.

    Each split gets as many frames of each class as it has of its rarest; which, follows from their keys.
    """
    chosen = quoted(CHOSEN)
    left_out = {"duplicates": _count(catalog, "NOT kept")}
    if balances:
        left_out["without a value to balance"] = _count(catalog, "kept AND class IS NULL")
        before = _count(catalog, "kept AND class IS NOT NULL")
        rarest = f"""SELECT split, min(frames) AS most FROM (SELECT split, class, count(*) AS frames FROM {chosen}
            WHERE kept AND class IS NOT NULL GROUP BY split, class) GROUP BY split"""
        catalog.define(
            CHOSEN,
            f"""SELECT chosen.* REPLACE (kept AND class IS NOT NULL AND place <= most AS kept)
            FROM (SELECT *, row_number() OVER (PARTITION BY split, class, kept ORDER BY sha256(key), shard, row) AS place
                FROM {chosen}) AS chosen LEFT JOIN ({rarest}) USING (split)""",
        )
        left_out["beyond the rarest value"] = before - _count(catalog, "kept")
    return {reason: frames for reason, frames in left_out.items() if frames}


def _count(catalog: Catalog, condition: str) -> int:
    return int(catalog.query(f"SELECT count(*) AS n FROM {quoted(CHOSEN)} WHERE {condition}")["n"][0].as_py())


def _exported(column: CatalogColumn) -> str:
    """Return the SQL of a column's value in a type that every target has: maps as JSON, exotic types as text."""
    name = f"frames.{quoted(column.name)}"
    if "MAP(" in column.type or "UNION(" in column.type:
        return f"CAST(to_json({name}) AS VARCHAR)"
    return f"CAST({name} AS VARCHAR)" if any(word in column.type for word in AS_TEXT) else name


def _fingerprint(catalog: Catalog) -> str:
    """Return the SHA-256 of the splits and keys, in the order of the export."""
    total = hashlib.sha256()
    for table in _tables(catalog, "split, key, walk, frame", 0):
        for column in table.columns:
            total.update("\n".join(map(str, column.to_pylist())).encode("utf-8", "replace"))
    return total.hexdigest()


def pages(catalog: Catalog, split: str, begin: int) -> Iterator[pa.Table]:
    """Yield the frames of a split from its row `begin` on, page by page."""
    first = catalog.query(f"SELECT min(id) AS id FROM {quoted(EXPORTED)} WHERE split = ?", [split])["id"][0].as_py()
    if first is None:
        raise StoreError(f"split {split!r}: required frames, got none")
    yield from _tables(catalog, "*", first + begin, split)


def _tables(catalog: Catalog, columns: str, begin: int, split: str | None = None) -> Iterator[pa.Table]:
    """Yield columns of the exported frames by their `id`, from `begin` on, PAGE_ROWS at a time."""
    own = "" if split is None else f" AND split = {_text(split)}"
    while True:
        where = f"id >= {begin} AND id < {begin + PAGE_ROWS}{own}"
        table = catalog.query(f"SELECT {columns} FROM {quoted(EXPORTED)} WHERE {where} ORDER BY id")
        if not table.num_rows:
            return
        yield table
        begin += PAGE_ROWS
