"""What happens when workers die, fall silent, fail or lose their machine.

The workers here are light: they paint, and misbehave on the frames they are told to.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Timer
from types import SimpleNamespace
from typing import Any

import light_workers
import pytest
import ray
from light_workers import ONE_CPU, SILENCE_S, Painter, Painting, Tenant, Watch, make_units, stored, tombs
from ray.cluster_utils import Cluster as Machines
from stores import wait_until

from render.cluster.driver import Cluster
from render.core.errors import RunError
from render.core.unit import Receipt, Unit
from render.job.workforce import Workforce
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    """A Ray cluster whose head has two cores; tests add machines to it."""
    ray.cloudpickle.register_pickle_by_value(light_workers)  # type: ignore[no-untyped-call]
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = Machines(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture
def render(machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Iterator[Receipt]]:
    """Paint units below tmp_path with painters that are told so and so."""
    monkeypatch.setattr("render.cluster.crew.RenderWorker", Painter)
    Ledger(tmp_path).create()

    def run(
        units: list[Unit],
        force: Workforce = ONE_CPU,
        deadline_s: float = 60.0,
        losses: list[str] | None = None,
        **told: Any,
    ) -> Iterator[Receipt]:
        watch = Watch([] if losses is None else losses)
        painting: Any = Painting(tmp_path, **told)
        outstanding = Ledger(tmp_path).outstanding(iter(units))
        with Cluster(painting, force, None, deadline_s) as cluster:
            yield from cluster.render(outstanding, watch)

    return run


def test_all_is_well(render: Callable[..., Iterator[Receipt]], tmp_path: Path) -> None:
    receipts = list(render(make_units(6, 2)))
    assert sorted(receipt.unit for receipt in receipts) == [f"{unit:05d}" for unit in range(6)]
    assert stored(tmp_path) == list(range(12))


def test_workers_begin_with_what_they_are_given_and_change_once(
    render: Callable[..., Iterator[Receipt]], tmp_path: Path
) -> None:
    units = make_units(12, 1, ("xl", "main"))
    assert len(list(render(units, together=2))) == 12
    loaded = Counter(path.name.split("-")[1] for path in tmp_path.glob("loaded-*"))
    assert len(loaded) == 2
    assert max(loaded.values()) <= 2  # of two models, and none twice
    assert {path.name.split("-")[2] for path in tmp_path.glob("loaded-*")} == {"xl", "main"}


@pytest.mark.long
def test_a_model_that_no_worker_can_load_ends_the_run(render: Callable[..., Iterator[Receipt]], tmp_path: Path) -> None:
    """It is not the units' fault: none is split, no frame is put in quarantine."""
    units = make_units(8, 2, ("main", "xl"))
    with pytest.raises(RunError, match=r"3 in a row did not start: .*no such model"):
        list(render(units, replace(ONE_CPU, count=1), lacks="xl"))
    assert stored(tmp_path) == list(range(8))
    assert not tombs(tmp_path)
    assert len(list(render(units))) == 4
    assert stored(tmp_path) == list(range(16))


@pytest.mark.parametrize("fault", ["kills_once", "breaks_once"])
def test_a_worker_dies(render: Callable[..., Iterator[Receipt]], tmp_path: Path, fault: str) -> None:
    losses: list[str] = []
    receipts = list(render(make_units(4, 2), losses=losses, **{fault: frozenset({3})}))
    assert len(receipts) == 4
    (said,) = losses
    assert len(said) < 250
    assert ("worker process has died" if fault == "kills_once" else "the device is lost") in said
    assert stored(tmp_path) == list(range(8))
    assert not tombs(tmp_path)


