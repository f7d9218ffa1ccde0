"""Ray on this machine, started for one run: on loopback, with its own folder, watched, restarted and ended."""

from __future__ import annotations

import logging
import os
import signal
from pathlib import Path

import ray
from ray._private import ray_constants
from ray._private import worker as ray_worker

from render.cluster.guardian import Guardian, end_processes, lives, marked, processes_of
from render.core import OwnedFolder
from render.job import Workforce

__all__ = ["LocalRay", "RayLostError", "start_local_ray"]

LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
PREFIX = "render-ray-"
SERVERS = ("gcs_server", "raylet")  # without these Ray is no more
SETTINGS = {"task_events_report_interval_ms": 0}  # else the end of a Ray that was killed waits 5 s to report events


class RayLostError(Exception):
    """A process that Ray can't be without has ended, or does not answer any more."""


class LocalRay:
    """The processes and the folder of a Ray that this process starts."""

    def __init__(self) -> None:
        """Sweep up after runs that were killed, together with what watched over them."""
        self._folder = OwnedFolder(PREFIX, end_processes)
        self._guardian = Guardian(self._folder.path)
        self._servers: dict[int, str] = {}  # process id → name, as far as they were seen while Ray starts

    def start(self, force: Workforce) -> None:
        self._servers = {}
        with marked(self._folder.path):
            start_local_ray(force, str(self._folder.path))

    def check(self) -> None:
        """Raise RayLostError if one of Ray's servers has ended."""
        node = ray_worker._global_node
        if node is not None:
            for name in SERVERS:
                for started in node.all_processes.get(name, ()):
                    code = started.process.poll()
                    if code is not None:
                        raise RayLostError(f"Ray's {name} {_ending(code)}")
            return
        for process in processes_of(self._folder.path):
            if name := _server_name(process):
                self._servers.setdefault(process, name)
        for process, name in self._servers.items():
            if not lives(process):
                raise RayLostError(f"Ray's {name} was killed while Ray started")

    def kill(self) -> None:
        """End all processes. What waits for them in this process returns, as a rule."""
        end_processes(self._folder.path)

    def end(self, is_free: bool) -> None:
        """Delete the folder, and let the guardian go, unless some thread may be starting processes still."""
        self.kill()
        self._folder.delete()
        if is_free:
            self._guardian.dismiss()
        else:
            self._guardian.hush()


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
            _system_config=SETTINGS,
        )
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        del os.environ[LOOPBACK_SWITCH]


def _server_name(process: int) -> str:
    """Return which of SERVERS a process is; "" if none."""
    try:
        program = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    return name if (name := os.path.basename(program)) in SERVERS else ""


def _ending(code: int) -> str:
    """Return how a process ended, from its exit code, which is negative for a signal."""
    if code == -signal.SIGKILL:
        return "was killed, by hand or by the system when memory ran out"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
