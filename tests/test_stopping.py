"""Signals to the command, from its first moment: one line, and nothing left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from stores import command, environment, heeded, processes_of, wait_until

pytest_plugins = ["stores"]

STOPPED = "\nrender: stopped. What is committed stays; the same command resumes.\n"
SLOW_IMPORT = """
import sys, time
from pathlib import Path

class Found:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            Path({there!r}).touch()
            try:
                while True:
                    time.sleep(0.01)
                    if Path({go!r}).exists():
                        break
            except BaseException:  # as some packages do in their imports
                pass
        return None

sys.meta_path.insert(0, Found())
from render.__main__ import main
raise SystemExit(main())
"""


def start(folder: Path, tmp: Path, module: str) -> subprocess.Popen[str]:
    """`render run` that is held in the import of a module until a file `go` is there."""
    (folder / "m.csv").write_text("prompt\na cat\n")
    script = SLOW_IMPORT.format(module=module, there=str(folder / "there"), go=str(folder / "go"))
    arguments = ("run", str(folder / "m.csv"), f"output={folder / 'out'}", "workers.count=1", "workers.cpus=1")
    with heeded():
        run = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=environment(tmp),
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    wait_until((folder / "there").exists, "the import")
    return run


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_while_the_command_is_imported(tmp_path: Path, short_tmp: Path, sent: signal.Signals) -> None:
    run = start(tmp_path, short_tmp, "render.cli")
    run.send_signal(sent)
    assert run.communicate(timeout=60) == ("", STOPPED)
    assert run.returncode == 1


def test_while_a_library_is_imported_that_swallows_what_is_raised(tmp_path: Path, short_tmp: Path) -> None:
    run = start(tmp_path, short_tmp, "torch")
    run.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    out, said = run.communicate(timeout=60)
    assert (run.returncode, out) == (1, "")
    assert said.endswith(STOPPED)
    assert "Traceback" not in said
    wait_until(lambda: not processes_of(short_tmp), "the end of every process")
    assert not list(short_tmp.glob("render-*"))


def test_a_second_signal_ends_at_once(tmp_path: Path, short_tmp: Path) -> None:
    script = """
import os, signal, time
from render.stopping import stoppable
with stoppable():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(100)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", STOPPED)


@pytest.mark.parametrize("ignored", [signal.SIGHUP, signal.SIGINT])
def test_what_is_ignored_stays_ignored(tmp_path: Path, ignored: signal.Signals) -> None:
    """`nohup render …`, or `render … &` in a script."""
    script = f"""
import os, signal
from render.stopping import stop_at_once, stoppable
stop_at_once()
os.kill(os.getpid(), {int(ignored)})
with stoppable():
    os.kill(os.getpid(), {int(ignored)})
print("goes on")
"""
    before = signal.signal(ignored, signal.SIG_IGN)
    try:
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    finally:
        signal.signal(ignored, before)
    assert (done.returncode, done.stdout, done.stderr) == (0, "goes on\n", "")


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    """What is written then goes nowhere, and is no error: the command cleans up to its end."""
    ended, up = tmp_path / "ended", tmp_path / "up"
    script = f"""
import sys, time
from pathlib import Path
from render.stopping import STOPPED, stoppable
try:
    with stoppable():
        Path({str(up)!r}).touch()
        time.sleep(100)
except KeyboardInterrupt:
    print(STOPPED, file=sys.stderr, flush=True)
    Path({str(ended)!r}).touch()
"""
    with heeded():
        process, terminal = pty.fork()
        if not process:
            os.execv(sys.executable, [sys.executable, "-c", script])
    wait_until(up.exists, "the command")
    os.close(terminal)
    wait_until(ended.exists, "its end")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


@pytest.mark.parametrize("arguments", [(), ("plan",)])
def test_exit_codes_are_those_of_the_command(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "required" in done.stderr