def test_an_idle_worker_dies(
    render: Callable[..., Iterator[Receipt]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named once, and the driver does not ask it again and again."""
    waits, wait = list[float](), ray.wait

    def counted(refs: list[Any], **options: Any) -> Any:
        waits.append(time.monotonic())
        return wait(refs, **options)

    losses: list[str] = []
    receipts = render(make_units(2, 2), losses=losses, waits=frozenset({0}), last=frozenset({2}), together=2)
    assert next(receipts).unit == "00001"
    Timer(3.0, (tmp_path / "go").touch).start()
    monkeypatch.setattr("render.cluster.driver.ray.wait", counted)
    assert [receipt.unit for receipt in receipts] == ["00000"]
    (said,) = losses
    assert "died" in said
    assert stored(tmp_path) == list(range(4))
    assert len(waits) < 900  # the other painter reports 50 times a second


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_frame_that_kills_ends_alone_in_quarantine(
    render: Callable[..., Iterator[Receipt]], tmp_path: Path, workers: int
) -> None:
    """No unit or half that was in the same hands is blamed: each goes out again alone."""
    units = make_units(3, 4)
    receipts = list(render(units, replace(ONE_CPU, count=workers), kills=frozenset({6})))
    others = [number for number in range(12) if number != 6]
    assert stored(tmp_path) == others
    ((frame, error),) = tombs(tmp_path)
    assert frame == 6
    assert error.startswith("2 workers died while rendering it")
    assert sorted(receipt.unit for receipt in receipts) == ["00000", "00001-0", "00001-1-0", "00001-1-1", "00002"]
    (again,) = Ledger(tmp_path).outstanding(iter(units))
    assert (again.id, [frame.index for frame in again.frames]) == ("00001-1-0-r", [6])

    (receipt,) = render(units)  # the next run tries it again, and this time it is well behaved
    assert receipt.unit == "00001-1-0-r"
    assert stored(tmp_path) == list(range(12))
    assert not list(Ledger(tmp_path).outstanding(iter(units)))


@pytest.mark.long
def test_a_frame_that_kills_again_is_tried_again_in_the_next_run(
    render: Callable[..., Iterator[Receipt]], tmp_path: Path
) -> None:
    units = make_units(1, 1)
    for suffix in ("", "-r", "-r-r"):
        (receipt,) = render(units, kills=frozenset({0}))
        assert (receipt.unit, receipt.file, receipt.quarantined) == (f"00000{suffix}", None, (0,))
    assert [frame for frame, _ in tombs(tmp_path)] == [0, 0, 0]


def test_a_silent_worker_is_replaced(
    render: Callable[..., Iterator[Receipt]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silence passes once the driver has the receipts of the other worker's units, and begins when both are up."""
    losses, passed_s = list[str](), 0.0
    monkeypatch.setattr("render.cluster.driver.time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s))
    silent = {"silences_once": frozenset({2}), "together": 2}
    for count, _ in enumerate(render(make_units(4, 2), deadline_s=600.0, losses=losses, **silent), 1):
        passed_s = SILENCE_S * (count >= 2)
    assert losses == ["no progress for 600 s"]
    assert stored(tmp_path) == list(range(8))
    assert not tombs(tmp_path)


def test_workers_that_do_not_start_end_the_run(render: Callable[..., Iterator[Receipt]], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"3 in a row did not start: .*no such model"):
        list(render(make_units(4, 2), starts=False))
    assert not Ledger(tmp_path).receipts()


def test_workers_that_find_no_room_are_let_go(
    render: Callable[..., Iterator[Receipt]], machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of four has room, as somebody else has the rest. It works on until the others are given up, and has theirs."""
    node = machines.add_node(num_cpus=6, object_store_memory=100 * 2**20)
    tenant: Any = ray.remote(num_cpus=6)(Tenant).remote()
    ray.get(tenant.stay.remote())
    kill, killed, losses = ray.kill, list[Any](), list[str]()

    def killing(handle: Any) -> None:
        (tmp_path / "go").touch()
        killed.append(handle)
        kill(handle)

    replace_stalled = Cluster._replace_stalled

    def at_the_deadline(cluster: Cluster, listener: Any) -> Iterator[Receipt]:
        """Let the deadline pass for the first four that have no room, once one of them is up."""
        if any(worker.started for worker in cluster._crew.workers):
            for worker in cluster._crew.unplaced:
                worker.progress_s -= SILENCE_S * (int(worker.name.rpartition("-")[2]) <= 4)
        return replace_stalled(cluster, listener)

    monkeypatch.setattr(Cluster, "_replace_stalled", at_the_deadline)
    monkeypatch.setattr(ray, "kill", killing)
    force, units = Workforce(count=4, threads=2, gpus=0.0, device="cpu"), make_units(12, 2)
    try:
        assert len(list(render(units, force, deadline_s=600.0, losses=losses, waits=frozenset(range(24))))) == 12
    finally:
        kill(tenant)
        machines.remove_node(node)
    assert stored(tmp_path) == list(range(24))
    assert not tombs(tmp_path)
    assert not losses
    assert 4 <= len(killed) <= 4 + 6  # one at a time looked for room again, as its units were wanted


def test_a_network_that_does_not_compile_ends_the_run(render: Callable[..., Iterator[Receipt]]) -> None:
    with pytest.raises(RunError, match=r"unit 00001: .*workers\.compile: required a network that compiles"):
        list(render(make_units(3, 1), replace(ONE_CPU, count=1), uncompiled=frozenset({1})))


def test_a_full_disk_ends_the_run(render: Callable[..., Iterator[Receipt]], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"unit 00003: .*No space left on device"):
        list(render(make_units(5, 2), replace(ONE_CPU, count=1), disk_full=frozenset({6})))
    assert stored(tmp_path) == list(range(6))


def test_more_than_the_cluster_has_ends_the_run_at_the_deadline(render: Callable[..., Iterator[Receipt]]) -> None:
    told = r"workers: required a machine with 64 CPUs and 0 GPUs, got 1 machine with 2 CPUs and 0 GPUs in all; waited \d+ s"
    with pytest.raises(RunError, match=told):
        list(render(make_units(1, 1), Workforce(None, 64, 0.0, "cpu"), deadline_s=1.0))


@pytest.mark.parametrize(
    "spare", [pytest.param(True, marks=pytest.mark.long, id="with a spare machine"), pytest.param(False, id="no room")]
)
def test_a_machine_is_lost(
    render: Callable[..., Iterator[Receipt]], machines: Machines, tmp_path: Path, spare: bool
) -> None:
    """Two workers of three cores, each on a machine of its own; one goes while both are at work."""
    nodes = [machines.add_node(num_cpus=3, object_store_memory=100 * 2**20) for _ in range(2 + spare)]
    machines.wait_for_nodes()
    lost: list[Any] = []
    try:
        force = Workforce(count=2, threads=3, gpus=0.0, device="cpu")
        for _ in render(make_units(8, 2), force, waits=frozenset({12, 14})):
            if not lost:
                lost.append(nodes.pop(0))
                wait_until(lambda: len(list(Ledger(tmp_path).receipts())) >= 2, "two commits")
                machines.remove_node(lost[0], allow_graceful=False)
                (tmp_path / "go").touch()
    finally:
        for node in nodes:
            machines.remove_node(node)
    assert stored(tmp_path) == list(range(16))
    assert not tombs(tmp_path)
