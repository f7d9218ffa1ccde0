"""The driver over workers that do something by chance: every unit ends in one receipt, every frame is told once."""

from __future__ import annotations

import math
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from crews import KILLED, LOST, make_cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from light_workers import Watch
from ray.exceptions import RayError
from test_dispatch import units

from render.cluster import driver
from render.cluster.crew import WorkerState
from render.cluster.progress import Progress
from render.core.unit import Receipt, Unit

STEPS_MAX = 10_000


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 12), max_size=12), chance=st.randoms(use_true_random=False))
def test_every_frame_has_one_receipt(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], chance: Random
) -> None:
    """Workers load, are fast, slow, or hang, die with all they have, alone or with their machine, leave, and join.

    They die after a commit that nobody has heard of, too, and commit after they were taken for dead.
    """
    with pytest.MonkeyPatch.context() as patch:
        run = _Run(make_cluster(tmp_path_factory.mktemp("out"), *units(*sizes)), chance)
        patch.setattr(driver, "ray", SimpleNamespace(get=run.answer))
        for _ in range(STEPS_MAX):
            if run.is_done:
                break
            run.step()
    assert run.is_done
    receipts = run.cluster._ledger.receipts()
    assert sorted(run.received) == sorted(receipt.unit for receipt in receipts)
    assert sum(receipt.frames + len(receipt.quarantined) for receipt in receipts) == sum(sizes)
    assert run.watch.counted == sum(sizes)


class _Run:
    """A driver, and what its workers do at each step."""

    def __init__(self, cluster: Any, chance: Random) -> None:
        self.cluster, self._crew, self._ledger, self._chance = cluster, cluster._crew, cluster._ledger, chance
        self.watch, self.received = Watch(), list[str]()
        self._answers: dict[Any, Receipt | Exception | None] = {}

    def answer(self, ref: Any) -> Receipt | None:
        """Take the place of ray.get."""
        found = self._answers.pop(ref)
        if isinstance(found, Exception):
            raise found
        return found

    @property
    def is_done(self) -> bool:
        return self.cluster._dispatcher.is_empty and not any(worker.refs for worker in self._crew.workers)

    def step(self) -> None:
        cluster = self.cluster
        cluster._scale.workers_max = self._chance.randint(1, 4)
        cluster._follow_scale(self.watch)
        cluster._assign(self.watch)
        if cluster._reclaim_from_unplaced(self.watch):
            cluster._assign(self.watch)
        for worker in self._crew.workers:
            assert {unit.id for unit in worker.refs.values()} == worker.hand.units.keys()
        held = [unit for hand in self._crew.hands for unit in hand.units]
        assert all(held.count(unit) <= 2 for unit in held)
        busy = [worker for worker in self._crew.workers if worker.refs]
        if busy:
            acts = {self._report: 6, self._commit: 4, self._die: 1, self._leave: 1, self._fall_silent: 1}
            self._chance.choices(list(acts), list(acts.values()))[0](self._chance.choice(busy))
        self._commit_late()
        self._crew.starts.failed = 0  # that runs end is another test

    def _report(self, worker: WorkerState) -> None:
        hand = worker.hand
        if not hand.report.node or (not worker.started and self._chance.random() < 0.5):
            report = Progress(stage="loading a model", node=worker.name)
        else:
            finished = hand.done + self._chance.randint(0, sum(len(unit.frames) for unit in hand.units.values()))
            report = Progress(
                units=hand.given,
                capacity=4,
                left=self._chance.randint(0, 200),
                frames=finished,
                idle_s=self._chance.choice([0.0, 500.0]),
                rows=hand.report.rows + self._chance.choice([0, 1, 500]),
                up_s=hand.report.up_s + 10.0,
                node=worker.name,
            )
        self.cluster._reports._note(worker, report, math.inf, self.watch)

    def _collect(self, ref: Any, answer: Receipt | Exception | None) -> None:
        self._answers[ref] = answer
        self.received += [receipt.unit for receipt in self.cluster._collect(ref, self.watch)]

    def _rendered(self, unit: Unit) -> Any:
        """Commit a unit as a worker does."""
        self._ledger.commit(Receipt(unit.id, None, len(unit.frames), 0, "", 0.0, 4))
        return self._ledger.receipt(unit.id)

    def _commit(self, worker: WorkerState) -> None:
        if worker.started:
            ref, unit = self._chance.choice(list(worker.refs.items()))
            self._collect(ref, self._rendered(unit))

    def _die(self, worker: WorkerState) -> None:
        ref, unit = self._chance.choice(list(worker.refs.items()))
        if worker.started and self._chance.random() < 0.3:
            self._rendered(unit)
        self._collect(ref, RayError(self._chance.choice([KILLED, LOST])))

    def _fall_silent(self, worker: WorkerState) -> None:
        worker.progress_s = -math.inf
        self.received += [receipt.unit for receipt in self.cluster._replace_stalled(self.watch)]

    def _commit_late(self) -> None:
        """Let a worker that was given up commit a unit that it had."""
        held = [unit for worker in self._crew.killed if worker.started for unit in worker.refs.values()]
        if held and self._chance.random() < 0.1:
            self._rendered(self._chance.choice(held))

    def _leave(self, worker: WorkerState) -> None:
        """Announce the end of its machine, whereupon it hands some units back."""
        self.cluster._scale.ends[worker.hand.report.node or "none"] = math.inf
        self.cluster._leaving.follow(self.cluster._scale.ends, self.watch)
        for ref in [ref for ref in worker.refs if worker in self._crew.workers and self._chance.random() < 0.5]:
            self._collect(ref, None)
