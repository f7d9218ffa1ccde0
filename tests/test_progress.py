"""What is told while a job runs: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from render import progress


def prepared(frames: int = 10, *warnings: str) -> Any:
    return SimpleNamespace(warnings=warnings, counts=SimpleNamespace(frames=frames))


def play(report: Any, done_before: int = 0) -> None:
    """A run of ten frames, as a report sees it."""
    try:
        report.begin(prepared(10, "row 2: [odd]"), done_before)
        report.frames(0)
        report.frames(4)
        report.lost("it [died]")
        report.warn("odd [cards]")
        report.frames(6 - done_before)
        report.animating(1)
        report.animation(Path("a.gif"))
    finally:
        report.close()


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    play(progress._Lines())
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[:2] == ["warning: row 2: [odd]", "10 frames; starting workers"]
    assert "warning: a worker is replaced, what it had is rendered again: it [died]" in lines
    assert "warning: odd [cards]" in lines
    assert any(line.startswith("10/10 frames, ") for line in lines)
    assert "1 animation to write" in lines[-1]
    assert not re.search(r"[\r\x1b]", said.err)


def test_lines_of_a_resumed_run(capsys: pytest.CaptureFixture[str]) -> None:
    play(progress._Lines(), done_before=3)
    lines = capsys.readouterr().err.splitlines()
    assert lines[1] == "10 frames, 3 of them done before; starting workers"
    assert any(line.startswith("10/10 frames, ") for line in lines)


def test_lines_are_few(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One a ten seconds, however often frames are finished."""
    now = 100.0
    monkeypatch.setattr("render.progress.time.monotonic", lambda: now)
    report = progress._Lines()
    report.begin(prepared(1000), 0)
    for _ in range(100):
        now += 0.5
        report.frames(1)
    assert len(capsys.readouterr().err.splitlines()) <= 1 + 50 / 10 + 1


def read_terminal(descriptor: int) -> str:
    """What was written to a pseudo-terminal until its other side was closed."""
    said = b""
    try:
        while chunk := os.read(descriptor, 4096):
            said += chunk
    except OSError:  # EIO: nobody holds the other side any more
        pass
    os.close(descriptor)
    return said.decode()


BARS = """
from pathlib import Path
from types import SimpleNamespace
from render import progress
report = progress.make_report()
report.begin(SimpleNamespace(warnings=("row 2: [odd]",), counts=SimpleNamespace(frames=10)), 0)
report.frames(4)
report.lost("it [died]")
report.frames(6)
report.animating(1)
report.animation(Path("a.gif"))
report.close()
print(type(report).__name__)
"""


def test_bars_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    run = subprocess.Popen(
        [sys.executable, "-c", BARS], stdout=subprocess.PIPE, stderr=theirs, text=True, env=variables
    )
    os.close(theirs)
    said = read_terminal(ours)
    assert run.communicate()[0] == "_Bars\n"
    assert run.returncode == 0
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    assert "warning: row 2: [odd]" in plain
    assert "is replaced, what it had is rendered again: it [died]" in plain
    assert "10/10" in said
    assert "1/1" in said
    assert said.count("\x1b[?25h") >= said.count("\x1b[?25l") > 0, "the cursor is left hidden"


def test_no_bars_off_a_terminal() -> None:
    done = subprocess.run([sys.executable, "-c", BARS], capture_output=True, text=True, check=True)
    assert done.stdout == "_Lines\n"
    assert "\x1b" not in done.stderr


def test_a_notebook_is_told_and_a_program_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    progress.usual_report().begin(prepared(), 0)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "ipykernel", SimpleNamespace())
    progress.usual_report().begin(prepared(), 0)
    assert capsys.readouterr().err == "10 frames; starting workers\n"
