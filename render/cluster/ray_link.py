"""The connection to Ray: one that is started here, a cluster at an address, or one that the program has begun itself.

Calls into Ray that may wait for one of its servers are made in a thread of their own, so that the run notices within
seconds when a server is gone, instead of being ended by Ray's library after a minute.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import ray
from ray._private import state as ray_state
from ray._private import worker as ray_worker
from ray.exceptions import RayError

from render.cluster.cluster_watch import ClusterWatch
from render.cluster.local_ray import LocalRay, RayLostError
from render.cluster.ray_calls import CallThread
from render.cluster.room import Node
from render.cluster.signals import sigterm_kept
from render.core import RunError
from render.job import Workforce

__all__ = ["RayLink"]

Result = TypeVar("Result")
START_S = 120.0  # that Ray may take to start; 3 s are usual
CONNECT_S = 40.0  # to connect to a cluster
END_S = 10.0  # to take leave of one
FINISH_S = 3.0  # for a call to end while Ray's servers are there
FREE_S = 10.0  # for a call to end whose servers were killed
PATIENCE_S = {  # of Ray's library
    "RAY_gcs_rpc_server_reconnect_timeout_s": 10 * 86400,  # then it ends this process without a word of ours
    "RAY_raylet_start_wait_time_s": 2,  # then it looks up from waiting for a raylet; it waits for 30 s in all
}


class RayLink:
    """Ray for one run; ended with it if it was started for it."""

    def __init__(self, workforce: Workforce, address: str | None) -> None:
        self._workforce, self._address = workforce, None if address == "local" else address
        self._owns = not ray.is_initialized()
        self._calls = CallThread()
        self.background = CallThread()  # for calls that nobody waits for, to a cluster
        self._local: LocalRay | None = None
        self._cluster: ClusterWatch | None = None

    @property
    def restarts(self) -> bool:
        """True for a Ray that is this run's own."""
        return self._local is not None

    @property
    def trouble(self) -> str:
        """What a cluster is waited for with; empty if it answers."""
        return self._cluster.trouble if self._cluster else ""

    def start(self) -> None:
        """Start Ray or connect to it, if it is not. Raises RayLostError, and RunError for a cluster that can't be used."""
        if not ray.is_initialized():
            for name, seconds in PATIENCE_S.items():
                os.environ.setdefault(name, str(seconds))
            with sigterm_kept() as keep, _without_state_dumps():
                if self._address is None:
                    self._start_local(keep)
                else:
                    self._connect(keep)
        if self._local is None:
            self._cluster = ClusterWatch.of_this_process()

    def call(self, function: Callable[[], Result]) -> Result:
        """Return `function()`, which calls into Ray. Raises RayLostError when Ray is gone."""
        try:
            return self._calls.call(function, self.check)
        except (RayError, OSError):
            self.check()
            raise

    @staticmethod
    def nodes() -> list[Node]:
        """Return the machines that are there. The call may not return: see `call`."""
        ends: dict[str, int] = {}
        with suppress(Exception):  # behind ray:// nobody knows
            ends = ray_state.state.get_draining_nodes()  # node → milliseconds of Unix time, 0: at no set time
        found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return [_node(facts, ends) for facts in found if facts["Alive"]]

    @staticmethod
    def request(count: int, bundle: dict[str, float]) -> None:
        """Ask the cluster's autoscaler to have room for so many workers; 0 takes that back. Nobody minds without one.

        The call may not return: see `call`. Raises what Ray raises.
        """
        from ray.autoscaler.sdk import request_resources

        request_resources(bundles=[bundle] * count)

    def check(self) -> None:
        """Raise RayLostError when Ray is gone."""
        if self._local:
            self._local.check()
        elif self._cluster:
            self._cluster.check()

    def restart(self) -> None:
        """Start a Ray of one's own anew. Raises RayLostError, and RunError where this process can't have another."""
        assert self._local is not None
        if not self._shut_down():
            raise RunError("Ray: required to start it anew, but its library is still busy with the one that was killed")
        self.start()

    def end(self) -> None:
        """End what was started, within seconds."""
        is_free = True
        if self._cluster:
            self._cluster.stop()
        if self._owns and self._address is None and self._local is None:
            self._calls.is_free(END_S)  # it may be about to be there
        if self._local:
            self._local.hush()
        if self._owns:
            is_free = self._shut_down()
        if self._local:
            self._local.end(is_free)
        self._calls.close()
        self.background.close()

    def _start_local(self, keep_handler: Callable[[], None]) -> None:
        self._calls.call(self._prepare_local, keep_handler)
        local = self._local
        assert local is not None

        def look() -> None:
            local.sign()
            keep_handler()
            local.check()

        try:
            with local.quiet():
                try:
                    self._calls.call(lambda: local.start(self._workforce), look, START_S)
                except Exception:
                    self._shut_down()  # what the library says of it is no news
                    raise
            local.relax()
        except TimeoutError as error:
            raise RayLostError(f"Ray did not start in {START_S:g} s") from error
        except Exception as error:
            if isinstance(error, RayLostError):
                raise
            raise RayLostError(f"Ray did not start: {_first_line(error)}") from error

    def _prepare_local(self) -> None:
        """Make the folder and the guardian: in the thread for calls, where no signal interrupts it half-way."""
        self._local = self._local or LocalRay()

    def _connect(self, keep_handler: Callable[[], None]) -> None:
        where = f"workers.address: required a Ray cluster at {self._address}, "
        try:
            self._calls.call(
                lambda: ray.init(address=self._address, log_to_driver=False, logging_level=logging.ERROR),
                keep_handler,
                CONNECT_S,
            )
        except TimeoutError as error:
            raise RunError(f"{where}got no answer as from one in {CONNECT_S:g} s") from error
        except (RayError, OSError, RuntimeError, ValueError) as error:
            raise RunError(f"{where}got {type(error).__name__}: {_first_line(error)}") from error

    def _shut_down(self) -> bool:
        """Shut Ray's library down. Returns False if a call into it does not return, and no other can be made."""
        if not self._local and not self.background.is_free(FINISH_S):  # the library might crash under it
            atexit.unregister(ray.shutdown)
            return False
        if self._local and not self._calls.is_free(0.0):
            self._local.give_up()
            with suppress(RayLostError):
                self._local.check()
                self._calls.is_free(FINISH_S)
        if self._local and not self._calls.is_free(0.0):
            self._local.release()
        is_free = self._calls.is_free(FREE_S if self._local else 0.0)
        if self._local:
            self._local.kill()  # at once: what is committed is on disk, and helpers of Ray outlive it by many seconds
        if not is_free and ray_worker._global_node is None:  # it holds Ray's lock: shutdown would wait for it
            atexit.unregister(ray.shutdown)
            return False
        if not is_free:
            self._calls.close()
            self._calls = CallThread()
        with sigterm_kept() as keep, suppress(TimeoutError, RayError, OSError):
            self._calls.call(ray.shutdown, keep, END_S)
            return True
        atexit.unregister(ray.shutdown)
        return False


@contextmanager
def _without_state_dumps() -> Iterator[None]:
    """Start Ray without the thread that prints raylets' logs when a machine is lost: this run says it in a line."""
    listen, ray_worker.listen_error_messages = ray_worker.listen_error_messages, lambda *_: None
    try:
        yield
    finally:
        ray_worker.listen_error_messages = listen


def _node(facts: dict[str, Any], ends: dict[str, int]) -> Node:
    has, end_ms = facts["Resources"], ends.get(facts["NodeID"])
    ends_s = None if end_ms is None else (end_ms / 1000 or math.inf)
    return Node(facts["NodeID"], has.get("CPU", 0.0), has.get("GPU", 0.0), has.get("memory", 0.0), ends_s)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
