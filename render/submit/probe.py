"""The look at a cluster from inside: a script that a small job runs on the head, with nothing but Python and Ray there.

`python probe.py QUESTION` prints one line of JSON behind ANSWER_PREFIX. Where there are several nodes, a Ray task looks at
each. Nothing of the package is imported: it need not be installed there.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

ANSWER_PREFIX = "render-probe:"
SCRIPT = Path(__file__)
NODES_S = 60.0  # for the tasks of all nodes


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Return the head's Python, user and mounts; and for each node its libraries, package and view of the paths."""
    marks = [leave_mark(path) for path in question["writes"]]
    try:
        looks = on_nodes(question | {"marks": [str(mark) if mark else "" for mark in marks]})
    finally:
        for mark in filter(None, marks):
            with contextlib.suppress(OSError):
                mark.unlink()
    return {
        "python": sys.executable,
        "uid": os.getuid(),
        "mounts": {path: mount_type(path) for path in (*question["reads"], *question["writes"])},
        "nodes": looks,
    }


def look(question: dict[str, Any]) -> dict[str, Any]:
    """Return the libraries and the package of a node, and which of the paths it can read and write."""
    return {
        "versions": {name: installed(name) for name in question["libraries"]},
        "package": package_hash(question["package"]),
        "reads": {path: os.access(path, os.R_OK) for path in question["reads"]},
        "writes": {path: why_not(path) for path in question["writes"]},
        "marks": [bool(mark) and os.path.exists(mark) for mark in question["marks"]],
        "here": [os.path.exists(mark) for mark in question["here"]],
    }


def on_nodes(question: dict[str, Any]) -> dict[str, Any]:
    """Return the looks of all nodes by their ids; None for a node that does not answer in time."""
    nodes = question["nodes"]
    if len(nodes) < 2:
        return {node: look(question) for node in nodes[:1]}
    import logging

    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    task: Any = ray.remote(num_cpus=0)(look)
    asked = {
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(question): node
        for node in nodes
    }
    done, _ = ray.wait(list(asked), num_returns=len(asked), timeout=NODES_S)
    found: dict[str, Any] = dict.fromkeys(nodes)
    for reference in done:
        with contextlib.suppress(Exception):  # a node that was lost meanwhile
            found[asked[reference]] = ray.get(reference)
    return found


def nearest(path: str) -> Path:
    """Return the path itself or the nearest folder above it that is there."""
    return next(folder for folder in (Path(path), *Path(path).parents) if folder.exists())


def leave_mark(path: str) -> Path | None:
    """Write a file beside an output that is to come, by which other nodes recognise the folder; None where that fails."""
    mark = nearest(path) / f".render-mark-{uuid.uuid4().hex}"
    try:
        mark.touch()
    except OSError:
        return None
    return mark


def why_not(path: str) -> str:
    """Return why a folder can't be written, or made in the folder above it; "" where it can."""
    found = nearest(path)
    if not found.is_dir():
        return f"{found} is a file"
    if len(Path(path).relative_to(found).parts) > 1:
        return f"there is no {Path(path).parent} (create it; or is it not mounted?)"
    return "" if os.access(found, os.W_OK) else f"{found} can't be written"


def mount_type(path: str) -> str:
    """Return the type of the file system that a path is on, or would be; "" where that is not known."""
    found, kind = str(nearest(path).resolve()), ""
    with contextlib.suppress(OSError):
        longest = -1
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
            before, _, after = line.partition(" - ")
            point = before.split()[4].replace("\\040", " ")
            if len(point) >= longest and (found + "/").startswith(point.rstrip("/") + "/"):
                longest, kind = len(point), after.split()[0]
    return kind


def installed(name: str) -> str:
    """Return the version of a library, "" where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def package_hash(name: str) -> str:
    """Return the SHA-256 of the modules of a package, "" where it can't be found. The package is not loaded."""
    found = importlib.util.find_spec(name)
    if found is None or not found.origin or Path(found.origin).name != "__init__.py":
        return ""
    return modules_hash(Path(found.origin).parent)


def modules_hash(folder: Path) -> str:
    """Return the SHA-256 of all modules below a folder, with their names."""
    total = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        total.update(
            f"{file.relative_to(folder).as_posix()} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode()
        )
    return total.hexdigest()


if __name__ == "__main__":
    print(ANSWER_PREFIX + json.dumps(answer(json.loads(sys.argv[1]))), flush=True)
