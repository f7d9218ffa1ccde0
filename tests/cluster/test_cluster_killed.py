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
import ray
from ray.cluster_utils import Cluster as Machines
from stores import command, environment, wait_until

from render.cli import main
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = [pytest.mark.slow, pytest.mark.long]

FRAMES = 2400  # minutes of work
STORE: dict[str, Any] = {"object_store_memory": 100 * 2**20}
RESUMES = "What is committed stays; the same command resumes."


def start_machines() -> Machines:
    """Start a head without cores for workers, and a machine of one."""
    cluster = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **STORE})
    cluster.add_node(num_cpus=1, **STORE)
    cluster.wait_for_nodes()
    return cluster


@pytest.fixture
def machines() -> Iterator[Machines]:
    cluster = start_machines()
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def run(machines: Machines, tmp_path: Path, short_tmp: Path) -> Iterator[subprocess.Popen[str]]:
    """A run on them that has committed something; what it says goes to a file."""
    table = f"walk,prompt,seed,frames,steps\na,3d dog,7,{FRAMES},8\na,3d cat,8,,8\n"
    (tmp_path / "m.csv").write_text(table)
    with start_run(machines, tmp_path, short_tmp) as run:
        commits = tmp_path / "out" / ".run" / "commits"
        wait_until(lambda: run.poll() is not None or list(commits.glob("[!.]*.json")), "the first commit")
        assert run.poll() is None, said_of(tmp_path)
        yield run
        run.terminate()
        run.wait(60)


def start_run(machines: Machines, tmp_path: Path, short_tmp: Path) -> subprocess.Popen[str]:
    job = ("workers.device=cpu", "workers.count=1", "workers.cpus=1", "workers.batch_rows=4", "store.unit_frames=2")
    arguments = (
        tmp_path / "m.csv",
        *job,
        "animation.formats=[]",
        f"workers.address={machines.address}",
        f"output={tmp_path / 'out'}",
    )
    with (tmp_path / "said").open("w") as said:
        return subprocess.Popen(
            command("run", *arguments), env=environment(short_tmp), stdout=said, stderr=said, text=True
        )


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


def test_a_node_that_is_told_of_its_end(run: subprocess.Popen[str], machines: Machines, tmp_path: Path) -> None:
    """Its worker finishes what it is at, and goes; on a new machine another goes on. Nothing is said, nothing is lost."""
    (node,) = machines.worker_nodes
    machines.add_node(num_cpus=1, **STORE)
    gcs: Any = ray._raylet.GcsClient(address=machines.address)  # type: ignore[attr-defined]
    assert gcs.drain_node(node.node_id, 2, "its time is over", int(1000 * (time.time() + 100)))[0]
    wait_until(lambda: node.all_processes["raylet"][0].process.poll() is not None, "the end of the machine")
    done = len(Ledger(tmp_path / "out").receipts())
    wait_until(lambda: len(Ledger(tmp_path / "out").receipts()) > done + 1, "more commits")
    assert said_of(tmp_path) == []
    assert len({receipt.process for receipt in Ledger(tmp_path / "out").receipts()}) == 2
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 1
    assert main(["verify", str(tmp_path / "out")]) == 1  # of what is missing


@pytest.mark.parametrize(
    ("server", "reason", "within_s"),
    [
        ("gcs_server", "the head of the Ray cluster at .* does not answer any more", 60.0),
        ("raylet", "the raylet that connects this machine to the Ray cluster has ended", 30.0),
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


def test_another_cluster_goes_on(
    run: subprocess.Popen[str], machines: Machines, tmp_path: Path, short_tmp: Path
) -> None:
    """After the head is lost for good, the same command with another address finds what is committed."""
    head: Any = machines.head_node
    os.kill(head.all_processes["gcs_server"][0].process.pid, signal.SIGKILL)
    assert run.wait(120) == 1
    before = {receipt.unit: receipt for receipt in Ledger(tmp_path / "out").receipts()}
    other = start_machines()
    try:
        with start_run(other, tmp_path, short_tmp) as resumed:
            wait_until(lambda: len(Ledger(tmp_path / "out").receipts()) > len(before) + 1, "more commits")
            resumed.send_signal(signal.SIGTERM)
            assert resumed.wait(60) == 1
    finally:
        other.shutdown()  # type: ignore[no-untyped-call]
    said = (tmp_path / "said").read_text()
    assert f"{2 * len(before):,} of them done before" in said
    after = {receipt.unit: receipt for receipt in Ledger(tmp_path / "out").receipts()}
    assert {unit: after[unit] for unit in before} == before
