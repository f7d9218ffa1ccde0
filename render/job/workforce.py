"""Choose number and size of the workers by the cores, memory and GPUs of the place where they run. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from render.job.keys import JobConfig

__all__ = ["Site", "Workforce", "choose_workforce", "expected_workers", "this_machine", "uses_gpu"]

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


@dataclass(frozen=True, slots=True)
class Site:
    """The place where workers run: this machine, or the living nodes of a Ray cluster taken together."""

    cores: int
    gpus: float
    memory_bytes: int  # of a cluster, what Ray gives to tasks
    is_cluster: bool = False


def this_machine() -> Site:
    """Return what this process may use of its machine."""
    return Site(len(os.sched_getaffinity(0)), gpu_count(), memory_bytes())


def uses_gpu(job: JobConfig, site: Site | None = None) -> bool:
    """Decide whether the job's workers get GPUs: as the job says, by default if the site has one (this machine for None)."""
    if job.workers.device != "auto":
        return job.workers.device == "cuda"
    if job.workers.gpus is not None:
        return job.workers.gpus > 0
    return (site or this_machine()).gpus > 0


def choose_workforce(job: JobConfig, weights_bytes: int, units: int, site: Site) -> Workforce:
    """Choose the workers: what the job sets, and otherwise what suits the site and the number of units.

    With GPUs: one worker a GPU. Without: one worker a core as far as memory goes, since two workers of one thread get
    more done than one worker of two. A worker holds one model at a time; `weights_bytes` is the size of the largest. On a
    cluster the count stays open: Ray finds room for as many as fit.
    """
    workers, gpu = job.workers, uses_gpu(job, site)
    gpus = (1.0 if workers.gpus is None else workers.gpus) if gpu else 0.0
    device = "cuda" if gpu else "cpu"
    if site.is_cluster:
        needed = int((0.5 if gpu else 1.5) * weights_bytes) + WORKER_BYTES  # those for a GPU pass through, in 16 bits
        return Workforce(workers.count, workers.cpus or (4 if gpu else 1), gpus, device, needed)
    fitting = site.gpus / gpus if gpus else site.memory_bytes * 0.7 / (1.5 * weights_bytes + WORKER_BYTES)
    count = workers.count or max(1, min(units, int(fitting), site.cores // (workers.cpus or 1)))
    return Workforce(count, workers.cpus or max(1, site.cores // count), gpus, device)


def expected_workers(force: Workforce, site: Site) -> int:
    """Return the number of workers, at least 1: where that is open, as many as the site has cores and GPUs for."""
    if force.count is not None:
        return force.count
    fitting = site.cores // force.threads
    return max(1, min(fitting, int(site.gpus / force.gpus)) if force.gpus else fitting)


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
