"""Outputs in a bucket: whole runs, the commands on them, and the same command after a fault at every request."""

from __future__ import annotations

import gc
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import duckdb
import pytest
from buckets import SECRET, VARIABLES, Request, Server, copy_of, few_tries, left_in_scratch
from painters import painting
from stores import FRAMES, Finished, command, environment, pixels, run_command, run_here, wait_until

from render import (
    ManifestError,
    RunError,
    StoreError,
    open_store,
    plan_job,
    preview_job,
    reproduce_frame,
    run_job,
    verify_store,
)
from render.cli import main
from render.core import ObjectPath, write_atomically
from render.job import load_job
from render.prepare import prepare
from render.store.ledger import Ledger

pytest_plugins = ["stores", "buckets"]

SMALL = """\
walk,prompt,seed,frames
ball,3d dog face,7,3
ball,3d cat face,8,
,3d rocket,2,
"""
SETTINGS = (
    "sampling.width=64",
    "sampling.height=64",
    "sampling.steps=2",
    "workers.count=1",
    "workers.cpus=1",
    "store.unit_frames=2",
    "animation.formats=[gif]",
)
UNITS = 3


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.csv").write_text(SMALL)
    return tmp_path / "small.csv"


def paint(manifest: Path, out: Path, *overrides: str) -> None:
    with painting():
        run_job(manifest, *SETTINGS, *overrides, f"output={out}")


def names(out: Path) -> list[str]:
    """Names of all files below an output, without the part that is another for each attempt."""
    paths = (path for path in out.rglob("*") if isinstance(out, ObjectPath) or path.is_file())
    return sorted(re.sub(r"-[0-9a-f]{8}\.parquet", ".parquet", str(path.relative_to(out))) for path in paths)


def moving_parts(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for folder in ("animations", "sheets")
        for path in (out / folder).rglob("*.*")
    }


# Whole runs.


