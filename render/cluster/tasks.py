"""Many small tasks on Ray whose results are files of their own: a function, and a list of what it is called with.

A task is called again elsewhere, by Ray, when its process or machine dies, and may then be done twice. An exception of the
function is no reason to call it again: it comes back in the place of its result.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else Ray warns on machines without GPUs

import ray
from ray.exceptions import RayError, RayTaskError

from render.cluster.local_ray import RayLostError
from render.cluster.ray_link import RayLink
from render.cluster.reasons import last_line, reason_of
from render.core import RunError
from render.job import Workforce

__all__ = ["Tasks"]

DEATHS_MAX = 2  # of the process that a task is called in, before the task is given up
IN_HAND = 256  # tasks that Ray has at a time: more than any cluster does at once, so that it knows what is wanted
LOOK_S = 1.0  # between two looks at Ray itself

Item = TypeVar("Item")


class Tasks:
    """Ray for some lists of tasks. A context manager: at its end Ray is shut down if it was started here."""

    def __init__(self, workforce: Workforce, address: str | None) -> None:
        """`workforce` is what a task takes of a machine; `address` that of a running Ray, None to start one."""
        self._force, self._link = workforce, RayLink(workforce, address)

    def __enter__(self) -> Tasks:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.end()

    def map(self, function: Callable[[Item], Any], items: Iterable[Item]) -> Iterator[tuple[Item, Any, str]]:
        """Yield (item, result, "") as they come, or (item, None, the error's last line). Raises RunError when Ray is lost.

        Functions and items are pickled. Processes are kept and used again, so that a function may keep what it has loaded.
        """
        try:
            self._link.start()
            remote: Any = ray.remote(
                num_cpus=self._force.threads, num_gpus=self._force.gpus, max_retries=DEATHS_MAX, retry_exceptions=False
            )(function)
            yield from self._results(remote, iter(items))
        except RayLostError as lost:
            raise RunError(f"Ray ended: {lost}") from lost

    def _results(self, remote: Any, items: Iterator[Item]) -> Iterator[tuple[Item, Any, str]]:
        given: dict[Any, Item] = {}
        while True:
            while len(given) < IN_HAND and (item := next(items, None)) is not None:
                given[self._link.call(lambda item=item: remote.remote(item))] = item  # type: ignore[misc]
            if not given:
                return
            ready, _ = self._link.call(lambda: ray.wait([*given], num_returns=1, timeout=LOOK_S))
            for reference in ready:
                yield given.pop(reference), *self._result(reference)

    def _result(self, reference: Any) -> tuple[Any, str]:
        try:
            return self._link.call(lambda: ray.get(reference)), ""
        except RayTaskError as error:
            return None, last_line(error)
        except RayError as error:
            return None, reason_of(error)
