"""A cluster that grows and shrinks while a run uses it, on real Ray: machines join, are told of their end, differ."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import light_workers
import pytest
import ray
from light_workers import Painter, Painting, Watch, make_units, stored, tombs
from ray._private.ray_constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.autoscaler.sdk import request_resources
from ray.cluster_utils import Cluster as Machines
from ray.experimental.internal_kv import _internal_kv_get
from stores import wait_until

from render.cluster.driver import Cluster
from render.core.errors import RunError
from render.core.unit import Receipt, Unit
from render.job.workforce import Workforce
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

STORE: dict[str, Any] = {"object_store_memory": 100 * 2**20}
PREEMPTION = 2  # as autoscaler.proto numbers the reasons
OPEN = Workforce(count=None, threads=1, gpus=1.0, device="cuda")
AS_LONG = frozenset(range(2, 100))  # frames that wait for the file `go`: all but those of the first unit


@pytest.fixture(scope="module")
def head() -> Iterator[Machines]:
    """A Ray cluster whose head has no pretended GPU."""
    ray.cloudpickle.register_pickle_by_value(light_workers)  # type: ignore[no-untyped-call]
    cluster = Machines(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **STORE})
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]
    ray.cloudpickle.unregister_pickle_by_value(light_workers)  # type: ignore[no-untyped-call]


class Machinery:
    """The machines that a test adds, by Ray's ids of them."""

    def __init__(self, cluster: Machines) -> None:
        self._cluster, self._nodes = cluster, dict[str, Any]()

    def add(self, cpus: int = 1, gpus: int = 1) -> str:
        node = self._cluster.add_node(num_cpus=cpus, num_gpus=gpus, **STORE)
        self._nodes[node.node_id] = node
        return str(node.node_id)

    def drain(self, node: str, deadline_s: float) -> None:
        end_ms = int(1000 * (time.time() + deadline_s))
        gcs: Any = ray._raylet.GcsClient(address=self._cluster.address)  # type: ignore[attr-defined]
        is_accepted, why = gcs.drain_node(node, PREEMPTION, "its time is over", end_ms)
        assert is_accepted, why

    def remove(self) -> None:
        for node in self._nodes.values():
            self._cluster.remove_node(node)


@pytest.fixture
def machines(head: Machines, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machinery]:
    """Machines for one test, at which the driver looks often."""
    monkeypatch.setattr("render.cluster.scale.LOOK_S", 0.2)
    monkeypatch.setattr("render.cluster.crew.RenderWorker", Painter)
    machinery = Machinery(head)
    yield machinery
    machinery.remove()


def paint(out: Path, units: list[Unit], watch: Watch, force: Workforce = OPEN, **told: Any) -> Iterator[Receipt]:
    """Paint units below a folder, on the Ray that is there."""
    Ledger(out).create()
    painting: Any = Painting(out, **told)
    with Cluster(painting, force, None, 60.0) as cluster:
        yield from cluster.render(Ledger(out).outstanding(iter(units)), watch)


def painted(out: Path) -> dict[str, str]:
    """Unit → Ray's id of the machine that it was painted on."""
    found = [path.name.removeprefix("painted-").rpartition("-") for path in out.glob("painted-*")]
    return {unit: node for unit, _, node in found}


def meanwhile(condition: Callable[[], object], what: str, then: Callable[[], object]) -> None:
    """Have something done in another thread when a condition holds."""

    def watch() -> None:
        wait_until(condition, what)
        then()

    Thread(target=watch, daemon=True).start()


def test_a_machine_that_joins_gets_workers(machines: Machinery, tmp_path: Path) -> None:
    """Two on its one GPU, while the first worker is at work; a count of three is not exceeded."""
    watch, joined = Watch(), list[str]()
    first = machines.add(cpus=1)
    force = Workforce(count=3, threads=1, gpus=0.5, device="cuda")
    for _ in paint(tmp_path, make_units(12, 2), watch, force, waits=AS_LONG):
        if not joined:
            joined.append(machines.add(cpus=4))
            meanwhile(lambda: len(watch.up) == 3, "three workers", (tmp_path / "go").touch)
    assert watch.up == [f"render-{tmp_path.name}-{number}" for number in (1, *sorted((2, 3), key=_order(watch)))]
    assert sorted(watch.gone) == sorted((name, "") for name in watch.up)
    assert set(painted(tmp_path).values()) == {first, *joined}
    assert not watch.losses
    assert watch.counted == 24
    assert stored(tmp_path) == list(range(24))


