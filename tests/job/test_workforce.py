"""Workers on a cluster: what each asks for follows from the job and its largest model, not from the driver's machine."""

from __future__ import annotations

import pytest

from render.job import Site
from render.job.keys import JobConfig, WorkersConfig
from render.job.workforce import WORKER_BYTES, Workforce, choose_workforce

WEIGHTS_BYTES = 4 * 10**9  # in float32
FARM = Site(cores=64, gpus=8.0, memory_bytes=10**12, is_cluster=True)
HERE = Site(cores=8, gpus=0, memory_bytes=16 * 10**9)


@pytest.mark.parametrize(
    ("workers", "expected"),
    [
        (
            WorkersConfig(address="auto", device="cuda"),
            Workforce(None, 4, 1.0, "cuda", WEIGHTS_BYTES // 2 + WORKER_BYTES),
        ),
        (
            WorkersConfig(address="auto", device="cuda", gpus=0.5, count=16, cpus=2),
            Workforce(16, 2, 0.5, "cuda", WEIGHTS_BYTES // 2 + WORKER_BYTES),
        ),
        (
            WorkersConfig(address="auto", device="cpu"),
            Workforce(None, 1, 0.0, "cpu", WEIGHTS_BYTES * 3 // 2 + WORKER_BYTES),
        ),
    ],
)
def test_a_worker_of_a_cluster(workers: WorkersConfig, expected: Workforce) -> None:
    assert choose_workforce(JobConfig(workers=workers), WEIGHTS_BYTES, 64, FARM) == expected


def test_a_worker_of_this_machine_asks_for_no_memory() -> None:
    """Their number is chosen by it."""
    assert choose_workforce(JobConfig(workers=WorkersConfig(device="cpu")), WEIGHTS_BYTES, 64, HERE).memory_bytes == 0
