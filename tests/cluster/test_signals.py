"""The program's signal handlers, while Ray runs and after its end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STOPPED = """
import os, signal, sys
from pathlib import Path
from types import SimpleNamespace
from render.cluster.driver import Cluster
from render.job.workforce import Workforce

def stop(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, stop)
try:
    with Cluster(SimpleNamespace(out=Path(sys.argv[1])), Workforce(1, 1, 0.0, "cpu"), None, 60.0) as cluster:
        list(cluster.render(iter([]), None))  # it starts Ray, and there is nothing to do
        os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped while it ran")
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    print("stopped after its end")
"""


def test_ray_leaves_the_handler_of_sigterm_alone(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STOPPED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stopped while it ran\nstopped after its end\n", "")
