"""The workers that suit a place: this machine or a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.core import JobError
from render.job import Site, choose_workforce, expected_workers, load_job, uses_gpu

LAPTOP = Site(cores=8, gpus=0, memory_bytes=16 * 10**9)
BOX = Site(cores=32, gpus=2, memory_bytes=256 * 10**9)
FARM = Site(cores=64, gpus=8.0, memory_bytes=10**12, is_cluster=True)
CORES = Site(cores=64, gpus=0.0, memory_bytes=10**12, is_cluster=True)
WEIGHTS = 10**9


@pytest.mark.parametrize(
    ("site", "overrides", "workers"),
    [
        (LAPTOP, [], (4, 2, 0.0, "cpu", 4)),  # as memory has room for
        (BOX, [], (2, 16, 1.0, "cuda", 2)),
        (BOX, ["workers.gpus=0.5"], (4, 8, 0.5, "cuda", 4)),
        (BOX, ["workers.device=cpu", "workers.count=3"], (3, 10, 0.0, "cpu", 3)),
        (FARM, [], (None, 4, 1.0, "cuda", 8)),
        (FARM, ["workers.cpus=16"], (None, 16, 1.0, "cuda", 4)),
        (FARM, ["workers.count=5"], (5, 4, 1.0, "cuda", 5)),
        (FARM, ["workers.device=cpu"], (None, 1, 0.0, "cpu", 64)),
        (CORES, [], (None, 1, 0.0, "cpu", 64)),
        (CORES, ["workers.gpus=1"], (None, 4, 1.0, "cuda", 1)),  # for which an autoscaler is asked
    ],
)
def test_workers_of_a_site(
    site: Site, overrides: list[str], workers: tuple[int | None, int, float, str, int], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("prompt\na cat\n")
    job = load_job(tmp_path / "a.csv", overrides)
    force = choose_workforce(job, WEIGHTS, 100, site)
    assert (force.count, force.threads, force.gpus, force.device, expected_workers(force, site)) == workers
    assert uses_gpu(job, site) == (force.device == "cuda")


def test_a_batch_size_is_judged_by_the_cluster_and_not_here(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\na cat\n")
    own = ["workers.batch_rows=6", "workers.device=auto"]
    assert load_job(tmp_path / "a.csv", [*own, "workers.address=auto"]).workers.batch_rows == 6
    with pytest.raises(JobError, match="required a power of two on a CPU; got 6"):
        load_job(tmp_path / "a.csv", [*own, "workers.gpus=0"])
    with pytest.raises(JobError, match="required a power of two on a CPU; got 6"):
        load_job(tmp_path / "a.csv", [*own, "workers.gpus=0", "workers.address=auto"])
