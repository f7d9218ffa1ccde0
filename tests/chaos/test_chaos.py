"""The chaos harness finds what it looks for, and a short run of it. Long ones are made by hand: see run.py."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attempt import SILENCE_S, Line, wording_problems
from bench import Hit, Outcome
from checks import Comparison, Pixels, compare, left_in_output, pixels_of
from PIL import Image
from run import KINDS, ROUND, Night, scenarios
from table import table

HERE = Path(__file__).parent
SAYS = "render: out: No space left on device\nWhat is committed stays; the same command resumes."


# The checks.


def store(out: Path, *shards: tuple[tuple[int, str, int], ...]) -> Path:
    """Store rows of (frame, key, colour) as committed shards."""
    for folder in ("data", ".run/commits", ".run/scratch"):
        (out / folder).mkdir(parents=True)
    for number, rows in enumerate(shards):
        table = {
            "walk": ["w"] * len(rows),
            "frame": [frame for frame, _, _ in rows],
            "key": [key for _, key, _ in rows],
            "image": [{"bytes": _picture(colour), "path": f"{frame}.png"} for frame, _, colour in rows],
        }
        pq.write_table(pa.table(table), out / "data" / f"train-{number}.parquet")
        (out / ".run" / "commits" / f"{number:05d}.json").write_text(json.dumps({"file": f"train-{number}.parquet"}))
    return out


def _picture(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2), (colour, 0, 0)).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def expected(tmp_path: Path) -> Pixels:
    return pixels_of(store(tmp_path / "undisturbed", ((0, "k0", 1), (1, "k1", 2)), ((2, "k2", 3),)))


@pytest.mark.parametrize(
    ("shards", "found"),
    [
        ([((2, "k2", 3), (1, "k1", 2)), ((0, "k0", 1),)], Comparison(0, 0, 0)),
        ([((0, "k0", 1), (1, "k1", 2))], Comparison(1, 0, 0)),
        ([((0, "k0", 1), (1, "k1", 2)), ((2, "k2", 3), (1, "k1", 2))], Comparison(0, 1, 0)),
        ([((0, "k0", 1), (1, "k1", 9)), ((2, "k2", 3),)], Comparison(0, 0, 1)),
        ([((0, "k0", 1), (1, "other", 2)), ((2, "k2", 3),)], Comparison(0, 0, 1)),
        ([((0, "k0", 1), (1, "k1", 2), (2, "k2", 3), (3, "k3", 4))], Comparison(0, 0, 1)),
        ([], Comparison(3, 0, 0)),
    ],
)
def test_a_store_is_compared(
    tmp_path: Path, expected: Pixels, shards: list[tuple[tuple[int, str, int], ...]], found: Comparison
) -> None:
    assert compare(store(tmp_path / "out", *shards), expected) == found


@pytest.mark.parametrize(
    "orphan",
    ["data/train-9.parquet", ".run/scratch/x.parquet", ".run/commits/.partial-1.json", "sheets/.partial-2.png"],
)
def test_files_that_are_left_are_found(tmp_path: Path, orphan: str) -> None:
    out = store(tmp_path / "out", ((0, "k0", 1),))
    assert list(left_in_output(out)) == []
    (out / orphan).parent.mkdir(exist_ok=True)
    (out / orphan).write_bytes(b"left")
    assert list(left_in_output(out)) == [f"orphan file {orphan}"]


def test_a_commit_without_its_file_is_found(tmp_path: Path) -> None:
    out = store(tmp_path / "out", ((0, "k0", 1),))
    (out / "data" / "train-0.parquet").unlink()
    assert list(left_in_output(out)) == ["committed and not there: data/train-0.parquet"]


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("17/17 frames", 0, ""),
        (SAYS, 1, ""),
        ("render: out: required that no other run writes there, got one that does", 2, ""),
        ("Traceback (most recent call last)\nOSError\nthe same command resumes", 1, "a traceback"),
        (
            "[2026-11-26 20:21:13,707 E 31674 31674] logging.cc:474: PC\nthe same command resumes",
            1,
            "1 lines of another",
        ),
        ("\x1b[33m(raylet)\x1b[0m A worker died", 0, "1 lines of another program"),
        ("render: something went wrong", 1, "a last line that does not say what to do: render: something"),
        ("", 1, "a last line that does not say what to do: none"),
        ("", -15, "an end without a word: exit code -15"),
        ("", -9, "a last line that does not say what to do: none"),
        (
            "render: its process 7 hung while Ray started, and was ended. What is committed stays; the same command "
            "resumes.",
            -9,
            "",
        ),
        (f"{SAYS}\nrender: its process 7 was killed. {SAYS}", 1, "more than one last word: "),
        ("", None, ""),
    ],
)
def test_what_a_user_should_not_read_is_found(text: str, code: int | None, problem: str) -> None:
    lines = [Line(1.0, line, True) for line in text.splitlines()]
    found = list(wording_problems(lines, 0.0, 2.0, code))
    assert len(found) == bool(problem)
    assert all(one.startswith(problem) for one in found)


def test_silence_is_found() -> None:
    lines = [Line(1.0, "17 frames; starting workers", True), Line(2.0 + SILENCE_S, "17/17 frames", True)]
    assert list(wording_problems(lines, 0.0, 3.0 + SILENCE_S, 0)) == ["silence for 61 s"]


ORPHANS = """\
import os, subprocess, sys, time
from processes import adopt_orphans, descendants, kill, reap
adopt_orphans()
shell = subprocess.run(["sh", "-c", "setsid sleep 600 > /dev/null & setsid sleep 601 > /dev/null & exit 0"])
found = []
while [process.line[:5] for process in found] != ["sleep", "sleep"]:
    time.sleep(0.01)
    found = descendants(os.getpid())
