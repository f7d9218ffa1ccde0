"""The status of a submitted job, by its id: Ray's word and the status of its output, once and until both have ended."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from render import plan_job
from render.cli import main
from render.core import Receipt, RunError
from render.prepare import Prepared, Silent, record_or_resume
from render.store import EventLog, Ledger
from render.submit import jobs

ADDRESS = "http://head:8265"


class Head:
    """A dashboard with one job, whose states come one after another; each question takes the next."""

    address = ADDRESS

    def __init__(self, out: Path, manifest: str, states: Iterator[str | None]) -> None:
        self._states, self._state = states, ""
        self._own = {"nightrender": "0", "output": str(out), "manifest": manifest}

    def job(self, name: str) -> dict[str, Any] | None:
        self._state = next(self._states, None) or self._state
        if self._state == "away":
            raise RunError("no answer there")
        if name != "night-1" or self._state == "forgotten":
            return None
        return {"submission_id": name, "status": self._state, "metadata": self._own, "message": "exit code 1"}

    def jobs(self) -> list[dict[str, Any]]:
        return []


Begin = Callable[..., Prepared]


@pytest.fixture
def begun(tmp_path: Path) -> Prepared:
    """An output of four frames in one unit, of which none is rendered."""
    (tmp_path / "m.csv").write_text("prompt,seed\n" + "".join(f"3d dog,{seed}\n" for seed in range(4)))
    prepared = plan_job(tmp_path / "m.csv", "sampling.steps=2", f"output={tmp_path / 'out'}")
    record_or_resume(prepared)
    Ledger(prepared.job.output).create()
    return prepared


@pytest.fixture
def head(begun: Prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A function that has the head answer in these words."""

    def answer(*states: str, out: Path | None = None, manifest: str = "") -> None:
        own = manifest or begun.plan.fingerprint["manifest"]
        stand = Head(out or begun.job.output, own, iter(states))
        monkeypatch.setattr(jobs, "connect", lambda _: stand)

    monkeypatch.setattr(time, "sleep", lambda _: None)
    return answer


def code(*options: str) -> int:
    return main(["status", "night-1", "--address", ADDRESS, *options])


def stopped(prepared: Prepared) -> None:
    """A run that has ended before its time."""
    ledger = Ledger(prepared.job.output)
    with pytest.raises(KeyboardInterrupt), ledger.lock(), EventLog(ledger.folder, Silent()):
        raise KeyboardInterrupt


def test_a_job_that_fails_before_it_opens_its_log_ends_the_watch(
    head: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    head("PENDING", "PENDING", "RUNNING", "FAILED")
    assert code("--watch") == 1
    lines = capsys.readouterr().out.splitlines()
    assert "new, 0 of 4 frames (0 %), night-1 pending" in lines[0]
    assert "new, 0 of 4 frames (0 %), night-1 running" in lines[1]
    assert "job         night-1: failed: exit code 1" in lines


def test_the_end_of_an_earlier_run_does_not_end_the_watch(
    begun: Prepared, head: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(begun)
    ledger = Ledger(begun.job.output)

    def render(_: float) -> None:
        with ledger.lock(), EventLog(ledger.folder, Silent()) as log:
            receipt = Receipt("00000", "train-0.parquet", 4, 1000, "", 1.0, 4)
            if ledger.commit(receipt):
                log.committed(receipt)

    monkeypatch.setattr(time, "sleep", render)
    head("PENDING", "PENDING", "RUNNING", "SUCCEEDED")
    assert code("--watch", "--json") == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["job"]["status"], one["state"]) for one in told] == [
        ("PENDING", "stopped"),
        ("RUNNING", "done"),
        ("SUCCEEDED", "done"),
    ]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_while_the_job_goes_on_nothing_else_is_to_be_done(
    begun: Prepared, head: Callable[..., None], capsys: pytest.CaptureFixture[str], state: str
) -> None:
    stopped(begun)
    head(state)
    assert code() == 0
    told = capsys.readouterr().out
    assert "state       stopped" in told
    assert "next " not in told
    head("FAILED")
    assert code() == 1
    assert "render repair" in capsys.readouterr().out


def test_an_output_that_can_not_be_read_from_here(
    tmp_path: Path, head: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    head("RUNNING", "RUNNING", "SUCCEEDED", out=tmp_path / "elsewhere")
    assert code("--watch") == 0
    assert "night-1: succeeded" in capsys.readouterr().out


def test_a_folder_of_the_same_name_is_not_the_jobs(
    head: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    head("SUCCEEDED", manifest="another")
    assert code() == 0
    told = capsys.readouterr().out
    assert "(on this machine that is another job's)" in told
    assert "frames" not in told


def test_a_head_that_goes_away_is_waited_for_and_then_told(
    head: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    head("RUNNING", "RUNNING", "away", "away", "FAILED")
    assert code("--watch") == 1
    monkeypatch.setattr(jobs, "AWAY_S", 0.0)
    head("RUNNING", "RUNNING", "away", "away", "away")
    assert code("--watch") == 1
    assert "required an answer of the head, got none for 0 s" in capsys.readouterr().err


def test_a_job_that_the_head_has_forgotten_leaves_the_outputs_own_word(
    begun: Prepared, head: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    head("RUNNING", "RUNNING", "forgotten")
    assert code("--watch") == 1
    assert "got one that it has forgotten" in capsys.readouterr().err
    stopped(begun)
    head("RUNNING", "RUNNING", "forgotten")
    assert code("--watch") == 1
    assert "render repair" in capsys.readouterr().out