def test_a_cluster_without_a_gpu_is_waited_for(
    machines: Machinery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An autoscaler is asked, the user told what for, and the run goes on with the machine that joins."""
    monkeypatch.setattr("render.cluster.pulse.QUIET_S", 0.5)
    request_resources(bundles=[])
    watch, asked, check = Watch(), list[dict[str, float]](), Cluster._check_room

    def join(cluster: Cluster) -> None:
        """Add the machine, in the thread of the run: in another one Ray's test cluster can't."""
        check(cluster)
        if not asked and watch.waits and requested():
            asked.extend(requested())
            machines.add()

    monkeypatch.setattr(Cluster, "_check_room", join)
    assert len(list(paint(tmp_path, make_units(4, 2), watch))) == 4
    assert asked == [{"CPU": 1, "GPU": 1.0}]
    assert "waiting for machines to join (required a machine with 1 CPU and 1 GPU, got " in watch.waits[0]
    assert stored(tmp_path) == list(range(8))
    assert not watch.losses


def _order(watch: Watch) -> Callable[[int], int]:
    """Key to sort workers' numbers by the order in which they were up."""
    return lambda number: watch.up.index(next(name for name in watch.up if name.endswith(f"-{number}")))


@pytest.mark.parametrize("is_in_time", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_machine_that_is_told_of_its_end_hands_back(machines: Machinery, tmp_path: Path, is_in_time: bool) -> None:
    """What is not begun goes to the other worker at once; what is at work is finished if there is time."""
    watch, nodes, drained, held = Watch(), {machines.add(), machines.add()}, "", set[str]()

    def is_over() -> bool:
        """The other worker has done all else, or the one that is at work was given up."""
        return len(painted(tmp_path)) == 15 if is_in_time else bool(watch.gone)

    def held_by_second() -> set[str]:
        return {unit for unit, worker in watch.given if worker.endswith("-2")}

    for receipt in paint(tmp_path, make_units(16, 2), watch, waits=frozenset({2, 3}), together=2):
        if not drained:
            (drained,) = nodes - {painted(tmp_path)[receipt.unit]}
            held = held_by_second()
            machines.drain(drained, 120.0 if is_in_time else 6.0)
            meanwhile(is_over, "the last unit alone", (tmp_path / "go").touch)
    assert "00001" in held  # which waits
    assert len(held) > 1
    assert held_by_second() == held  # it was given no more
    assert list(painted(tmp_path).values()).count(drained) == is_in_time
    assert (f"render-{tmp_path.name}-2", "") in watch.gone
    assert not watch.losses
    assert stored(tmp_path) == list(range(32))
    assert not tombs(tmp_path)
    assert watch.counted == 32
    wait_until(lambda: drained not in living(), "the end of the machine")  # Ray ends it, as nobody is at work there


def living() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}  # type: ignore[no-untyped-call]


def test_a_unit_that_is_late_is_rendered_twice_and_stored_once(
    machines: Machinery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker stops in the middle of a unit; the other has nothing left to do, and the run ends without a wait.

    They are of two kinds, which is told once.
    """
    for name in ("QUIET_S", "MARGIN_S", "UNKNOWN_S"):
        monkeypatch.setattr(f"render.cluster.stragglers.{name}", 0.5)
    watch, cards = Watch(), {machines.add(): "H100", machines.add(): "A100"}
    receipts = list(paint(tmp_path, make_units(4, 2), watch, idles_once=frozenset({2}), together=2, cards=cards))
    assert sorted(receipt.unit for receipt in receipts) == ["00000", "00001", "00002", "00003"]
    assert len({name for unit, name in watch.given if unit == "00001"}) == 2
    assert stored(tmp_path) == list(range(8))
    assert not watch.losses
    assert watch.counted == 8
    (line,) = watch.warnings
    assert line.startswith("workers have different devices: ")
    assert "H100 (" in line
    assert "A100 (" in line


def test_two_runs_of_one_name_at_a_time(machines: Machinery, tmp_path: Path) -> None:
    """Ray lists their actors by name and number, each in its run's namespace."""
    machines.add(cpus=2, gpus=2)
    outs, watches = [tmp_path / "a" / "birds", tmp_path / "b" / "birds"], [Watch(), Watch()]
    for out in outs:
        out.mkdir(parents=True)
    one = Workforce(count=1, threads=1, gpus=1.0, device="cuda")
    runs = [paint(out, make_units(2, 2), watch, one) for out, watch in zip(outs, watches, strict=True)]
    for run in runs:
        next(run)
    named = [actor for actor in ray.util.list_named_actors(all_namespaces=True) if actor["name"] == "render-birds-1"]
    assert len({actor["namespace"] for actor in named}) == 2
    assert [len(list(run)) for run in runs] == [1, 1]
    assert [watch.up for watch in watches] == [["render-birds-1"]] * 2


def requested() -> list[dict[str, float]]:
    """Bundles that an autoscaler is asked for."""
    found = _internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL)
    bundles: list[dict[str, float]] = json.loads(found) if found else []
    return bundles


@pytest.mark.parametrize("fault", [pytest.param({}, marks=pytest.mark.long), {"disk_full": frozenset({7})}])
def test_an_autoscaler_is_asked_for_what_the_job_needs(
    machines: Machinery, tmp_path: Path, fault: dict[str, Any]
) -> None:
    """And for no more of it afterwards, however the run ends."""
    machines.add()
    request_resources(bundles=[])
    force = Workforce(count=3, threads=1, gpus=1.0, device="cuda", memory_bytes=10**6)
    run = paint(tmp_path, make_units(8, 2), Watch(), force, **fault)
    next(run)
    wait_until(requested, "a request")
    assert requested() == [{"CPU": 1, "GPU": 1.0, "memory": 10**6}] * 3
    try:
        list(run)
    except RunError:
        assert fault
    wait_until(lambda: requested() == [], "the end of the request")
