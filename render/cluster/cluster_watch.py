"""A look, now and then, whether a Ray cluster is still there. Nothing here starts or ends any of it."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from threading import Event, Thread

import ray
from ray._private import worker as ray_worker

from render.cluster.guardian import lives
from render.cluster.local_ray import RayLostError

__all__ = ["ClusterWatch"]

LOOK_S = 3.0  # between two looks
ANSWER_S = 3.0  # to answer one
PATIENCE_S = 30.0  # a head that restarts and keeps its state elsewhere may take a while
CREDENTIALS = struct.Struct("3i")  # process, user and group at the other end of a Unix socket


class ClusterWatch:
    """Thread that looks for the cluster's head, and for the raylet that this process belongs to."""

    def __init__(self, head: tuple[str, int], raylet: int | None) -> None:
        """`head` is host and port of the head's gcs_server; `raylet` a process of this machine, None if there is none."""
        self._head, self._raylet = head, raylet
        self._silent_since: float | None = None
        self._ended = Event()
        Thread(target=self._look, name="cluster", daemon=True).start()

    @classmethod
    def of_this_process(cls) -> ClusterWatch | None:
        """Return a watch of the cluster that Ray is connected to; None where its head is not known, as with ray://."""
        node = ray_worker._global_node
        if node is None or not ray.is_initialized():
            return None
        host, _, port = (node.gcs_address or "").rpartition(":")
        return cls((host.strip("[]"), int(port)), _peer(node.raylet_socket_name))

    @property
    def trouble(self) -> str:
        """What is waited for; empty if the head answers."""
        if (since := self._silent_since) is None:
            return ""
        return (
            f"the head of the Ray cluster at {self._name}, which has not answered for {time.monotonic() - since:.0f} s"
        )

    def check(self) -> None:
        """Raise RayLostError when the head has not answered for PATIENCE_S, or the raylet of this machine is no more."""
        if (since := self._silent_since) is not None and time.monotonic() - since > PATIENCE_S:
            raise RayLostError(f"the head of the Ray cluster at {self._name} does not answer any more")
        if self._raylet is not None and not lives(self._raylet):
            raise RayLostError("the raylet that connects this machine to the Ray cluster has ended")

    def stop(self) -> None:
        self._ended.set()

    @property
    def _name(self) -> str:
        return f"{self._head[0]}:{self._head[1]}"

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            began_s = time.monotonic()
            try:
                socket.create_connection(self._head, ANSWER_S).close()
                self._silent_since = None
            except OSError:
                self._silent_since = self._silent_since or began_s


def _peer(path: str) -> int | None:
    """Return the process at the other end of a Unix socket; None if that is in another container, or there is none."""
    with suppress(OSError), socket.socket(socket.AF_UNIX) as link:
        link.settimeout(ANSWER_S)
        link.connect(path)
        process, _, _ = CREDENTIALS.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
        return process or None
    return None
