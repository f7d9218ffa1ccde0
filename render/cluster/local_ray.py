"""Ray on this machine, started for one run: on loopback, with its own folder, watched, restarted and ended."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import Any

import ray
from ray._private import node, ray_constants, services

from render.cluster.guardian import MARK, Guardian, end_processes, marked, processes_of
from render.core import OwnedFolder
from render.job import Workforce

__all__ = ["LocalRay", "RayLostError", "start_local_ray"]

NODE: Any = node  # of Ray's library, whose functions are replaced while it starts
SERVICES: Any = services
LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
PREFIX = "render-ray-"
GCS = "gcs_server"
SERVERS = (GCS, "raylet")  # without these Ray is no more
SLICE_MS = 500  # of a wait for Ray's gcs_server
SETTINGS = {"task_events_report_interval_ms": 0}  # else the end of a Ray that was killed waits 5 s to report events


class RayLostError(Exception):
    """A process that Ray can't be without has ended, or does not answer any more."""


class LocalRay:
    """The processes and the folder of a Ray that this process starts."""

    def __init__(self) -> None:
        """Sweep up after runs that were killed, together with what watched over them."""
        self._folder = OwnedFolder(PREFIX, end_processes)
        self._guardian = Guardian(self._folder.path)
        self._servers: dict[str, Popen[bytes]] = {}  # by their names in SERVERS
        self._gcs_command: list[str] = []
        self._is_ending = False  # no more processes are started

    def start(self, force: Workforce) -> None:
        """Start Ray. Raises RayLostError if one of its servers ends meanwhile, where Ray's library gives control back."""
        self._servers, self._is_ending = {}, False
        with marked(self._folder.path), self._attended():
            start_local_ray(force, str(self._folder.path))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep what is written to stderr in a file; pass it on if all went well.

        When its raylet is killed, Ray's library may end this process with words of its own. The guardian has better ones.
        """
        before = os.dup(2)
        with (self._folder.path / "stderr").open("w+b") as file:
            os.dup2(file.fileno(), 2)
            try:
                yield
            finally:
                os.dup2(before, 2)
                os.close(before)
            file.seek(0)
            with suppress(OSError):
                os.write(2, file.read())

    def sign(self) -> None:
        """Give a sign of life while Ray starts: its library may hang in a way that stops all of Python here."""
        self._guardian.sign()

    def hush(self) -> None:
        """Let the guardian say nothing from now on: whoever ends Ray has the last word, or a second signal has."""
        self._guardian.hush()

    def relax(self) -> None:
        """Note that it has started."""
        self._guardian.relax()

    def check(self) -> None:
        """Raise RayLostError if one of Ray's servers has ended."""
        for name, process in list(self._servers.items()):
            code = process.poll()
            if code is not None:
                raise RayLostError(f"Ray's {name} {_ending(code)}")

    @contextmanager
    def _attended(self) -> Iterator[None]:
        """Start no more of Ray than a run needs, note its servers, and look after them where Ray waits for half a minute."""
        begin, find, wait = SERVICES.start_ray_process, SERVICES.get_node, NODE.wait_for_persisted_port

        def begin_noted(command: list[str], process_type: str, *rest: Any, **options: Any) -> Any:
            self._go_on()
            started = begin(command, process_type, *rest, **options)
            if process_type in SERVERS:
                self._servers[process_type] = started.process
            if process_type == GCS:
                self._gcs_command = list(command)
            return started

        def find_checked(*arguments: Any, **options: Any) -> Any:
            self._go_on()
            return find(*arguments, **options)

        def wait_checked(*arguments: Any, timeout_ms: int, **options: Any) -> int:
            for _ in range(0, timeout_ms, SLICE_MS):
                with suppress(RuntimeError):
                    return int(wait(*arguments, timeout_ms=SLICE_MS, **options))
                self._go_on()
            return int(wait(*arguments, timeout_ms=0, **options))

        with ExitStack() as stack:
            replace = partial(_replaced, stack)
            replace(SERVICES, "start_ray_process", begin_noted)
            replace(SERVICES, "get_node", find_checked)
            replace(NODE, "wait_for_persisted_port", wait_checked)
            replace(SERVICES, "start_api_server", lambda *_, **__: ("", None))  # the dashboard's
            replace(NODE.Node, "start_monitor", lambda _: None)  # the autoscaler
            replace(NODE.Node, "start_log_monitor", lambda _: None)  # of what log_to_driver=False does not show
            yield

    def _go_on(self) -> None:
        """Raise RayLostError where the start of Ray is to be given up."""
        self.check()
        if self._is_ending:
            raise RayLostError("Ray was ended while it started")

    def give_up(self) -> None:
        """Start no more processes."""
        self._is_ending = True

    def release(self) -> None:
        """Let a call end that waits for a Ray of which a server was killed; `kill` has to follow.

        Ray's library waits for its gcs_server for good. So it is given one, which knows nothing of the call, and says so.
        """
        gcs = self._servers.get(GCS)
        if gcs is None:
            self.kill()
            return
        for process in processes_of(self._folder.path):
            if process != gcs.pid:
                with suppress(OSError):
                    os.kill(process, signal.SIGKILL)
        ports = sorted(self._folder.path.glob(f"session_2*/{GCS}_port_*"))
        if gcs.poll() is not None and ports:
            port = f"--{GCS}_port={ports[-1].read_text(encoding='ascii').strip()}"
            command = [port if part.startswith(f"--{GCS}_port=") else part for part in self._gcs_command]
            own = {**os.environ, MARK: str(self._folder.path)}  # os.environ has it as long as Ray starts, and no longer
            self._servers[GCS] = Popen(command, env=own, stdout=DEVNULL, stderr=DEVNULL)

    def kill(self) -> None:
        """End all processes."""
        end_processes(self._folder.path)
        for process in self._servers.values():
            with suppress(TimeoutExpired):
                process.wait(1.0)  # no zombies

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


def _replaced(stack: ExitStack, owner: Any, name: str, by: Callable[..., Any]) -> None:
    """Replace a function of Ray's until the stack is left."""
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, by)


def _ending(code: int) -> str:
    """Return how a process ended, from its exit code, which is negative for a signal."""
    if code == -signal.SIGKILL:
        return "was killed, by hand or by the system when memory ran out"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
