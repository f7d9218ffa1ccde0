"""A part of a Ray cluster is killed under a whole run: what the user reads, and that the same command finishes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster as Machines
from stores import command, environment, wait_until

from render.cli import main
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = [pytest.mark.slow, pytest.mark.long]

FRAMES = 2400  # minutes of work
STORE: dict[str, Any] = {"object_store_memory": 100 * 2**20}
RESUMES = "What is committed stays; the same command resumes."


@pytest.fixture
def machines() -> Iterator[Machines]:
    """A head without cores for workers, and a machine of one."""
    cluster = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
    cluster.add_node(num_cpus=1, **STORE)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def run(machines: Machines, tmp_path: Path, short_tmp: Path) -> Iterator[subprocess.Popen[str]]:
    """A run on them that has committed something; what it says goes to a file."""
    table = f"walk,prompt,seed,frames,steps\na,3d dog,7,{FRAMES},8\na,3d cat,8,,8\n"
    (tmp_path / "m.csv").write_text(table)
    job = ("workers.count=1", "workers.cpus=1", "workers.batch_rows=4", "store.unit_frames=2", "animation.formats=[]")
    place = ("workers.device=cpu", f"workers.address={machines.address}", f"output={tmp_path / 'out'}")
    arguments = (tmp_path / "m.csv", *job, *place)
    with (tmp_path / "said").open("w") as said:
        run = subprocess.Popen(
            command("run", *arguments), env=environment(short_tmp), stdout=said, stderr=said, text=True
        )
    commits = tmp_path / "out" / ".run" / "commits"
    wait_until(lambda: run.poll() is not None or list(commits.glob("[!.]*.json")), "the first commit")
    assert run.poll() is None, said_of(tmp_path)
    yield run
    run.terminate()
    run.wait(60)


def said_of(tmp_path: Path) -> list[str]:
    """Lines of the run, but for its progress."""
    lines = (tmp_path / "said").read_text().splitlines()
    return [line for line in lines if "img/s" not in line and "starting workers" not in line]


def test_a_node(run: subprocess.Popen[str], machines: Machines, tmp_path: Path) -> None:
    """One line; on a new machine the run goes on."""
    (node,) = machines.worker_nodes
    machines.remove_node(node, allow_graceful=False)
    wait_until(lambda: said_of(tmp_path), "a word")
    done = len(Ledger(tmp_path / "out").receipts())
    machines.add_node(num_cpus=1, **STORE)
    wait_until(lambda: len(Ledger(tmp_path / "out").receipts()) > done + 1, "more commits")
    said = said_of(tmp_path)
    assert len(said) == 1, said
    (line,) = said
    assert line.startswith("warning: a worker is replaced, what it had is rendered again: its machine")
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 1
    assert said_of(tmp_path) == [line, "", f"render: stopped. {RESUMES}"]
    assert main(["verify", str(tmp_path / "out")]) == 1  # of what is missing


@pytest.mark.parametrize(
    ("server", "reason", "within_s"),
    [
        ("gcs_server", "the head of the Ray cluster at .* does not answer any more", 60.0),
        ("raylet", "the raylet that connects this machine to the Ray cluster has ended", 10.0),
    ],
)
def test_the_head(
    run: subprocess.Popen[str], machines: Machines, tmp_path: Path, server: str, reason: str, within_s: float
) -> None:
    """It is not ours to start anew: the run ends with the reason."""
    head: Any = machines.head_node
    os.kill(head.all_processes[server][0].process.pid, signal.SIGKILL)
    killed_s = time.monotonic()
    assert run.wait(120) == 1
    assert time.monotonic() - killed_s < within_s
    line, resumes = said_of(tmp_path)
    assert re.fullmatch(f"render: {reason}", line)
    assert resumes == RESUMES
