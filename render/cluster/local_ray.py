"""A Ray for one process alone, on loopback."""

from __future__ import annotations

import logging
import os

import ray
from ray._private import ray_constants

from render.job import Workforce

__all__ = ["start_local_ray"]

LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def start_local_ray(force: Workforce, folder: str) -> None:
    """Start a Ray for this process alone, on loopback, with its files in `folder`."""
    # Ray replaces 127.0.0.1 by the machine's address unless clusters are switched off. This process has read the switch
    # into a constant when it imported ray; the processes that Ray starts read the environment variable.
    enabled, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    os.environ[LOOPBACK_SWITCH] = "0"
    try:
        ray.init(
            address="local",
            num_cpus=(force.count or 1) * force.threads,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=128 * 2**20,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        del os.environ[LOOPBACK_SWITCH]
