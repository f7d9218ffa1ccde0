"""What the driver does with the units of a worker that is gone, on a crew without Ray."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from light_workers import Watch, make_units

from render.cluster.crew import WorkerState
from render.cluster.dispatch import Dispatcher
from render.cluster.driver import Cluster
from render.cluster.hand import Hand, Load
from render.cluster.leaving import Leaving
from render.cluster.progress import Progress
from render.cluster.starts import FAILED_STARTS_MAX, PAUSE_S, Starts
from render.core import RunError, Unit
from render.store import Ledger

LOST = "The actor died unexpectedly.\n\tip: 10.0.0.7\nThe actor died because its node has died. Node Id: 3f"
KILLED = "ActorDiedError: the worker died"


class Actor:
    """Takes what it is told, and does nothing."""

    def __getattr__(self, _: str) -> Any:
        return SimpleNamespace(remote=lambda *_: None)


class Crew:
    """Workers that nothing runs behind."""

    def __init__(self) -> None:
        self.workers: list[WorkerState] = []
        self.starts = Starts()

    @property
    def hands(self) -> list[Hand]:
        return [worker.hand for worker in self.workers]

    @property
    def staying(self) -> list[WorkerState]:
        return self.workers

    @property
    def unplaced(self) -> list[WorkerState]:
        return [worker for worker in self.workers if not worker.is_placed]

    def add(self, started: bool, *units: Unit, node: str = "") -> WorkerState:
        worker = WorkerState(Actor(), Hand("main"), f"w{len(self.workers)}", started=started)
        worker.hand.report = Progress(up_s=float(started), node=node)
        for number, unit in enumerate(units):
            worker.refs[number] = unit
            worker.hand.give(Load(unit))
        self.workers.append(worker)
        return worker

    def remove(self, worker: WorkerState, reason: str, listener: Watch) -> None:
        self.workers.remove(worker)
        listener.worker_gone(worker.name, reason)


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    ledger = Ledger(tmp_path)
    ledger.create()
    cluster: Any = Cluster.__new__(Cluster)
    cluster._crew, cluster._ledger, cluster._dispatcher = Crew(), ledger, Dispatcher(iter([]), ledger, 8)
    cluster._leaving = Leaving(cluster._crew, cluster._dispatcher)
    cluster._scale = SimpleNamespace(workers=8, look=lambda: True, ends={}, ask=lambda *_: None)
    cluster._deadline_s = 900.0
    return cluster


def replace(cluster: Any, worker: WorkerState, reason: str) -> Watch:
    watch = Watch()
    assert list(cluster._replace(worker, reason, watch)) == []
    return watch


def test_workers_that_load_on_a_machine_that_is_lost_have_not_failed(cluster: Any) -> None:
    loading = [cluster._crew.add(False, unit) for unit in make_units(FAILED_STARTS_MAX + 2, 1)]
    for worker in loading:
        assert replace(cluster, worker, LOST).losses == ["its machine, 10.0.0.7, is lost"]
    assert cluster._dispatcher.units_left == len(loading)


def test_starts_that_fail_end_the_run(cluster: Any) -> None:
    loading = [cluster._crew.add(False, unit) for unit in make_units(FAILED_STARTS_MAX, 1)]
    for worker in loading[:-1]:
        replace(cluster, worker, KILLED)
    with pytest.raises(RunError, match="3 in a row did not start: ActorDiedError"):
        replace(cluster, loading[-1], KILLED)


@pytest.mark.parametrize(("reason", "is_suspect"), [(LOST, False), (KILLED, True)])
def test_a_unit_of_a_lost_machine_is_no_suspect(cluster: Any, reason: str, is_suspect: bool) -> None:
    units = make_units(3, 1)
    cluster._dispatcher.requeue(units[1:])
    replace(cluster, cluster._crew.add(True, units[0]), reason)
    hand, given = cluster._crew.add(True).hand, []
    while found := cluster._dispatcher.next([hand], False):
        hand.give(found[1])
        given.append(found[1].unit.id)
    assert given == [unit.id for unit in (units[:1] if is_suspect else units)]


@pytest.mark.parametrize("idle", [0, 1, 2])
def test_as_many_without_a_place_give_their_units_back_as_are_idle(cluster: Any, idle: int) -> None:
    *units, loading, copied = make_units(6, 1)
    unplaced = [cluster._crew.add(False, unit) for unit in units]
    others = [cluster._crew.add(False, loading, node="a"), cluster._crew.add(False, copied)]
    cluster._crew.add(True, copied)
    for _ in range(idle):
        cluster._crew.add(True)
    assert cluster._reclaim_from_unplaced(Watch()) == (idle > 0)
    assert cluster._crew.workers[: 6 - idle] == [*unplaced[: 4 - idle], *others]
    assert cluster._dispatcher.units_left == idle


def test_starts_that_fail_beside_a_worker_that_is_up_are_tried_again_later(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with a broken driver has joined: the others go on, and one start is tried now and then."""
    now_s = 1000.0
    monkeypatch.setattr("render.cluster.driver.time", SimpleNamespace(monotonic=lambda: now_s))
    up = cluster._crew.add(True)
    for unit in make_units(FAILED_STARTS_MAX, 1):
        assert cluster._may_start()
        replace(cluster, cluster._crew.add(False, unit), KILLED)
    assert not cluster._may_start()
    now_s += PAUSE_S
    assert cluster._may_start()
    loading = cluster._crew.add(False, *make_units(1, 1))
    replace(cluster, loading, KILLED)
    now_s += PAUSE_S
    assert not cluster._may_start()
    cluster._crew.starts.note_machines()
    assert cluster._may_start()
    cluster._crew.remove(up, "", Watch())
    with pytest.raises(RunError, match="5 in a row did not start"):
        replace(cluster, cluster._crew.add(False), KILLED)


