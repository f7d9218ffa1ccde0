"""What the driver does with the units of a worker that is gone, on a crew without Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from light_workers import Watch, make_units

from render.cluster.crew import WorkerState
from render.cluster.dispatch import Dispatcher
from render.cluster.driver import FAILED_STARTS_MAX, Cluster
from render.cluster.hand import Hand, Load
from render.core import RunError, Unit
from render.store import Ledger

LOST = "The actor died unexpectedly.\n\tip: 10.0.0.7\nThe actor died because its node has died. Node Id: 3f"
KILLED = "ActorDiedError: the worker died"


class Crew:
    """Workers that nothing runs behind."""

    def __init__(self) -> None:
        self.workers: list[WorkerState] = []
        self.failed_starts = 0

    @property
    def hands(self) -> list[Hand]:
        return [worker.hand for worker in self.workers]

    @property
    def staying(self) -> list[WorkerState]:
        return self.workers

    @property
    def unstarted(self) -> list[WorkerState]:
        return [worker for worker in self.workers if not worker.started]

    def add(self, started: bool, *units: Unit) -> WorkerState:
        worker = WorkerState(None, Hand("main"), f"w{len(self.workers)}", started=started)
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
def test_as_many_that_load_give_their_units_back_as_are_idle(cluster: Any, idle: int) -> None:
    loading = [cluster._crew.add(False, unit) for unit in make_units(4, 1)]
    for _ in range(idle):
        cluster._crew.add(True)
    assert cluster._reclaim_from_unstarted(Watch()) == (idle > 0)
    assert cluster._crew.unstarted == loading[: 4 - idle]
    assert cluster._dispatcher.units_left == idle
