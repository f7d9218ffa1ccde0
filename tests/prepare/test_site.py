"""The look at the cluster of `workers.address`, which a process of its own makes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster as Machines

from render import plan_job
from render.core import JobError, ObjectPath
from render.job import Site, load_job
from render.prepare import prepare, site
from render.prepare.site import check_lasting, look_at

FARM = Site(cores=16, gpus=4.0, memory_bytes=10**10, is_cluster=True)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text("prompt,images\na cat,50\n")
    return tmp_path / "a.csv"


def answer(monkeypatch: pytest.MonkeyPatch, out: str, err: str = "", code: int = 0) -> list[dict[str, Any]]:
    """Have the process answer; returns what it is called with."""
    calls: list[dict[str, Any]] = []

    def run(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        calls.append({"command": command, **how})
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_what_the_process_prints_is_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    calls = answer(monkeypatch, 'a line of Ray\'s\n{"CPU": 16.0, "GPU": 4.0, "memory": 10000000000.0}\n')
    assert look_at("auto") == FARM
    assert calls[0]["command"][1:] == ["-m", "render.cluster.cluster_facts", "auto"]
    assert "RAY_JOB_CONFIG_JSON_ENV_VAR" not in calls[0]["env"], "the look is no part of a submitted job"


@pytest.mark.parametrize(
    ("out", "err", "reason"),
    [
        ("", "a\nConnectionError: no cluster\n", "ConnectionError: no cluster"),
        ("nonsense\n", "", "exit code 1"),
        ("", "x" * 9000, " … "),
    ],
)
def test_what_can_not_be_looked_at_is_an_error(
    monkeypatch: pytest.MonkeyPatch, out: str, err: str, reason: str
) -> None:
    answer(monkeypatch, out, err, 1)
    with pytest.raises(JobError) as caught:
        look_at("auto")
    required = "required the address HOST:PORT of a running Ray cluster, or auto inside one"
    begin = f"key 'workers.address': {required}; got 'auto' ("
    assert str(caught.value).startswith(begin)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 500
    assert len(reason) < 10 or str(caught.value) == f"{begin}{reason})"


@pytest.mark.parametrize("address", [None, "local"])
def test_this_machine_asks_nobody(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    calls = answer(monkeypatch, "")
    assert not look_at(address).is_cluster
    assert not calls


def test_a_machine_without_gpus_plans_for_a_cluster_with_some(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    plain, of_farm = prepare(load_job(table)), prepare(load_job(table), site=FARM)
    assert (plain.workforce.device, of_farm.workforce.device, of_farm.workforce.gpus) == ("cpu", "cuda", 1.0)
    assert of_farm.plan.measure_rows
    assert not plain.plan.measure_rows


def test_a_cluster_without_gpus_is_told(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "check_address", lambda _: None)
    answer(monkeypatch, json.dumps({"CPU": 4.0, "GPU": 0.0, "memory": 1e10}))
    told = "workers: the cluster has no GPU now, so workers run on CPUs; workers.gpus=1 has them wait for one"
    assert told in plan_job(table, "workers.address=auto").warnings
    assert told not in plan_job(table, "workers.address=auto", "workers.device=cpu").warnings
    assert told not in plan_job(table).warnings
    with pytest.raises(JobError, match=r"key 'workers\.batch_rows': required a power of two on a CPU; got 6"):
        plan_job(table, "workers.address=auto", "workers.batch_rows=6")


@pytest.mark.parametrize(
    ("told", "refused"),
    [
        (None, False),
        ({"runtime_env": {"working_dir": "gcs://_ray_pkg_1.zip"}}, True),
        ({"runtime_env": {"working_dir": "local:///app"}}, False),
        ({"runtime_env": {}}, False),
        ({}, False),
        ({"runtime_env": None}, False),
        ([], False),
        ("no JSON", False),
    ],
)
def test_no_output_in_the_folder_that_ray_unpacks(
    told: object, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if told is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", told if isinstance(told, str) else json.dumps(told))
    check_lasting(tmp_path.parent / "elsewhere")
    check_lasting(ObjectPath.parse("s3://bucket/out"))
    if refused:
        with pytest.raises(JobError, match="which Ray deletes"):
            check_lasting(tmp_path / "out")
    else:
        check_lasting(tmp_path / "out")


@pytest.fixture
def machines() -> Iterator[Machines]:
    """A head, and a machine with a GPU that is none."""
    store: dict[str, Any] = {"object_store_memory": 100 * 2**20}
    cluster = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **store})
    cluster.add_node(num_cpus=4, num_gpus=2, **store)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_a_real_cluster_is_looked_at(machines: Machines, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = plan_job(table, f"workers.address={machines.address}", "workers.compile=off")
    assert (found.site.cores, found.site.gpus, found.workforce.device) == (5, 2.0, "cuda")
