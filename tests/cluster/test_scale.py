"""How many workers a run may have on a cluster, from what its machines have; and what an autoscaler is asked for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stores import wait_until

import render.cluster.scale
from render.cluster.ray_calls import CallThread
from render.cluster.ray_link import _node
from render.cluster.room import Node, bundle_of, fitting_workers, shared_memory
from render.cluster.scale import LOOK_S, REPEAT_S, Scale
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
        self.failed = 0  # looks
        self.fault: Exception | None = None
        self.background = CallThread()

    def call(self, function: Callable[[], Any]) -> Any:
        return function()

    def nodes(self) -> list[Node]:
        if isinstance(self.now, Exception):
            self.failed += 1
            raise self.now
        return self.now

    def request(self, count: int, bundle: dict[str, float]) -> None:
        self.requests.append((count, bundle))
        if self.fault:
            raise self.fault


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
    assert scale.workers_max == 8
    link.now = [H100, Node("b", cpus=32, gpus=8, memory_bytes=400e9)]
    follow(scale)
    assert (scale.workers_max, scale.ends) == (16, {})
    link.now = [H100, Node("b", cpus=32, gpus=8, ends_s=5.0)]
    follow(scale)
    assert (scale.workers_max, scale.ends) == (8, {"b": 5.0})
    link.now = OSError("the head does not answer")
    failed = link.failed
    for _ in range(100):
        assert not scale.look()
    wait_until(lambda: not scale.look() and link.failed > failed, "a look that fails")
    assert (scale.workers_max, scale.ends) == (8, {"b": 5.0})
    link.now = []
    follow(scale)
    assert scale.workers_max == 1  # looks for room
    scale.end()


def test_a_look_is_taken_now_and_then_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.cluster.scale, "LOOK_S", 1000.0)
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
    assert make_scale(Link(H100), Workforce(count, 4, 1.0, "cuda")).workers_max == workers


@pytest.mark.parametrize("count", [None, 2])
def test_a_cluster_without_room(count: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker looks for room: machines may be to come."""
    monkeypatch.setattr(render.cluster.scale, "LOOK_S", 0.0)
    link = Link(Node("a", cpus=3, gpus=8))
    scale = make_scale(link, Workforce(count, 4, 1.0, "cuda"))
    assert scale.workers_max == 1
    assert scale.lack == "required a machine with 4 CPUs and 1 GPU, got 1 machine with 3 CPUs and 8 GPUs in all"
    assert scale.lack_s > 0
    link.now = [H100]
    follow(scale)
    assert (scale.workers_max, scale.lack, scale.lack_s) == (count or 8, "", 0.0)
    scale.end()


def test_a_ray_of_ones_own_has_what_it_was_started_for() -> None:
    link = Link()
    link.restarts = True
    scale = make_scale(link, Workforce(2, 1, 0.0, "cpu"))
    assert scale.workers_max == 2
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


def test_a_request_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each minute, as the end of another run takes it away; sooner if it has failed; but not where nothing is wanted."""
    now_s = 1000.0
    monkeypatch.setattr(render.cluster.scale, "time", SimpleNamespace(monotonic=lambda: now_s))
    link = Link(H100)
    scale = make_scale(link, Workforce(3, 4, 1.0, "cuda"))

    def ask(pause_s: float, units: int = 3) -> int:
        nonlocal now_s
        now_s += pause_s
        scale.ask(units, units)
        assert link.background.is_free(60)
        return len(link.requests)

    assert [ask(0), ask(REPEAT_S - 1), ask(1), ask(1)] == [1, 1, 2, 2]
    link.fault = OSError("the head is busy")
    assert [ask(REPEAT_S), ask(LOOK_S / 2), ask(LOOK_S / 2)] == [3, 3, 4]
    assert not scale.end()
    link.fault = None
    assert [ask(LOOK_S), ask(LOOK_S)] == [6, 6]
    assert [ask(0, 0), ask(REPEAT_S, 0)] == [7, 7]
    assert {count for count, _ in link.requests[:4]} == {3}
    assert scale.end()


def test_the_end_does_not_wait_for_a_silent_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.cluster.scale, "END_S", 0.05)
    link, go_on = Link(H100), Event()
    scale = make_scale(link)
    scale.ask(8, 8)
    link.background.begin(lambda: go_on.wait(60))
    assert not scale.end()
    go_on.set()


def test_nothing_is_taken_back_that_was_not_asked_for() -> None:
    link = Link(H100)
    make_scale(link).end()
    assert link.requests == []


def test_a_bundle_has_no_zeros() -> None:
    assert bundle_of(Workforce(None, 2, 0.0, "cpu"), 0) == {"CPU": 2}
