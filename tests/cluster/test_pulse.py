"""A word when nothing was heard for a while, and the loss of a machine in one line."""

from __future__ import annotations

from threading import Event
from threading import enumerate as enumerate_threads
from types import SimpleNamespace
from typing import Any

import pytest
from stores import wait_until

from render.cluster.crew import WorkerState, occupation
from render.cluster.hand import Hand
from render.cluster.progress import Progress
from render.cluster.pulse import Pulse
from render.cluster.reasons import reason_of


class Listener:
    def __init__(self) -> None:
        self.losses = list[str]()
        self.words = list[str]()
        self.spoke = Event()

    def frames(self, count: int) -> None: ...
    def batches(self, rows: int, padding: int) -> None: ...
    def stage(self, text: str) -> None: ...
    def lost(self, reason: str) -> None:
        self.losses.append(reason)

    def warn(self, text: str) -> None: ...
    def worker_up(self, name: str, host: str, card: str) -> None: ...
    def unit_given(self, unit: str, name: str) -> None: ...
    def worker_gone(self, name: str, reason: str) -> None: ...
    def waiting(self, text: str) -> None:
        self.words.append(text)
        self.spoke.set()


def test_silence_is_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Again and again, less than a minute apart; what says something puts it off, what says nothing does not."""
    now, asked = [1000.0], list[float]()

    def monotonic() -> float:
        asked.append(now[0])
        return now[0]

    def looks() -> bool:
        """Let the thread look at the clock twice. Returns True if it has spoken."""
        enough = len(asked) + 3  # the first look may have begun before
        wait_until(lambda: len(asked) >= enough, "two looks")
        return listener.spoke.is_set()

    monkeypatch.setattr("render.cluster.pulse.time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr("render.cluster.pulse.BEAT_S", 0.005)
    listener = Listener()
    with Pulse(listener, lambda: "2 workers to start") as told:
        now[0] += 40
        told.frames(1)
        now[0] += 40
        told.frames(0)
        told.stage("")
        assert not looks()
        now[0] += 10
        assert listener.spoke.wait(60)
        assert listener.words == ["waiting for 2 workers to start; nothing new for 50 s"]
        listener.spoke.clear()
        assert not looks()
        now[0] += 45
        assert listener.spoke.wait(60)
        assert listener.words[1:] == ["waiting for 2 workers to start; nothing new for 95 s"]
    now[0] += 1000
    listener.spoke.clear()
    wait_until(lambda: not any(thread.name == "pulse" for thread in enumerate_threads()), "the end of the thread")
    assert not listener.spoke.is_set()


def test_workers_that_are_lost_with_one_machine_are_told_once() -> None:
    listener = Listener()
    told = Pulse(listener, lambda: "")
    machine = "its machine, 10.0.0.7, is lost"
    for reason in (machine, machine, "worker process has died", "worker process has died", machine):
        told.lost(reason)
    assert listener.losses == [machine, "worker process has died", "worker process has died", machine]

    listener.losses.clear()
    unnamed, other = "its machine does not answer", "its machine, 10.0.0.8, is lost"
    for reason in (unnamed, machine, machine, other, unnamed):
        told.lost(reason)
    assert listener.losses == [unnamed, other, unnamed]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("The actor 5f is unavailable: RpcError: RPC error: keepalive\nRpcError: 14", "its machine does not answer"),
        ("died\n\tip: 10.1.2.3\nThe actor's node was terminated unexpectedly: x", "its machine, 10.1.2.3, is lost"),
        ("The actor died because its node has died.", "its machine is lost"),
        ("Traceback\nValueError: no such model\n", "ValueError: no such model"),
        (
            "The actor is dead because its worker process has died. Worker exit type: X Some common causes include: Y",
            "The actor is dead because its worker process has died. Worker exit type: X",
        ),
    ],
)
def test_reasons(error: str, reason: str) -> None:
    assert reason_of(error) == reason


def worker(**fields: Any) -> WorkerState:
    return WorkerState(None, Hand("main"), **fields)


def test_what_a_run_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.cluster.crew.time", SimpleNamespace(monotonic=lambda: 100.0))
    unit: Any = None
    assert occupation([]) == "Ray to start"
    assert occupation([worker(progress_s=0.0)]) == "1 worker to start"
    loading = worker(progress_s=0.0)
    loading.hand.report = Progress(node="a")
    assert occupation([loading]) == "1 worker to load a model"
    assert occupation([loading, worker(), worker()]) == "1 worker to load a model and 2 workers to start"
    at_work = [worker(progress_s=time_s, started=True, refs={"ref": unit}) for time_s in (40.0, 70.0)]
    assert occupation([*at_work, worker()]) == "2 workers at work, the last sign of life 30 s ago"
    assert occupation([worker(started=True)]) == "the last results"
