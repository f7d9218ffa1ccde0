"""The program's signal handlers, while Ray runs and after its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from render.cluster.ray_link import RayLink
from render.job import Workforce

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


def test_a_signal_while_the_guardian_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is dismissed, so that it does not say of a run that was stopped that it was killed."""
    done, is_handled = list[str](), Event()

    class Interrupted:
        def __init__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            assert is_handled.wait(60)
            done.append("made")

        def hush(self) -> None:
            done.append("hush")

        def kill(self) -> None: ...

        def end(self, is_free: bool) -> None:
            done.append(f"end {is_free}")

    def stop(*_: object) -> None:
        is_handled.set()
        raise KeyboardInterrupt

    monkeypatch.setattr("render.cluster.ray_link.LocalRay", Interrupted)
    before = signal.signal(signal.SIGTERM, stop)
    try:
        link = RayLink(Workforce(1, 1, 0.0, "cpu"), None)
        with pytest.raises(KeyboardInterrupt):
            link.start()
        link.end()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["made", "hush", "end True"]
