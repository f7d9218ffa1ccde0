"""How many workers a run may have on a cluster, from what its machines have; and what an autoscaler is asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import wait_until

import render.cluster.scale
from render.cluster.ray_link import _node
from render.cluster.room import Node, bundle_of, fitting_workers, shared_memory
from render.cluster.scale import Scale
from render.job.workforce import Workforce

GPU = Workforce(count=None, threads=4, gpus=1.0, device="cuda")
H100 = Node("a", cpus=32, gpus=8, memory_bytes=800e9)


@pytest.mark.parametrize(
    ("node", "threads", "gpus", "fitting"),
    [
        (Node("a", cpus=32, gpus=8), 4, 1.0, 8),
        (Node("a", cpus=30, gpus=8), 4, 1.0, 7),
        (Node("a", cpus=32, gpus=8), 4, 0.5, 8),  # the CPUs end first
        (Node("a", cpus=32, gpus=2), 1, 0.3, 6),  # three on each GPU: none is on two
        (Node("a", cpus=32, gpus=4), 1, 0.6, 4),
        (Node("a", cpus=32, gpus=3), 1, 0.1, 30),
        (Node("a", cpus=32, gpus=8), 4, 2.0, 4),
        (Node("a", cpus=3), 4, 0.0, 0),
        (Node("a", cpus=9, gpus=0), 4, 0.0, 2),
        (Node("a", cpus=9, gpus=0), 4, 1.0, 0),
        (Node("a", cpus=32, gpus=8, ends_s=math.inf), 4, 1.0, 0),
    ],
)
def test_workers_of_a_machine(node: Node, threads: int, gpus: float, fitting: int) -> None:
    assert fitting_workers([node], Workforce(None, threads, gpus, "cuda")) == fitting


def test_workers_are_on_one_machine_each() -> None:
    """Two machines of three cores have no room for three workers of two."""
    assert fitting_workers([Node("a", cpus=3), Node("b", cpus=3)], Workforce(None, 2, 0.0, "cpu")) == 2


@given(
    st.lists(
        st.builds(Node, st.just("a"), st.integers(0, 64), st.integers(0, 8), st.sampled_from([0, 1e9, 7e9, 9e11]))
    ),
    st.builds(
        Workforce,
        st.none(),
        st.integers(1, 8),
        st.sampled_from([0, 0.25, 1.0]),
        st.just("cuda"),
        st.integers(0, 10**11),
    ),
)
def test_memory_keeps_no_worker_from_starting(nodes: list[Node], force: Workforce) -> None:
    memory = shared_memory(nodes, force)
    assert 0 <= memory <= force.memory_bytes
    for node in nodes:
        assert fitting_workers([node], force) * memory <= node.memory_bytes or not fitting_workers([node], force)


def test_what_ray_says_of_a_machine() -> None:
    facts = {"NodeID": "a", "Resources": {"CPU": 3.0, "memory": 5.0}}
    assert _node(facts, {}) == Node("a", cpus=3.0, memory_bytes=5.0)
    assert _node(facts, {"a": 2500, "b": 1}).ends_s == 2.5
    assert _node(facts, {"a": 0}).ends_s == math.inf


class Link:
    """Stands in for the connection to Ray."""

    restarts = False

    def __init__(self, *nodes: Node) -> None:
        self.now: list[Node] | Exception = list(nodes)
        self.requests: list[tuple[int, dict[str, float]]] = []

    def call(self, function: Callable[[], Any]) -> Any:
        return function()

    def nodes(self) -> list[Node]:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    def request(self, count: int, bundle: dict[str, float]) -> None:
        self.requests.append((count, bundle))


def make_scale(link: Any, force: Workforce = GPU) -> Scale:
    scale = Scale(link, force)
    scale.start()
    return scale


def follow(scale: Scale) -> None:
    wait_until(scale.look, "a look")


def test_the_number_follows_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.cluster.scale, "LOOK_S", 0.0)
    link = Link(H100)
    scale = make_scale(link)
    assert scale.workers == 8
    link.now = [H100, Node("b", cpus=32, gpus=8, memory_bytes=400e9)]
    follow(scale)
    assert (scale.workers, scale.ends) == (16, {})
    link.now = [H100, Node("b", cpus=32, gpus=8, ends_s=5.0)]
    follow(scale)
    assert (scale.workers, scale.ends) == (8, {"b": 5.0})
    link.now = OSError("the head does not answer")
    for _ in range(100):
        assert not scale.look()
    assert (scale.workers, scale.ends) == (8, {"b": 5.0})
    link.now = []
    follow(scale)
    assert scale.workers == 1  # looks for room
    scale.end()


def test_a_look_is_taken_now_and_then_and_waits_for_nobody() -> None:
    link, begun, go_on = Link(H100), Event(), Event()
    scale = make_scale(link)
    nodes = link.nodes

    def slow() -> list[Node]:
        begun.set()
        go_on.wait(60)
        return nodes()

    link.nodes = slow  # type: ignore[method-assign]
    began_s = time.monotonic()
    assert not scale.look()
    assert begun.wait(60)
    assert not any(scale.look() for _ in range(100))
    assert time.monotonic() - began_s < 30
    go_on.set()
    follow(scale)
    begun.clear()
    assert not scale.look()
    assert not begun.wait(0.1)  # it is too soon
    scale.look_soon()
    assert not scale.look()
    assert begun.wait(60)
    follow(scale)
    scale.end()


@pytest.mark.parametrize(("count", "workers"), [(None, 8), (3, 3), (100, 8)])
def test_a_count_is_the_most(count: int | None, workers: int) -> None:
    assert make_scale(Link(H100), Workforce(count, 4, 1.0, "cuda")).workers == workers


@pytest.mark.parametrize("count", [None, 2])
def test_a_cluster_without_room(count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker looks for room: machines may be to come."""
    monkeypatch.setattr(render.cluster.scale, "LOOK_S", 0.0)
    link = Link(Node("a", cpus=3, gpus=8))
    scale = make_scale(link, Workforce(count, 4, 1.0, "cuda"))
    assert scale.workers == 1
    assert scale.lack == "required a machine with 4 CPUs and 1 GPU, got 1 machine with 3 CPUs and 8 GPUs in all"
    assert scale.lack_s > 0
    link.now = [H100]
    follow(scale)
    assert (scale.workers, scale.lack, scale.lack_s) == (count or 8, "", 0.0)
    scale.end()


