"""Choose number and size of the workers by this machine's cores, memory and GPUs. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from render.job.keys import JobConfig

__all__ = ["Workforce", "choose_workforce", "uses_gpu"]

WORKER_BYTES = 10**9  # memory of a worker beside its weights: libraries, activations, images being written
NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True)
class Workforce:
    """Number and size of the workers of a run."""

    count: int | None  # None: as many as the cluster has room for
    threads: int  # CPU cores and torch threads of each
    gpus: float  # of each
    device: str  # cpu or cuda
    memory_bytes: int = 0  # of each, where the cluster's machines declare memory; less where it is short


def uses_gpu(job: JobConfig) -> bool:
    """Decide whether the job's workers get GPUs: as the job says, by default if this machine has one."""
    if job.workers.device != "auto":
        return job.workers.device == "cuda"
    return gpu_count() > 0 if job.workers.gpus is None else job.workers.gpus > 0


def choose_workforce(job: JobConfig, weights_bytes: int, units: int) -> Workforce:
    """Choose the workers: what the job sets, and otherwise what suits this machine and the number of units.

    With GPUs: one worker a GPU. Without: one worker a core as far as memory goes, since two workers of one thread get
    more done than one worker of two. A worker holds one model at a time; `weights_bytes` is the size of the largest.
    """
    workers, cores, gpu = job.workers, len(os.sched_getaffinity(0)), uses_gpu(job)
    gpus = (1.0 if workers.gpus is None else workers.gpus) if gpu else 0.0
    device = "cuda" if gpu else "cpu"
    if workers.address is not None:
        needed = int((0.5 if gpu else 1.5) * weights_bytes) + WORKER_BYTES  # those for a GPU pass through, in 16 bits
        return Workforce(workers.count, workers.cpus or (4 if gpu else 1), gpus, device, needed)
    fitting = gpu_count() / gpus if gpus else memory_bytes() * 0.7 / (1.5 * weights_bytes + WORKER_BYTES)
    count = workers.count or max(1, min(units, int(fitting), cores // (workers.cpus or 1)))
    return Workforce(count, workers.cpus or max(1, cores // count), gpus, device)


def gpu_count() -> int:
    """Count the NVIDIA GPUs that this process may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([name for name in visible.split(",") if name.strip() not in {"", "-1"}])
    return len(list(NVIDIA.iterdir())) if NVIDIA.is_dir() else 0


def memory_bytes() -> int:
    """Return the memory of this machine, or less if the process's control group (cgroup) has a lower limit."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return min(machine, int(text)) if text.isdigit() else machine
