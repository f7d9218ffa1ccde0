"""What the driver does with the units of a worker that is gone, on a crew without Ray."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from crews import KILLED, LOST, make_cluster
from light_workers import Watch, make_units, tombs

from render.cluster.crew import WorkerState
from render.cluster.progress import Progress
from render.cluster.starts import FAILED_STARTS_MAX, PAUSE_S
from render.core import Receipt, RunError, Unit
from render.store import write_quarantine


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    return make_cluster(tmp_path)


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
    cluster._crew.kill(up, "", Watch())
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
    cluster._scale.workers_max = 3
    cluster._follow_scale(Watch())
    assert cluster._crew.workers == [*loading, unplaced[0]]
    cluster._scale.workers_max = 1
    cluster._follow_scale(Watch())
    assert cluster._crew.workers == loading


def test_workers_that_load_on_a_machine_that_ends_go_at_once(cluster: Any) -> None:
    ending, staying = cluster._crew.add(False, *make_units(1, 1), node="a"), cluster._crew.add(False, node="b")
    cluster._scale.ends = {"a": math.inf}
    cluster._follow_scale(watch := Watch())
    assert cluster._crew.workers == [staying]
    assert watch.gone == [(ending.name, "")]
    assert cluster._dispatcher.units_left == 1


def receipt_of(unit: Unit) -> Receipt:
    return Receipt(unit.id, None, len(unit.frames), 0, "", 0.0, 2)


@pytest.mark.parametrize(("started", "reason"), [(True, KILLED), (True, LOST), (False, LOST)])
def test_a_worker_that_dies_after_its_commit_has_rendered_its_unit(cluster: Any, started: bool, reason: str) -> None:
    """Nobody renders it again: its receipt is the one that is stored. Who had a copy is told."""
    done, other = make_units(2, 2)
    worker, copy = cluster._crew.add(started, done, other), cluster._crew.add(True, done)
    assert cluster._ledger.commit(receipt_of(done))
    assert list(cluster._replace(worker, reason, watch := Watch())) == [receipt_of(done)]
    assert not copy.refs
    assert not copy.hand.units
    assert watch.counted == 2
    assert cluster._dispatcher.units_left == 1


def test_a_frame_that_is_stored_at_the_last_moment_is_not_given_up(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers fell silent with it and were killed; the second commits while the driver puts it in quarantine."""
    (unit,) = make_units(1, 1)
    cluster._dispatcher.blame(unit)

    def late(*arguments: Any) -> None:
        write_quarantine(*arguments)
        assert cluster._ledger.commit(receipt_of(unit))

    monkeypatch.setattr("render.cluster.driver.write_quarantine", late)
    assert list(cluster._replace(cluster._crew.add(True, unit), KILLED, Watch())) == [receipt_of(unit)]
    assert len(tombs(tmp_path)) == 1
