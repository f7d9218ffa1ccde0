"""The machines of a Ray cluster: how many workers fit on them, and which are about to end. Pure: no Ray, no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from render.job import Workforce

__all__ = ["Node", "bundle_of", "fitting_workers", "lack_of", "shared_memory"]

ROUNDING = 1e-6  # of a sum of fractions


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster that is there."""

    id: str  # Ray's
    cpus: float = 0.0
    gpus: float = 0.0
    memory_bytes: float = 0.0  # that it declares for what asks for memory; 0: it declares none
    ends_s: float | None = None  # Unix time at which it ends, `inf` if it does at some time; None if it stays


def fitting_workers(nodes: Iterable[Node], force: Workforce) -> int:
    """Return the number of workers that fit on the nodes that stay, whatever else runs there.

    >>> force = Workforce(count=None, threads=2, gpus=0.5, device="cuda")
    >>> fitting_workers([Node("a", cpus=5, gpus=4), Node("b", cpus=8, gpus=1), Node("c", cpus=1)], force)
    4
    """
    return sum(_fitting(node, force) for node in nodes)


def shared_memory(nodes: Iterable[Node], force: Workforce) -> int:
    """Return the memory that a worker may ask for, in bytes, so that no fewer workers fit than by CPUs and GPUs; 0: none.

    >>> force = Workforce(count=None, threads=2, gpus=0, device="cpu", memory_bytes=3 * 10**9)
    >>> shared_memory([Node("a", cpus=4, memory_bytes=16e9), Node("b", cpus=4, memory_bytes=5e9)], force)
    2500000000
    """
    shares = [node.memory_bytes / count for node in nodes if (count := _fitting(node, force))]
    return min(force.memory_bytes, int(min(shares, default=0)))


def bundle_of(force: Workforce, memory_bytes: int) -> dict[str, float]:
    """Return what a worker takes of a node, by the names that Ray has for it."""
    asked = {"CPU": force.threads, "GPU": force.gpus, "memory": memory_bytes}
    return {name: amount for name, amount in asked.items() if amount}


def lack_of(nodes: Collection[Node], force: Workforce) -> str:
    """Return what a worker takes of one machine, and what the machines have that stay.

    >>> lack_of([Node("a", cpus=3, gpus=8), Node("b", cpus=2)], Workforce(None, 4, 1.0, "cuda"))
    'required a machine with 4 CPUs and 1 GPU, got 2 machines with 5 CPUs and 8 GPUs in all'
    """
    staying = [node for node in nodes if node.ends_s is None]
    cpus, gpus = sum(node.cpus for node in staying), sum(node.gpus for node in staying)
    required = f"{_amount(force.threads, 'CPU')} and {_amount(force.gpus, 'GPU')}"
    return (
        f"required a machine with {required}, got {_amount(len(staying), 'machine')} with {_amount(cpus, 'CPU')}"
        f" and {_amount(gpus, 'GPU')} in all"
    )


def _amount(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'' if number == 1 else 's'}"


def _fitting(node: Node, force: Workforce) -> int:
    if node.ends_s is not None:
        return 0
    by_cpus = int(node.cpus / force.threads + ROUNDING)
    if not force.gpus:
        return by_cpus
    if force.gpus < 1:  # a worker's share is of one GPU
        return min(by_cpus, int(node.gpus + ROUNDING) * int(1 / force.gpus + ROUNDING))
    return min(by_cpus, int(node.gpus / force.gpus + ROUNDING))