def test_a_long_first_load_is_not_taken_for_want_of_room(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the deadline a worker goes that has not reported; one that reports that it loads is on some machine."""
    now_s = 10_000.0
    monkeypatch.setattr("render.cluster.driver.time", SimpleNamespace(monotonic=lambda: now_s))
    first, second = make_units(2, 1)
    loading, unplaced = cluster._crew.add(False, first, node="a"), cluster._crew.add(False, second)
    loading.progress_s, unplaced.progress_s = now_s - 1, now_s - 1000
    assert list(cluster._replace_stalled(Watch())) == []
    assert (cluster._crew.workers, cluster._crew.starts.is_full) == ([loading], True)
    assert cluster._may_start()
    unplaced = cluster._crew.add(False, second)
    assert not cluster._may_start()  # one at a time looks for room
    unplaced.hand.report = Progress(node="b")
    assert cluster._may_start()  # it need not be up
    cluster._follow_scale(Watch())
    assert cluster._dispatcher.workers == 2  # those that are there, not those that would fit
    loading.progress_s = now_s - 1000
    assert list(cluster._replace_stalled(watch := Watch())) == []
    assert watch.losses == ["no progress for 900 s"]


def test_a_surplus_is_of_workers_without_a_place(cluster: Any) -> None:
    """A machine has gone whose dead workers are not collected yet: those that load elsewhere stay."""
    loading = [cluster._crew.add(False, unit, node="a") for unit in make_units(2, 1)]
    unplaced = [cluster._crew.add(False, unit) for unit in make_units(2, 1)]
    cluster._scale.workers = 3
    cluster._follow_scale(Watch())
    assert cluster._crew.workers == [*loading, unplaced[0]]
    cluster._scale.workers = 1
    cluster._follow_scale(Watch())
    assert cluster._crew.workers == loading


def test_workers_that_load_on_a_machine_that_ends_go_at_once(cluster: Any) -> None:
    ending, staying = cluster._crew.add(False, *make_units(1, 1), node="a"), cluster._crew.add(False, node="b")
    cluster._scale.ends = {"a": math.inf}
    cluster._follow_scale(watch := Watch())
    assert cluster._crew.workers == [staying]
    assert watch.gone == [(ending.name, "")]
    assert cluster._dispatcher.units_left == 1
