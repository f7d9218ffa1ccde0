"""What a run started goes with it, however it ends: processes, folder, and what an earlier run left when all was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import wait_until

from render.cluster import guardian
from render.cluster.guardian import Guardian, end_processes, lives, marked, processes_of
from render.core import OwnedFolder

pytest_plugins = ["stores"]

PREFIX = "render-ray-"
RUN = """
import subprocess, sys
from functools import partial
from render.cluster.guardian import Guardian, end_processes, marked
from render.core import OwnedFolder

owned = OwnedFolder("render-ray-", end_processes)
guardian = Guardian(owned.path)
with marked(owned.path):  # a helper of Ray, which its servers start, in a session of its own
    begin = partial(subprocess.Popen, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    begin(["sh", "-c", "sleep 1000 & exec sleep 1000"])
{then}
print(owned.path, flush=True)
{last}
sys.stdin.read()
"""
LINE = "was killed, by hand or by the system when memory ran out. What is committed stays; the same command resumes."


def start(tmp: Path, then: str = "", last: str = "") -> tuple[subprocess.Popen[str], Path]:
    """A run without Ray: it holds a folder, a guardian and two processes until it is ended. `last` runs when it is up."""
    run = subprocess.Popen(
        [sys.executable, "-c", RUN.format(then=then, last=last)],
        env={**os.environ, "TMPDIR": str(tmp)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert run.stdout is not None
    folder = Path(run.stdout.readline().strip())
    wait_until(lambda: len(processes_of(folder)) == 2, "both processes")
    return run, folder


def guardian_of(run: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    (found,) = [int(child) for child in children if b"guardian.py" in Path(f"/proc/{child}/cmdline").read_bytes()]
    return found


def ignores(process: int, number: int) -> bool:
    (mask,) = [line.split()[1] for line in Path(f"/proc/{process}/status").read_text().splitlines() if "SigIgn" in line]
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_a_run_that_is_killed_leaves_nothing(short_tmp: Path, kill: object) -> None:
    run, folder = start(short_tmp)
    assert callable(kill)
    kill(run.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    _, said = run.communicate(timeout=60)  # the guardian holds the other end until it has ended
    assert time.monotonic() - killed_s < 20  # as long as Ray's own helpers live on
    assert said == f"render: its process {run.pid} {LINE}\n"
    assert not processes_of(folder)
    assert not list(short_tmp.iterdir())


def test_the_next_run_sweeps_what_is_left_when_the_guardian_is_killed_too(short_tmp: Path) -> None:
    run, folder = start(short_tmp)
    living, spared = start(short_tmp)
    os.kill(guardian_of(run), signal.SIGKILL)
    run.kill()
    run.communicate(timeout=60)
    assert folder.exists()
    assert len(processes_of(folder)) == 2

    following, own = start(short_tmp)
    assert not processes_of(folder)
    assert sorted(short_tmp.iterdir()) == sorted(
        [spared, own]
    )  # the folder of a living run is spared, with its processes
    assert len(processes_of(spared)) == 2
    for other in (living, following):
        other.kill()
        other.communicate(timeout=60)


def test_a_folder_without_a_lock_is_swept_when_it_is_old_and_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process was killed between two lines; what holds files is nobody's to delete."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("new", "old", "full"):
        (tmp_path / f"{PREFIX}{name}").mkdir()
    (tmp_path / f"{PREFIX}full" / "file").touch()
    for name in ("old", "full"):
        os.utime(tmp_path / f"{PREFIX}{name}", (0, 0))
    owned = OwnedFolder(PREFIX)
    assert {path.name.removeprefix(PREFIX) for path in tmp_path.iterdir() if path != owned.path} == {"new", "full"}
    owned.delete()


def test_a_guardian_that_is_dismissed_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "ray"
    folder.mkdir()
    with marked(folder):
        helper = subprocess.Popen(["sleep", "1000"])
    assert processes_of(folder) == [helper.pid]
    Guardian(folder).dismiss()
    assert helper.wait(10) == -signal.SIGKILL
    assert not folder.exists()
    assert capfd.readouterr() == ("", "")


def test_signals_to_the_whole_group_do_not_reach_it(short_tmp: Path) -> None:
    run, folder = start(short_tmp)
    keeper = guardian_of(run)
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wait_until(lambda: all(ignores(keeper, sent) for sent in signals), "its first lines")
    for sent in signals:
        os.kill(keeper, sent)
    assert lives(keeper)
    os.killpg(run.pid, signal.SIGTERM)
    run.communicate(timeout=60)
    wait_until(lambda: not folder.exists(), "the end of its folder")


def test_a_driver_that_hangs_while_ray_starts_is_ended(short_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has given a sign of life, and promised more: Ray's library can stop all of Python in a process."""
    program = short_tmp / "guardian.py"
    text = Path(guardian.__file__).read_text().replace("HUNG_S = 30.0", "HUNG_S = 0.3")
    assert "HUNG_S = 0.3" in text
    program.write_text(text)
    then = f"guardian.relax(); import render.cluster.guardian as g; g.__file__ = {str(program)!r}\n"
    then += "guardian.dismiss(); guardian = Guardian(owned.path)\n"
    then += "owned.path.mkdir()\nwith marked(owned.path): begin(['sh', '-c', 'sleep 9 & exec sleep 9'])"
    run, folder = start(short_tmp, then, last="sys.stdin.readline(); guardian.sign()")
    assert run.stdin is not None
    print(file=run.stdin, flush=True)
    assert run.wait(60) == -signal.SIGKILL
    _, said = run.communicate(timeout=60)
    assert said.endswith("hung while Ray started, and was ended. What is committed stays; the same command resumes.\n")
    assert not processes_of(folder)


def test_processes_that_start_others_are_ended(tmp_path: Path) -> None:
    with marked(tmp_path):
        forks = subprocess.Popen(["sh", "-c", "while :; do sleep 0.01 & done"])
    end_processes(tmp_path)
    forks.wait(10)
    assert not processes_of(tmp_path)


def test_a_process_that_shows_no_environment_is_waited_for_a_moment_and_spared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has just begun a program shows none at first, and may have the mark then."""
    monkeypatch.setattr(guardian, "END_S", 100.0)
    other = subprocess.Popen(["sleep", "1000"], env={})
    began_s = time.monotonic()
    end_processes(tmp_path)
    assert 0.4 < time.monotonic() - began_s < guardian.END_S
    assert lives(other.pid)
    other.kill()
    other.wait()


def test_what_hides_the_mark_is_found_by_its_files_or_its_parent(tmp_path: Path) -> None:
    """Ray's helpers write their titles over their environment. Who only looks at a log is spared."""
    (tmp_path / "agent.log").touch()
    title = ["bash", "-c", "exec -a ray::DashboardAgent sleep 1000 <agent.log"]
    agent = subprocess.Popen(title, cwd=tmp_path)
    reader = subprocess.Popen(["tail", "-f", str(tmp_path / "agent.log")], stdout=subprocess.DEVNULL)
    with marked(tmp_path):
        parent = subprocess.Popen(["sh", "-c", "env -i sleep 1000; true"])
    wait_until(lambda: len(processes_of(tmp_path)) == 3, "agent, parent and child")
    end_processes(tmp_path)
    assert (agent.wait(10), parent.wait(10)) == (-signal.SIGKILL, -signal.SIGKILL)
    assert not processes_of(tmp_path)
    assert lives(reader.pid)
    reader.kill()
    reader.wait()
