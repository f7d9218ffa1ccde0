"""cluster."""

from __future__ import annotations

from render.cluster.driver import Cluster
from render.cluster.worker import Setup

__all__ = [
    "Cluster",
    "Setup",
]
