"""Ask an output folder by SQL: a DuckDB table of the committed frames, joined with scores and marks."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from threading import Lock
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from render.catalog.columns import CatalogColumn, is_list, quoted
from render.catalog.sidecars import ScoreFiles, read_marks, score_names
from render.core import JobError, StoreError, one_line, to_go_on
from render.store import STORE_COLUMNS, STORE_TABLE, ImageStore, Ledger, is_damage, open_parquet, reach_output

__all__ = ["Catalog", "Picture"]

HEAVY = ("image", "recipe")  # columns that are read for single frames only
PLACE = ("shard", "row")
FILES_AT_ONCE = 256  # shards whose rows go into the database at once
READERS = 16  # shards that are read at a time
SETTINGS = {
    "memory_limit": "400MB",
    "enable_external_access": "false",
    "lock_configuration": "true",
}  # more memory: disk
EMPTY = pa.table(  # of an output without frames: what every query may name
    {column.name: pa.array([], column.type) for column in STORE_TABLE if column.name not in HEAVY}
    | dict.fromkeys(PLACE, pa.array([], pa.int32()))
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One stored picture, still encoded."""

    shard: int  # columns `shard` and `row` of the table
    row: int
    data: bytes
    path: str  # a file name for it


class Catalog:
    """The table `frames`: one row a committed frame, without its picture and its recipe.

    Columns are those of the store but `image` and `recipe`, then the manifest's labels, the scores, the marks, and the
    frame's place: `shard` and `row`. Labels of these names become `label_shard` and `label_row`, and a score whose name is
    taken has its scorer's before it. Any thread may ask;
    `refresh` takes in what was committed, scored and marked since.
    """

    def __init__(
        self, out: str | Path, first: int | None = None, on_damage: Callable[[StoreError], object] | None = None
    ) -> None:
        """Open an output folder; it may still be rendered. Raises StoreError for another folder, and for a damaged shard.

        With `first` so many shards are read, and `refresh` goes on; `on_damage` is called for each that is left out.
        """
        self.out = reach_output(out)
        self._ledger = Ledger(self.out)
        ImageStore(self.out, self._ledger)  # it refuses other folders
        self._folder = tempfile.TemporaryDirectory(prefix="render-catalog-")
        self._database = duckdb.connect(str(Path(self._folder.name) / "frames.duckdb"), config=SETTINGS)
        self._lock = Lock()  # one refresh at a time
        self._on_damage = on_damage
        self._shards: list[Path] = []
        self._unread = 0
        self._score_files: dict[str, list[Path]] = {}  # scorer → its files that are in the database
        self._columns: tuple[CatalogColumn, ...] = ()
        try:
            self.refresh(first)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Delete the database, which is a temporary file."""
        self._database.close()
        self._folder.cleanup()

    def __len__(self) -> int:
        return int(self.query("SELECT count(*) AS n FROM frames")["n"][0].as_py())

    @property
    def columns(self) -> tuple[CatalogColumn, ...]:
        """Columns of the table in its order, without `shard` and `row`."""
        return self._columns

    @property
    def shards(self) -> tuple[Path, ...]:
        """Files that the column `shard` counts, from 0."""
        return tuple(self._shards)

    @property
    def unread(self) -> int:
        """Number of committed shards that the last `refresh` left for the next one."""
        return self._unread

    # Asking.

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> pa.Table:
        """Return the result of a SELECT over `frames`. Raises duckdb.Error for one that is wrong.

        The database reads no files but its own, whatever the SQL says.
        """
        with self._database.cursor() as cursor:
            return cursor.sql(sql, params=list(parameters)).to_arrow_table()

    def define(self, name: str, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Keep the result of a SELECT as a table that later queries may name; it replaces an older one of this name."""
        with self._database.cursor() as cursor:
            cursor.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS {sql}", list(parameters))

    def check(self, where: str, option: str) -> None:
        """Raise JobError when a condition is no SQL over the columns. `option` is where the user wrote it."""
        try:
            self.query(f"SELECT count(*) FROM frames WHERE ({where}\n)")  # of all: some fail on a value
        except duckdb.Error as error:
            names = ", ".join(column.name for column in self.columns)
            required = f"required a condition in SQL over the columns {names}"
            raise JobError(f"{option}: {required}; got {where!r} ({one_line(error)})") from error

    def places(self, where: str = "true", order: str = "shard, row") -> Iterator[tuple[int, int]]:
        """Yield (shard, row) of the frames for which a condition in SQL holds."""
        with self._database.cursor() as cursor:
            found = cursor.execute(f"SELECT shard, row FROM frames WHERE ({where}\n) ORDER BY {order}")
            while rows := found.fetchmany(10_000):
                yield from rows

    def pictures(self, places: Iterable[tuple[int, int]]) -> Iterator[Picture]:
        """Yield the pictures of some frames, sorted by (shard, row): a row group is read once, and one is in memory.

        Raises StoreError for a shard that is damaged.
        """
        for shard, some in groupby(sorted(places), key=itemgetter(0)):
            rows = deque(row for _, row in some)
            with self._readable(self._shards[shard]) as file:
                end = 0
                for group in range(file.num_row_groups):
                    first, end = end, end + file.metadata.row_group(group).num_rows
                    if not rows or rows[0] >= end:
                        continue
                    images = file.read_row_group(group, columns=["image"])["image"]
                    while rows and rows[0] < end:
                        row = rows.popleft()
                        image = images[row - first].as_py()
                        yield Picture(shard, row, image["bytes"], image["path"])

    def recipe(self, shard: int, row: int) -> str:
        """Return the recipe of one frame as canonical JSON."""
        with self._readable(self._shards[shard]) as file:
            return str(file.read(columns=["recipe"])["recipe"][row].as_py())

    @contextmanager
    def _readable(self, path: Path) -> Iterator[pq.ParquetFile]:
        """Open a shard. Raises StoreError, with the command that mends it, when it is damaged."""
        try:
            yield open_parquet(path)
        except (OSError, pa.ArrowException) as error:
            if not is_damage(path, error):
                raise
            mend = f"{to_go_on('repair', self.out)} mends it"
            raise StoreError(
                f"{path}: required a committed shard, got a damaged one: {one_line(error)}; {mend}"
            ) from error

    # Taking in what is there.

    def refresh(self, limit: int | None = None) -> int:
        """Take in what was committed, scored and marked since; returns the number of new frames.

        At most `limit` shards are read. After a compaction or a repair, which replace files, all is read anew.
        """
        with self._lock:
            files = [self._ledger.folder.data / name for name in self._ledger.files()]
            if not self._shards or not set(self._shards) <= set(files):
                self._shards = []
                self._put("stored", EMPTY)
            before, known = self._frames(), set(self._shards)
            new = [path for path in files if path not in known]
            for first in range(0, len(new[:limit]), FILES_AT_ONCE):
                self._add_shards(new[:limit][first : first + FILES_AT_ONCE])
            self._unread = len(new) - len(new[:limit])
            for name in score_names(self.out):
                self._add_scores(ScoreFiles(self.out, name))
            self._put("marks", read_marks(self.out))
            self._join()
            return self._frames() - before

    def put_marks(self, marks: pa.Table) -> None:
        """Put marks, of the columns of MARKS, in the place of those of the same keys, without a look at the file."""
        with self._lock, self._registered(marks):
            self._database.execute("DELETE FROM marks WHERE key IN (SELECT key FROM new)")
            self._database.execute("INSERT INTO marks BY NAME SELECT * FROM new")

    def _frames(self) -> int:
        return int(self._database.sql("SELECT count(*) FROM stored").fetchall()[0][0])

    def _add_shards(self, paths: Sequence[Path]) -> None:
        with ThreadPoolExecutor(READERS) as pool:
            tables = list(pool.map(self._taken, paths, range(len(self._shards), len(self._shards) + len(paths))))
        self._append("stored", pa.concat_tables(tables, promote_options="default"))
        self._shards += paths

    def _taken(self, path: Path, shard: int) -> pa.Table:
        """Return the columns of a shard; no rows for a damaged one that may be left out."""
        try:
            return self._light(path, shard)
        except StoreError as error:
            if self._on_damage is None:
                raise
            self._on_damage(error)
            return EMPTY

    def _light(self, path: Path, shard: int) -> pa.Table:
        """Return the columns of a shard that are in the table."""
        with self._readable(path) as file:
            table = file.read(columns=[name for name in file.schema_arrow.names if name not in HEAVY])
            table = table.rename_columns([f"label_{name}" if name in PLACE else name for name in table.column_names])
        rows = pa.array(range(len(table)), pa.int32())
        return table.append_column("shard", pa.array([shard] * len(table), pa.int32())).append_column("row", rows)

    def _add_scores(self, scores: ScoreFiles) -> None:
        """Take in the scores of new files; embeddings, which are lists, stay where they are."""
        known, files = self._score_files.setdefault(scores.name, []), scores.files()
        if not set(known) <= set(files):  # they were replaced
            self._database.execute(f"DROP TABLE {quoted(f'score {scores.name}')}")
            known.clear()
        new = [path for path in files if path not in known]
        for table in scores.read(new):
            flat = [field.name for field in table.schema if not is_list(field.type)]
            self._append(f"score {scores.name}", table.select(flat))
        known += new
        if not files:  # a scorer was killed before its first file, or somebody deleted damaged ones
            del self._score_files[scores.name]

    def _put(self, name: str, table: pa.Table) -> None:
        """Replace a table of the database."""
        with self._registered(table):
            self._database.execute(f"CREATE OR REPLACE TABLE {quoted(name)} AS SELECT * FROM new")

    def _append(self, name: str, table: pa.Table) -> None:
        """Add rows to a table of the database, which gets the columns that it does not have."""
        with self._registered(table):
            self._database.execute(f"CREATE TABLE IF NOT EXISTS {quoted(name)} AS SELECT * FROM new LIMIT 0")
            known = self._types(name)
            for column, kind in self._types("new").items():
                if column not in known:
                    self._database.execute(f"ALTER TABLE {quoted(name)} ADD COLUMN {quoted(column)} {kind}")
            self._database.execute(f"INSERT INTO {quoted(name)} BY NAME SELECT * FROM new")

    @contextmanager
    def _registered(self, table: pa.Table) -> Iterator[None]:
        self._database.register("new", table)
        try:
            yield
        finally:
            self._database.unregister("new")

    def _types(self, table: str) -> dict[str, str]:
        return {name: kind for name, kind, *_ in self._database.execute(f"DESCRIBE {quoted(table)}").fetchall()}

    def _join(self) -> None:
        """Define `frames`: what is stored, beside it each scorer's columns and the marks."""
        columns = [
            CatalogColumn(name, kind, "store" if name in STORE_COLUMNS else "label")
            for name, kind in self._types("stored").items()
            if name not in PLACE
        ]
        chosen, joins = ["stored.*"], []
        for source, table in [*((name, f"score {name}") for name in self._score_files), ("mark", "marks")]:
            taken = {column.name.lower() for column in columns} | {*PLACE, *HEAVY}  # SQL's names know no case
            for name, kind in self._types(table).items():
                if name != "key":
                    free = name if name.lower() not in taken else f"{source}_{name}"
                    columns.append(CatalogColumn(free, kind, source))
                    chosen.append(f"{quoted(table)}.{quoted(name)} AS {quoted(free)}")
            once = f"(SELECT DISTINCT ON (key) * FROM {quoted(table)})"
            joins.append(f"LEFT JOIN {once} AS {quoted(table)} ON {quoted(table)}.key = stored.key")
        selected = f"SELECT {', '.join(chosen)} FROM stored {' '.join(joins)}"
        self._database.execute(f"CREATE OR REPLACE VIEW frames AS {selected}")
        self._columns = tuple(columns)
