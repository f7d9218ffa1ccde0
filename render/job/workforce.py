"""What this machine has, without torch: cores, memory, GPUs; and how many workers of what size that makes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from render.job.config import JobConfig

__all__ = ["Workforce", "choose_workforce", "uses_gpu"]

WORKER_BYTES = 10**9  # of a worker beside its weights: libraries, activations, images on their way
NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Workforce:
    """Workers of a run."""

    count: int | None  # None: as many as the cluster has room for
    threads: int  # CPU cores and torch threads of each
    gpus: float  # of each
    device: str  # cpu or cuda


def uses_gpu(job: JobConfig) -> bool:
    """Whether the workers of a job get GPUs: as it says, and where it says nothing, if this machine has one."""
    if job.workers.device != "auto":
        return job.workers.device == "cuda"
    return gpu_count() > 0 if job.workers.gpus is None else job.workers.gpus > 0


def choose_workforce(job: JobConfig, weights_bytes: int, units: int) -> Workforce:
    """What the job says, and where it says nothing what suits the machine and the number of units.

    With GPUs one worker each. Without, one worker a core as far as memory goes: two threads of one worker get less done
    than two workers of one thread. A worker holds one of the models at a time.
    """
    workers, cores, gpu = job.workers, len(os.sched_getaffinity(0)), uses_gpu(job)
    gpus = (1.0 if workers.gpus is None else workers.gpus) if gpu else 0.0
    device = "cuda" if gpu else "cpu"
    if workers.address is not None:
        return Workforce(workers.count, workers.cpus or (4 if gpu else 1), gpus, device)
    fitting = gpu_count() / gpus if gpus else memory_bytes() * 0.7 / (1.5 * weights_bytes + WORKER_BYTES)
    count = workers.count or max(1, min(units, int(fitting), cores // (workers.cpus or 1)))
    return Workforce(count, workers.cpus or max(1, cores // count), gpus, device)


def gpu_count() -> int:
    """NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0


def memory_bytes() -> int:
    """Memory of the machine, or of the control group this process is in."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(machine, int(text)) if text.isdigit() else machine