print(sorted(process.line for process in found), kill(found))
while descendants(os.getpid()):
    time.sleep(0.01)
reap([])
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("none is left, dead or alive")
"""


def run_script(text: str, *paths: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, paths))
    return subprocess.run(
        [sys.executable, "-c", text],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_processes_that_outlive_their_parent_are_found() -> None:
    done = run_script(ORPHANS, HERE)
    assert done.stdout.splitlines() == ["['sleep 600', 'sleep 601'] 2", "none is left, dead or alive"], done.stderr


# The faults.

COMMIT = """\
import json, os, sys
from pathlib import Path
from sitecustomize import arm
chaos = arm(json.loads(sys.argv[1]) if len(sys.argv) > 1 else json.loads(os.environ["PLAN"]), "worker")
out = Path(chaos.out)
(out / "a").mkdir()
(out / "a" / "file").write_text("text")
descriptor = os.open(out / "a" / "file", os.O_RDONLY)
os.fsync(descriptor)
os.link(out / "a" / "file", out / "a" / "linked")
(out / "a" / "file").unlink()
print(chaos.steps)
"""
STEPS = ["mkdir .", "write a", "read a", "fsync a", "link a", "remove a"]


@pytest.mark.parametrize(
    ("fault", "code", "left"),
    [
        ({"act": "kill", "nth": 1}, -9, []),
        ({"act": "kill", "nth": 5}, -9, ["file"]),
        ({"act": "kill", "nth": 6}, -9, ["file", "linked"]),
        ({"act": "ENOSPC", "label": "link"}, 1, ["file"]),
        ({"act": "exit", "label": "remove"}, 1, ["file", "linked"]),
        ({"act": "torn", "label": "fsync"}, -9, ["file"]),
        ({"act": "kill", "nth": 7}, 0, ["linked"]),
        ({"act": "kill", "who": "driver"}, 0, ["linked"]),
        ({"act": "wait", "label": "fsync", "times": 0}, 0, ["linked"]),
    ],
)
def test_a_fault_comes_before_its_step(tmp_path: Path, fault: dict[str, object], code: int, left: list[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "marks").mkdir()
    plan = {"out": str(tmp_path / "out"), "marks": str(tmp_path / "marks"), "faults": [{"id": "f", **fault}]}
    done = run_script(COMMIT, HERE / "inside", PLAN=json.dumps(plan))
    assert done.returncode == code, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == left
    struck = fault.get("nth") != 7 and "who" not in fault
    assert [path.name for path in (tmp_path / "marks").iterdir()] == ["f.0"] * struck
    if code == 0:
        assert done.stdout.strip() == str(STEPS)
    if fault["act"] == "torn":
        assert (tmp_path / "out" / "a" / "file").read_text() == "te"


# Long runs.


def test_every_kind_has_its_turn() -> None:
    assert ROUND.keys() == KINDS.keys()
    size = sum(ROUND.values())
    two = list(islice(scenarios(3, set()), 2 * size))
    assert two == list(islice(scenarios(3, set()), 2 * size))
    for part in (two[:size], two[size:]):
        assert Counter(kind for _, kind, _ in part) == Counter(ROUND)
    assert [number for number, _, _ in two] == list(range(2 * size))
    assert {kind for _, kind, _ in islice(scenarios(3, {"nodes", "torn"}), 9)} == {"nodes", "torn"}


def test_a_long_run_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    record = tmp_path / "new" / "chaos.json"
    outcome = Outcome(0, "torn", [Hit("half a file, then killed", None, "fsync .run/scratch")], lost_s=1.0)
    first = Night(record, 1, set())
    first.add(outcome)
    first.close()
    second = Night(record, 1, set())
    second.close()
    assert (second.outcomes, second.struck, second.is_well) == ([outcome], 1, True)
    assert not first.folder.exists()
    with pytest.raises(SystemExit, match="required seed and kinds of this run"):
        Night(record, 2, set())


def test_the_table() -> None:
    outcomes = [
        Outcome(0, "kills", [Hit("SIGKILL worker", 0.1), Hit("SIGKILL worker", 2.3), Hit("SIGTERM", 1.0)], lost_s=9.0),
        Outcome(1, "kills", [Hit("SIGTERM", 4.0)], lost=2, problems=["silence for 61 s"], lost_s=1.0),
        Outcome(2, "torn", [Hit("half a file, then killed", None, "fsync .run/scratch")]),
    ]
    assert table(outcomes).splitlines() == [
        "| fault | times | lost | twice | differing | noticed after, s | lost, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| SIGKILL worker | 2 | 0 | 0 | 0 | 2.3, at most 2.3 | 3.0 |",
        "| SIGTERM | 2 | 2 | 0 | 0 | 4.0, at most 4.0 | 2.0 |",
        "| half a file, then killed | 1 | 0 | 0 | 0 | – | 0.0 |",
        "| all | 5 | 2 | 0 | 0 |  |  |",
        "",
        "3 scenarios. Faults came before 1 kinds of steps: fsync .run/scratch.",
        "",
        "1 problems:",
        "1 kills: silence for 61 s",
    ]


# Runs of it.


def chaos(record: Path, *options: str, limit_s: float, code: int = 0, **variables: str) -> list[str]:
    """Run the command. Returns what it prints; the table is its end."""
    done = subprocess.run(
        [sys.executable, str(HERE / "run.py"), "--seed", "2", "--json", str(record), *options],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.long
@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    """In one process, without Ray: killed before steps, and torn files."""
    said = chaos(tmp_path / "chaos.json", "--faults", "5", "--only", "killed,torn", limit_s=200)
    (sums,) = (line for line in said if line.startswith("| all |"))
    assert int(sums.split("|")[2]) >= 5
    assert sums.split("|")[3:6] == [" 0 ", " 0 ", " 0 "]
    assert json.loads((tmp_path / "chaos.json").read_bytes())["outcomes"]


@pytest.mark.long
@pytest.mark.slow
def test_commits_that_replace_each_other_are_found(tmp_path: Path) -> None:
    """By a fault that is planted in the product: so the harness can fail."""
    options = ("--faults", "1", "--only", "race")
    said = chaos(tmp_path / "chaos.json", *options, limit_s=200, code=1, RENDER_CHAOS_PLANTED="1")
    assert any(re.match(r" +PROBLEM \d+ frames twice", line) for line in said)
    assert any("orphan file data/train-" in line for line in said)
    kept = {match[1] for line in said if (match := re.search(r"\((/tmp/ch[^/]+)/", line))}
    for folder in kept:
        shutil.rmtree(folder)
    assert len(kept) == 1


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_on_ray(tmp_path: Path) -> None:
    options = ("--faults", "12", "--only", "kills,frames,steps,nodes,race,full,read-only")
    said = chaos(tmp_path / "chaos.json", *options, limit_s=1700)
    (sums,) = (line for line in said if line.startswith("| all |"))
    assert int(sums.split("|")[2]) >= 12  # one that was stopped ends with 0 as well
    assert sums.split("|")[3:6] == [" 0 ", " 0 ", " 0 "]
