"""Look at the place where the workers of a job run: this machine, or a Ray cluster, which a process of its own asks.

Ray's library takes a second to load, and ends its process where a cluster is gone. A plan can do without either.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from render.core import JobError, ObjectPath, shorten
from render.job import Site, this_machine
from render.prepare.address import check_address

__all__ = ["check_lasting", "look_at"]

LOOK_S = 90.0  # for a process that loads Ray and connects; 3 s are usual
SUBMITTED = (
    "RAY_JOB_CONFIG_JSON_ENV_VAR"  # by which Ray tells the driver of a submitted job; the look is no part of that job
)


def look_at(address: str | None) -> Site:
    """Return what workers can have, at the `workers.address` of a job. Raises JobError if no cluster can be used there."""
    if address is None or address == "local":
        return this_machine()
    check_address(address)
    environment = {name: value for name, value in os.environ.items() if name != SUBMITTED}
    command = [sys.executable, "-m", "render.cluster.cluster_facts", address]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LOOK_S, check=False)
        found = json.loads((done.stdout.splitlines() or [""])[-1])
        return Site(int(found["CPU"]), float(found["GPU"]), int(found["memory"]), is_cluster=True)
    except subprocess.TimeoutExpired:
        reason = f"no answer as from one in {LOOK_S:g} s"
    except (ValueError, LookupError, TypeError):
        reason = shorten((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    required = "the address HOST:PORT of a running Ray cluster, or auto inside one"
    raise JobError(f"key 'workers.address': required {required}; got {shorten(repr(address))} ({reason})")


def check_lasting(output: Path) -> None:
    """Raise JobError for an output in the folder that Ray has unpacked for a submitted job: nobody finds it, and it goes."""
    if isinstance(output, ObjectPath) or not output.is_relative_to(Path.cwd()):
        return
    if not _working_folder().startswith("local://"):
        required = "required a place that lasts, s3://BUCKET/PREFIX or an absolute folder that all nodes share"
        got = f"{output} in the working folder of a submitted job, which Ray deletes"
        raise JobError(f"key 'output': {required}; got {got}")


def _working_folder() -> str:
    """Return the URI of the folder that this process was submitted with; local:// for none, or none that Ray tells of."""
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        found = json.loads(os.environ[SUBMITTED])["runtime_env"]["working_dir"]
        return str(found or "local://")
    return "local://"
