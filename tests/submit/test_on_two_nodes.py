"""The look at a cluster of two nodes: each says which folders it can read and write."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from heads import ROOT, free_port, token
from ray.cluster_utils import Cluster as Machines
from stores import wait_until

from render.core import JobError
from render.submit import connect
from render.submit.client import Dashboard
from render.submit.look import Paths, inspect_cluster, site_of
from render.submit.probe import modules_hash
from render.submit.reach import check_output

pytestmark = [pytest.mark.slow, pytest.mark.long]

STORE: dict[str, Any] = {"object_store_memory": 100 * 2**20}


@pytest.fixture
def dashboard(tmp_path: Path) -> Iterator[Dashboard]:
    """A cluster that asks for no token, of a head and a machine with two GPUs that are none."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    port = free_port()
    head = {"num_cpus": 1, "include_dashboard": True, "dashboard_port": port, **STORE}
    with token("", tmp_path), patch.dict(os.environ, {"PATH": path}):
        cluster = Machines(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(num_cpus=4, num_gpus=2, **STORE)
            cluster.wait_for_nodes()
            found: list[Dashboard] = []
            wait_until(lambda: found or try_to_connect(f"http://127.0.0.1:{port}", found), "the dashboard")
            wait_until(lambda: len(found[0].nodes()) == 2, "both nodes")
            yield found[0]
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]


def try_to_connect(address: str, found: list[Dashboard]) -> bool:
    try:
        found.append(connect(address))
    except JobError:
        return False
    return True


def test_every_node_looks_at_the_folders(dashboard: Dashboard, tmp_path: Path) -> None:
    for name in ("model", "look"):
        (tmp_path / name).mkdir()
    out = str(tmp_path / "out")
    nodes = dashboard.nodes()
    paths = Paths((str(tmp_path / "model"), str(tmp_path / "gone")), (out,))
    seen = inspect_cluster(dashboard, nodes, paths, ["torch", "no-such-library"], tmp_path / "look")
    assert set(seen.nodes) == {node["node_id"] for node in nodes}
    for found in seen.nodes.values():
        assert found is not None
        assert found["reads"] == {str(tmp_path / "model"): True, str(tmp_path / "gone"): False}
        assert (found["writes"], found["marks"]) == ({out: ""}, [True])
    assert seen.is_shared == {out: True}
    assert check_output(out, seen) == ""
    assert len(seen.versions["torch"]) == 1
    assert seen.versions["no-such-library"] == ("",)
    assert seen.packages == (modules_hash(ROOT / "render"),)
    assert site_of(nodes).gpus == 2.0
    assert not list(tmp_path.glob(".render-mark*"))
