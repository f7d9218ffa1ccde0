"""Verification names whatever is wrong with a store, and finds nothing wrong with a good one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stores import FRAMES, Finished

from render import StoreError
from render.cli import main
from render.mending.verify import verify_store

pytest_plugins = ["stores"]


def shards(out: Path) -> list[Path]:
    """Units 0 … 3, of 4, 4, 4 and 2 frames."""
    return sorted((out / "data").iterdir())


def record_of(shard: Path) -> Path:
    return shard.parents[1] / ".run" / "commits" / f"{shard.name.split('-')[1]}.json"


def rewrite(shard: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a shard and commit it as if it had always been so."""
    table = pq.read_table(shard, partitioning=None)
    pq.write_table(change(table), shard)
    recommit(shard)


def recommit(shard: Path) -> None:
    record = json.loads(record_of(shard).read_text())
    record["sha256"] = hashlib.sha256(shard.read_bytes()).hexdigest()
    record["size_bytes"] = shard.stat().st_size
    record_of(shard).write_text(json.dumps(record))


def replace_column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    column = pa.array(values, table.schema.field(name).type)
    return table.set_column(table.column_names.index(name), table.schema.field(name), column)


def wrong_pixel_hash(table: pa.Table) -> pa.Table:
    return replace_column(table, "sha256", ["0" * 64, *table["sha256"].to_pylist()[1:]])


def another_picture(table: pa.Table) -> pa.Table:
    images = table["image"].to_pylist()
    return replace_column(table, "image", [images[1], *images[1:]])


def broken_picture(table: pa.Table) -> pa.Table:
    images = table["image"].to_pylist()
    return replace_column(table, "image", [{**images[0], "bytes": images[0]["bytes"][:200]}, *images[1:]])


def flip_a_byte(out: Path) -> str:
    data = bytearray(shards(out)[1].read_bytes())
    data[len(data) // 2] ^= 1
    shards(out)[1].write_bytes(data)
    return f"data/{shards(out)[1].name}: the file's hash is not the committed one"


def cut_short(out: Path) -> str:
    shard = shards(out)[2]
    shard.write_bytes(shard.read_bytes()[:-100])
    return f"data/{shard.name}: the file's hash is not the committed one"


def lose_a_shard(out: Path) -> str:
    name = shards(out)[0].name
    shards(out)[0].unlink()
    return f"data/{name}: is missing"


def lose_a_commit(out: Path) -> str:
    record_of(shards(out)[3]).unlink()
    return "unit 00003: 2 frames are not committed"


def lose_a_row(out: Path) -> str:
    rewrite(shards(out)[0], lambda table: table.slice(1))
    return f"data/{shards(out)[0].name}: its frames are not the planned ones"


def swap_shards(out: Path) -> str:
    first, second = shards(out)[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    return f"data/{first.name}: the file's hash is not the committed one"


def swap_shards_and_hashes(out: Path) -> str:
    swap_shards(out)
    for shard in shards(out)[:2]:
        recommit(shard)
    return f"data/{shards(out)[1].name}: its frames are not the planned ones"


def add_a_file(out: Path) -> str:
    (out / "data" / "train-00000-of-00004-copy.parquet").write_bytes(shards(out)[0].read_bytes())
    return "data/train-00000-of-00004-copy.parquet: no commit names it"


def rehash_pixels(out: Path) -> str:
    rewrite(shards(out)[0], wrong_pixel_hash)
    return f"data/{shards(out)[0].name}: ball 0: its pixels are not those that were hashed"


def replace_a_picture(out: Path) -> str:
    rewrite(shards(out)[1], another_picture)
    return f"data/{shards(out)[1].name}: ball 4: its pixels are not those that were hashed"


def break_a_picture(out: Path) -> str:
    rewrite(shards(out)[1], broken_picture)
    return f"data/{shards(out)[1].name}: ball 4: its image can't be decoded"


def not_parquet(out: Path) -> str:
    shards(out)[1].write_bytes(b"PAR1 was here")
    recommit(shards(out)[1])
    return f"data/{shards(out)[1].name}: "


def another_manifest(out: Path) -> str:
    path = out / ".run" / "manifest.parquet"
    table = pq.read_table(path)
    pq.write_table(replace_column(table, "seed", [99, *table["seed"].to_pylist()[1:]]), path)
    return ".run/manifest.parquet: not the manifest that was planned"


def test_a_good_store(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(finished.out)]) == 0
    assert capsys.readouterr().out == f"{FRAMES} frames are committed and right, 0 problems\n"


PIXELS = (rehash_pixels, replace_a_picture, break_a_picture)  # the file is as it was committed


@pytest.mark.parametrize(
    ("damage", "frames"),  # frames that are still right
    [
        (flip_a_byte, 10),
        (cut_short, 10),
        (lose_a_shard, 10),
        (lose_a_commit, 12),
        (lose_a_row, 10),
        (swap_shards, 6),
        (swap_shards_and_hashes, 6),
        (add_a_file, 14),
        (rehash_pixels, 10),
        (replace_a_picture, 10),
        (break_a_picture, 10),
        (not_parquet, 10),
        (another_manifest, 6),
    ],
)
def test_damage_is_named(
    copied: Finished, capsys: pytest.CaptureFixture[str], damage: Callable[[Path], str], frames: int
) -> None:
    named = damage(copied.out)
    deep = ["--deep"] if damage in PIXELS else []
    assert main(["verify", str(copied.out), *deep]) == 1
    *problems, ending = capsys.readouterr().out.splitlines()
    assert any(problem.startswith(named) for problem in problems), problems
    assert ending.startswith(f"{frames} frames are committed and right, {len(problems)} problem")


def test_a_shard_without_its_commit_is_named_twice(copied: Finished) -> None:
    name = shards(copied.out)[3].name
    lose_a_commit(copied.out)
    assert verify_store(copied.out).problems == (
        "unit 00003: 2 frames are not committed",
        f"data/{name}: no commit names it",
    )


def test_what_is_no_store_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoreError, match="required the output folder of a run"):
        verify_store(tmp_path)
    assert main(["verify", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"render: {tmp_path}: required the output folder of a run")


def test_a_folder_of_another_version_is_refused(copied: Finished) -> None:
    plan = copied.out / ".run" / "plan.json"
    plan.write_text(plan.read_text().replace("batch_rows", "rows"))
    with pytest.raises(StoreError, match="required an output folder of this version of nightrender"):
        verify_store(copied.out)
