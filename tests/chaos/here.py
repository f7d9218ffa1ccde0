"""`render` in one process, without Ray: real files, the real engine or the painter, and the faults of a plan in it.

A process of its own has everything loaded, and forks one for each command; so a run that is killed takes a second. It reads
requests as lines of JSON on stdin, several commands at once, and answers with their exit codes:

    {"commands": [{"arguments": […], "cwd": …, "plan": {…}, "log": …, "file_bytes": null}]}  →  {"codes": [0]}
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent / "inside"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from sitecustomize import Chaos, arm

LIMIT_S = 120  # for one command
PLANTED = "RENDER_CHAOS_PLANTED" in os.environ


def serve() -> None:
    import torch
    from stores import Here

    import render.cluster.driver  # noqa: F401 (so that no run has to)
    from render.cli import main
    from render.engine import Renderer
    from render.models import resolve_model

    torch.set_num_threads(1)
    model = resolve_model("starter", None, Path.cwd())
    Renderer(model, "cpu", "float32", 1)  # what loading imports is imported here, once
    print("ready", flush=True)
    with patch("render.cluster.Cluster", Here):
        for line in sys.stdin:
            started = [_start(command, main) for command in json.loads(line)["commands"]]
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in started]
            print(json.dumps({"codes": codes}), flush=True)


def _start(command: dict[str, Any], main: Any) -> int:
    """Fork a process that runs a command. Returns its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        signal.alarm(LIMIT_S)
        log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(command["cwd"])
        os.environ["TMPDIR"] = command["tmp"]
        if limit := command.get("file_bytes"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        chaos = arm(command["plan"], "here")
        with (
            _unlocked() if command["plan"].get("unlocked") else nullcontext(),
            _planted() if PLANTED else nullcontext(),
        ):
            code = main(command["arguments"])
        _record_steps(chaos, Path(command["plan"]["marks"]))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextmanager
def _unlocked() -> Iterator[None]:
    """Have several runs share an output, as the workers of one run do: without a lock, and none deletes another's files."""
    from render.store import Ledger

    def lock(ledger: Ledger) -> Any:
        return nullcontext(lambda: None)

    with patch.object(Ledger, "lock", lock), patch.object(Ledger, "delete_orphans", lambda _: 0):
        yield


@contextmanager
def _planted() -> Iterator[None]:
    """Have commits replace each other, so that a test sees that such a fault is found."""
    link = os.link

    def replace(source: Path, target: Path) -> None:
        target.unlink(missing_ok=True)
        link(source, target)

    with patch("os.link", replace):
        yield


def _record_steps(chaos: Chaos, marks: Path) -> None:
    steps = list(chaos.steps)
    (marks / "steps.json").write_text(json.dumps(steps))


if __name__ == "__main__":
    serve()