@pytest.mark.slow
def test_a_run_in_a_bucket_is_the_run_in_a_folder(
    finished: Finished, bucket: ObjectPath, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    summary = run_here(finished.manifest, *finished.overrides, f"output={bucket}")
    assert (summary.out, summary.frames, summary.quarantined) == (bucket, FRAMES, 0)
    copy = copy_of(bucket, tmp_path / "copy")
    assert pixels(copy) == pixels(finished.out)
    assert moving_parts(copy) == moving_parts(finished.out)
    local = [name for name in names(finished.out) if name != ".run/lock"]
    assert names(copy) == local
    assert left_in_scratch() == []
    kept = b"".join(path.read_bytes() for path in copy.rglob("*") if path.is_file())
    shown = "".join(capfd.readouterr())
    for secret in (SECRET, VARIABLES["AWS_ACCESS_KEY_ID"]):
        assert secret.encode() not in kept
        assert secret not in shown
    key = open_store(str(bucket)).frame("ball", 3).row["key"]
    assert reproduce_frame(str(bucket), key).same


@pytest.mark.long
@pytest.mark.slow
def test_a_run_on_ray_in_a_bucket(finished: Finished, bucket: ObjectPath, tmp_path: Path, short_tmp: Path) -> None:
    done = run_command(short_tmp, "run", finished.manifest, *finished.overrides, f"output={bucket}")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert f"render.open_store('{bucket}')" in done.stdout
    assert pixels(copy_of(bucket, tmp_path / "copy")) == pixels(finished.out)
    assert run_command(short_tmp, "verify", bucket).stdout == f"{FRAMES} frames are committed and right, 0 problems\n"


@pytest.mark.long
@pytest.mark.slow
def test_a_driver_that_is_killed_is_resumed_at_once(
    finished: Finished, bucket: ObjectPath, tmp_path: Path, short_tmp: Path
) -> None:
    """Its lock is still there, and its process is dead."""
    line = command("run", finished.manifest, *finished.overrides, f"output={bucket}")
    with subprocess.Popen(
        line, env=environment(short_tmp), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        wait_until(lambda: list((bucket / ".run" / "commits").iterdir()), "a first commit")
        driver.kill()
    assert Ledger(bucket).folder.lock.exists()
    done = run_command(short_tmp, *line[3:])
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    copy = copy_of(bucket, tmp_path / "copy")
    assert pixels(copy) == pixels(finished.out)
    assert names(copy) == [name for name in names(finished.out) if name != ".run/lock"]


def test_the_same_command_renders_nothing_again(small: Path, bucket: ObjectPath, server: Server) -> None:
    paint(small, bucket)
    before = names(bucket), [path.facts().etag for path in sorted((bucket / "data").iterdir())]
    server.begin()
    paint(small, bucket)
    assert not [request for request in server.requests if request.method == "PUT" and "/data/" in request.path]
    assert (names(bucket), [path.facts().etag for path in sorted((bucket / "data").iterdir())]) == before


# What is refused, before anything is rendered.


@pytest.mark.parametrize(
    ("out", "variables", "words"),
    [
        ("s3://no-such-bucket-here/out", {}, "there is no such bucket"),
        ("s3://bucket/out", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "is AWS_ENDPOINT_URL right, the network up"),
        ("s3://bucket/out", {"AWS_PROFILE": "nobody"}, "required credentials in the environment or ~/.aws"),
        (
            "s3://me:hunter2@bucket/out",
            {},
            "required a folder that every worker can reach by this path, or s3://, gs:// or az://",
        ),
    ],
)
def test_a_bucket_that_cannot_be_used_is_refused_first(
    small: Path, bucket: ObjectPath, capsys: pytest.CaptureFixture[str], out: str, variables: dict[str, str], words: str
) -> None:
    with patch.dict(os.environ, variables), few_tries(2), patch("render.run.prepare", side_effect=AssertionError):
        assert main(["run", str(small), f"output={out}"]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "hunter2" not in shown
    if "@" not in out:
        with patch.dict(os.environ, variables), few_tries(2):
            assert [main([name, out]) for name in ("verify", "animate", "sheets")] == [2, 2, 2]
        assert words in capsys.readouterr().err


def test_refused_credentials_are_an_error_at_once(
    small: Path, bucket: ObjectPath, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.begin(lambda _: "deny")
    assert main(["run", str(small), f"output={bucket}"]) == 2
    assert "got AccessDenied (these credentials may not do that; a run needs to list" in capsys.readouterr().err
    assert len(server.requests) == 1


def test_a_store_without_exclusive_creation_is_refused(small: Path, bucket: ObjectPath, server: Server) -> None:
    with (
        patch.object(server, "ignores_conditions", True),
        pytest.raises(StoreError, match="creates objects exclusively"),
    ):
        paint(small, bucket)
    assert names(bucket) == []


@pytest.mark.parametrize(
    ("scheme", "library"), [("s3", "boto3"), ("gs", "google-cloud-storage"), ("az", "azure-storage-blob")]
)
def test_without_the_library_the_extra_is_named(small: Path, scheme: str, library: str) -> None:
    with patch.dict("sys.modules", {f"render.core.{scheme}": None}):
        with pytest.raises(StoreError) as caught:
            paint(small, ObjectPath.parse(f"{scheme}://bucket/out"))
        with pytest.raises(ManifestError) as other:
            plan_job(f"{scheme}://bucket/a.csv")
    for error in (caught, other):
        assert f"required the library {library} for {scheme}:// (pip install 'nightrender[{scheme}]')" in str(
            error.value
        )


def test_a_prefix_with_other_files_is_refused(small: Path, bucket: ObjectPath) -> None:
    write_atomically(bucket / "thesis.tex", b"irreplaceable")
    with pytest.raises(StoreError, match="required a new or empty folder"):
        paint(small, bucket)
    assert names(bucket) == ["thesis.tex"]


def test_another_job_is_refused(small: Path, bucket: ObjectPath) -> None:
    paint(small, bucket)
    with pytest.raises(StoreError, match=r"store\.format: png then, webp now"):
        paint(small, bucket, "store.format=webp")


def test_a_prefix_that_is_no_output(bucket: ObjectPath, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("verify", "animate", "sheets"):
        assert main([name, str(bucket)]) == 2
        assert f"render: {bucket}: required the output folder of a run" in capsys.readouterr().err
    with pytest.raises(StoreError, match="required the output folder of a run"):
        open_store(bucket)


def test_a_plan_asks_no_store(
    small: Path, bucket: ObjectPath, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(small), f"output={bucket}"]) == 0
    assert f"output     {bucket}" in capsys.readouterr().out
    assert server.requests == []


# The commands on a store.


def test_damage_is_named(small: Path, bucket: ObjectPath, capsys: pytest.CaptureFixture[str]) -> None:
    paint(small, bucket)
    assert main(["verify", str(bucket)]) == 0
    first, second, third = sorted((bucket / "data").iterdir())
    write_atomically(first, first.read_bytes()[:-1] + b"?")
    second.unlink()
    write_atomically(bucket / "data" / "train-0.parquet", b"foreign")
    capsys.readouterr()
    assert main(["verify", str(bucket)]) == 1
    shown = capsys.readouterr().out
    for name, problem in ((first.name, "hash"), (second.name, "missing"), ("train-0.parquet", "no commit names it")):
        assert re.search(f"{name}: .*{problem}", shown), shown
    assert third.name not in shown
    assert left_in_scratch() == []


def test_animations_and_sheets_are_written_anew(small: Path, bucket: ObjectPath) -> None:
    paint(small, bucket)
    before = moving_parts(bucket)
    assert len(before) == 2
    for name in before:
        (bucket / name).unlink()
    assert main(["animate", str(bucket)]) == 0
    assert main(["sheets", str(bucket)]) == 0
    assert moving_parts(bucket) == before
    assert main(["animate", str(bucket), "animation.formats=[mp4]", "animation.subtitles=true"]) == 0
    assert {"animations/ball.mp4", "animations/ball.srt"} <= moving_parts(bucket).keys()


def test_a_walk_with_a_sound(bucket: ObjectPath, tmp_path: Path) -> None:
    (tmp_path / "beats.csv").write_text("walk,prompt,seed,frames,audio\nw,3d dog,1,3,loop.m4a\nw,3d cat,2,,\n")
    music = Path(__file__).parents[1] / "manifests" / "music"
    paint(tmp_path / "beats.csv", bucket, f"media={music}", "animation.formats=[mp4]")
    made = (bucket / "animations" / "w.mp4").read_bytes()
    (tmp_path / "w.mp4").write_bytes(made)
    import av

    with av.open(tmp_path / "w.mp4") as container:
        assert len(container.streams.audio) == 1
    assert main(["animate", str(bucket)]) == 0
    assert (bucket / "animations" / "w.mp4").read_bytes() == made


def test_rows_are_added(small: Path, bucket: ObjectPath) -> None:
    paint(small, bucket)
    before = names(bucket / "data")
    small.write_text(f"{SMALL},3d octopus,4,\n")
    with painting():
        summary = run_job(small, *SETTINGS, f"output={bucket}", extend=True)
    assert summary.frames == 6
    assert len(names(bucket / "data")) == len(before) + 1
    assert verify_store(bucket).problems == ()


def test_a_preview_lies_beside_the_output(small: Path, bucket: ObjectPath) -> None:
    for _ in range(2):  # the second one in the place of the first
        with painting():
            preview = preview_job(small, *SETTINGS, f"output={bucket}", frames=3)
    assert preview.out == bucket.with_name("out-preview")
    assert len(open_store(preview.out)) == 3
    assert [page.read_bytes()[:4] for page in preview.sheet] == [b"\x89PNG"]
    assert names(bucket) == []


def test_one_image_costs_one_request_or_two(small: Path, bucket: ObjectPath, server: Server) -> None:
    paint(small, bucket)
    store = open_store(str(bucket))
    assert len(store) == 5
    server.begin()
    store.frame("ball", 2).image()
    assert 1 <= len(server.requests) <= 2, [*map(str, server.requests)]
    server.begin()
    frames = store.frames("ball")
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert len(server.requests) <= 2 * 2, "two shards"


def test_the_dataset_is_read_in_ranges(small: Path, bucket: ObjectPath, server: Server) -> None:
    paint(small, bucket)
    frames = duckdb.from_arrow(open_store(bucket).dataset())
    assert frames.query("f", "select walk, count(*), min(frame) from f group by walk order by walk").fetchall() == [
        ("ball", 4, 0),
        ("still-000003", 1, 0),
    ]
    assert all(request.range for request in server.requests if "/data/" in request.path and request.method == "GET")


def test_an_open_dataset_holds_no_file(small: Path, bucket: ObjectPath, server: Server) -> None:
    def files() -> int:
        gc.collect()
        return sum(type(one).__name__ == "_ObjectFile" for one in gc.get_objects())

    paint(small, bucket)
    store, before = open_store(bucket), files()
    server.begin()
    dataset = store.dataset()
    assert len({request.path for request in server.requests}) == 1, "one shard tells the schema"
    assert dataset.to_table(columns=["walk", "frame"]).num_rows == 5
    wait_until(lambda: files() <= before, "the files are closed")


def test_the_card_names_the_bucket(small: Path, bucket: ObjectPath) -> None:
    paint(small, bucket)
    card = (bucket / "README.md").read_text()
    assert f'store = render.open_store("{bucket}")' in card
    assert f"from '{bucket}/data/*.parquet'" in card


def test_a_lost_connection_in_the_night_is_one_line(
    small: Path, bucket: ObjectPath, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.begin(lambda request: "cut" if "/data/" in request.path else "")
    with few_tries(2), painting():
        assert main(["run", str(small), *SETTINGS, f"output={bucket}"]) == 1
    shown = capsys.readouterr().err
    assert "is AWS_ENDPOINT_URL right, the network up" in shown
    assert "the same command resumes" in shown
    assert "Traceback" not in shown


# A fault at every request. Every tenth is enough for the suite; RENDER_TEST_EVERY=1 takes all.

EVERY = int(os.environ.get("RENDER_TEST_EVERY", "10"))


@dataclass(frozen=True)
class Expected:
    """What a run without a fault leaves, and the number of requests that it sends."""

    pixels: dict[tuple[str, int, str], str]
    names: list[str]
    requests: int

    def check(self, out: ObjectPath, copy: Path) -> None:
        assert pixels(copy_of(out, copy)) == self.pixels, out
        assert names(copy) == self.names, out


@pytest.fixture
def expected(small: Path, bucket: ObjectPath, server: Server, tmp_path: Path) -> Iterator[Expected]:
    """Of the small job; it is checked and planned once for all runs of a test."""
    asked = load_job(small, [*SETTINGS, "sheets.kinds=[]"])
    prepared = prepare(asked)
    with patch("render.run.prepare", side_effect=lambda job, *_, **__: replace(prepared, job=job)):
        paint(small, tmp_path / "local", "sheets.kinds=[]")
        server.begin()
        paint(small, bucket, "sheets.kinds=[]")
        left = [name for name in names(tmp_path / "local") if name != ".run/lock"]
        yield Expected(pixels(tmp_path / "local"), left, len(server.requests))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_command_finishes_a_run_that_died_after_any_request(
    small: Path, bucket: ObjectPath, server: Server, tmp_path: Path, expected: Expected
) -> None:
    """The n-th request is done, but its answer is lost, and the store answers nothing after it."""
    assert expected.requests > 40
    for number in range(EVERY - 1, expected.requests, EVERY):
        out = bucket.parent / f"died-{number}"
        server.begin(partial(_dying, number))
        with few_tries(1), suppress(RunError, StoreError):  # the last requests of a run are the lock's, and no error
            paint(small, out, "sheets.kinds=[]")
        server.begin()
        with patch("render.store.lease.lives", return_value=False):
            paint(small, out, "sheets.kinds=[]")
        expected.check(out, tmp_path / f"died-{number}")
        assert len(Ledger(out).receipts()) == UNITS
        assert not Ledger(out).folder.lock.exists()
    assert left_in_scratch() == []


def _dying(last: int, request: Request) -> str:
    return "" if request.number < last else "lose" if request.number == last else "cut"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", ["throttle", "cut", "lose", "half"])
def test_faults_that_pass_are_not_noticed(
    small: Path, bucket: ObjectPath, server: Server, tmp_path: Path, expected: Expected, fault: str
) -> None:
    """Every seventh request fails; over all runs, which begin with another one each, every request does."""
    for first in range(0, 7, EVERY):
        out = bucket.parent / f"passing-{first}"
        server.begin(partial(_passing, first, fault))
        with patch("botocore.retries.standard.ExponentialBackoff.delay_amount", return_value=0.0), few_tries(4):
            paint(small, out, "sheets.kinds=[]")
            assert len([request for request in server.requests if _passing(first, fault, request)]) >= 6
        server.begin()
        expected.check(out, tmp_path / f"passing-{first}")
    assert left_in_scratch() == []


def _passing(first: int, fault: str, request: Request) -> str:
    return fault if request.number % 7 == first else ""
