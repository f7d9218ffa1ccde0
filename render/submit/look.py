"""Look at a cluster before anything is submitted to it: what its nodes have, what is installed, which paths it can reach."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from render.core import RunError, shorten
from render.job import Site
from render.submit.client import Dashboard
from render.submit.probe import ANSWER_PREFIX, SCRIPT, leave_mark

__all__ = ["Look", "Paths", "inspect_cluster", "site_of"]

PROBE_ID = "render-probe"
PROBE_S = 180.0  # for a job that takes 3 s on an idle head
POLL_S = 0.2
KEPT_S = 10.0
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True)
class Paths:
    """The local paths of a job."""

    reads: tuple[str, ...]  # files and folders; every node has to read them
    writes: tuple[str, ...]  # folders; every node has to write to them


@dataclass(frozen=True, slots=True)
class Look:
    """The answer of the job that looks at a cluster from inside."""

    python: str  # the interpreter of the head
    uid: int  # number of the user as whom Ray runs there
    versions: dict[str, tuple[str, ...]]  # of each library, all that the nodes have; "" for a node without it
    packages: tuple[str, ...]  # hashes of the installed package's modules, likewise
    mounts: dict[str, str]  # the type of the file system of each path on the head
    nodes: dict[str, dict[str, Any] | None]  # node id → its look; None where it did not answer
    is_shared: dict[str, bool]  # path to write to → it is the same folder here and on the head


def site_of(nodes: Sequence[dict[str, Any]]) -> Site:
    """Return what workers can have on the living nodes of a cluster."""

    def total(name: str) -> float:
        return sum(float(node["resources_total"].get(name, 0.0)) for node in nodes)

    return Site(int(total("CPU")), total("GPU"), int(total("memory")), is_cluster=True)


def inspect_cluster(
    dashboard: Dashboard, nodes: Sequence[dict[str, Any]], paths: Paths, libraries: Sequence[str], folder: Path
) -> Look:
    """Return what a small job finds on the cluster. Raises RunError where it can't run. `folder` is for its script."""
    script = folder / "probe.py"
    script.write_bytes(SCRIPT.read_bytes())
    first = sorted(nodes, key=lambda node: not node["is_head_node"])
    with _marks(paths.writes) as marks:
        question = {
            "reads": paths.reads,
            "writes": paths.writes,
            "here": marks,
            "nodes": [node["node_id"] for node in first],
            "libraries": libraries,
            "package": "render",
        }
        found = _ask(dashboard, question, folder)
    head = next(iter(found["nodes"].values()), None) or {}
    own = [found["nodes"].get(node["node_id"]) for node in first if node["is_head_node"] or _has_workers(node, nodes)]
    seen = dict(zip(paths.writes, head.get("here", []), strict=False))
    return Look(
        python=str(found["python"]),
        uid=int(found["uid"]),
        versions={name: _distinct(one["versions"][name] for one in own if one is not None) for name in libraries},
        packages=_distinct(one["package"] if one is not None else "" for one in own),
        mounts=found["mounts"],
        nodes=found["nodes"],
        is_shared={path: bool(seen.get(path)) for path in paths.writes},
    )


def _has_workers(node: dict[str, Any], nodes: Sequence[dict[str, Any]]) -> bool:
    """Return True for a node that workers may run on: where a cluster has GPUs, one with a GPU."""
    return not site_of(nodes).gpus or bool(site_of([node]).gpus)


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(values)))


def _ask(dashboard: Dashboard, question: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run the probe as a job, and take those of earlier submissions out of the list of jobs."""
    _sweep(dashboard)
    name = f"{PROBE_ID}-{uuid4().hex[:6]}"
    entrypoint = f"python probe.py {shlex.quote(json.dumps(question))}"
    dashboard.submit(name, entrypoint, {"working_dir": str(folder)}, {"job_name": PROBE_ID})
    end_s = time.monotonic() + PROBE_S
    while (found := dashboard.job(name) or {}).get("status") not in ENDED:
        if time.monotonic() > end_s:
            dashboard.stop(name)
            got = f"{found.get('status')}: {shorten(found.get('message'))}"
            raise RunError(f"{dashboard.address}: required a look at the cluster in {PROBE_S:g} s, got none ({got})")
        time.sleep(POLL_S)
    log = dashboard.log(name)
    for line in reversed(log.splitlines()):
        if line.startswith(ANSWER_PREFIX):
            answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER_PREFIX))
            return answer
    last = (log.strip().splitlines() or [str(found.get("message", ""))])[-1]
    hint = " (`python` of the head's PATH has to be the one that Ray runs in)"
    raise RunError(f"{dashboard.address}: required a look at the cluster by a small job, got {shorten(last)}{hint}")


def _sweep(dashboard: Dashboard) -> None:
    """Delete looks that have ended a while ago. Ray puts one that is deleted within a second back, as a failed one."""
    for job in dashboard.jobs():
        ended_s = (job.get("end_time") or 0) / 1000
        if (
            job["submission_id"].startswith(f"{PROBE_ID}-")
            and job["status"] in ENDED
            and time.time() - ended_s > KEPT_S
        ):
            with suppress(RunError):  # another submission does the same
                dashboard.delete(job["submission_id"])


@contextmanager
def _marks(folders: Sequence[str]) -> Iterator[list[str]]:
    """Write a mark beside each folder, as far as that can be done here, for the head to find; delete them at the end."""
    with ExitStack() as stack:
        marks = []
        for folder in folders:
            mark = leave_mark(folder)
            marks.append(str(mark) if mark else os.devnull + "/none")
            if mark:
                stack.callback(mark.unlink, missing_ok=True)
        yield marks