def test_a_ray_of_ones_own_has_what_it_was_started_for() -> None:
    link = Link()
    link.restarts = True
    scale = make_scale(link, Workforce(2, 1, 0.0, "cpu"))
    assert scale.workers == 2
    assert not scale.look()
    scale.ask(100, 2)
    scale.end()
    assert link.requests == []


@pytest.mark.parametrize(
    ("count", "asked"),
    [
        (
            None,
            [(64, 0, 16), (40, 16, 16), (40, 8, 10), (3, 2, 2), (0, 0, 0)],
        ),  # one for four units, no fewer than work
        (10, [(64, 0, 10), (40, 10, 10), (3, 10, 10), (3, 2, 3)]),
        (None, [(9_999, 0, 512)]),
    ],
)
def test_what_an_autoscaler_is_asked_for(count: int | None, asked: list[tuple[int, int, int]]) -> None:
    link, force = Link(H100), Workforce(count, 4, 1.0, "cuda", 10**9)
    scale = make_scale(link, force)
    for units, busy, _ in asked:
        scale.ask(units, busy)
    scale.end()
    bundle = {"CPU": 4, "GPU": 1.0, "memory": 10**9}
    expected = [wanted for _, _, wanted in asked]
    changes = [wanted for place, wanted in enumerate(expected) if place == 0 or expected[place - 1] != wanted]
    assert link.requests == [*((wanted, bundle) for wanted in changes), (0, {})]


def test_nothing_is_taken_back_that_was_not_asked_for() -> None:
    link = Link(H100)
    make_scale(link).end()
    assert link.requests == []


def test_a_bundle_has_no_zeros() -> None:
    assert bundle_of(Workforce(None, 2, 0.0, "cpu"), 0) == {"CPU": 2}
