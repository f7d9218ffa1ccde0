"""Batch sizes of a run: the first record wins, and later runs need no measurement."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from render.cluster.batch_book import BatchBook
from render.core.user_cache import user_cache
from render.engine.batch import Batch, Batches
from render.engine.renderer import Renderer
from render.engine.tuner import BatchSizes, Measured
from render.store.ledger import Ledger

GROUP = ("main", 64, 32)


@dataclass
class FakeTuner:
    """A tuner that chooses to order, and counts."""

    rows: int = 12
    measures: bool = True
    places: tuple[int, ...] = (0, 1, 2)
    chosen: list[tuple[int, bool]] = field(default_factory=list)  # what `choose` was asked for
    measured: list[tuple[int, int]] = field(default_factory=list)  # sizes whose places were measured

    def choose(self, width: int, height: int, most_rows: int, fixed: bool) -> BatchSizes:
        assert (width, height) == GROUP[1:]
        self.chosen.append((most_rows, fixed))
        return BatchSizes(most_rows if fixed else self.rows, 2, (Measured(self.rows, 11, 1.5, 7),), ())

    def batches(self, width: int, height: int, rows: int, decode_rows: int, known: Batches | None = None) -> Batches:
        if known is None:
            self.measured.append((rows, decode_rows))
        return known or Batches(Batch(rows, self.places), Batch.full(decode_rows))


@dataclass
class FakeRenderer:
    tuner: FakeTuner = field(default_factory=FakeTuner)
    fingerprint: str = "f"
    device: str = "NVIDIA H200"
    dtype: str = "bfloat16"
    compiles: bool = False
    versions: dict[str, str] = field(default_factory=lambda: {"torch": "2.13"})


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ledger = Ledger(tmp_path / "out")
    ledger.create()
    return ledger


def ask(ledger: Ledger, fake: FakeRenderer, most: int = 64, fixed: bool = False) -> tuple[BatchSizes, Batches]:
    """The sizes and batches that a worker of its own gets."""
    book, renderer = BatchBook(ledger.folder), cast(Renderer, fake)
    sizes = book.choose(renderer, GROUP, most, fixed)
    return sizes, book.batches(renderer, GROUP, sizes.rows)


def forget_cache() -> None:
    for path in user_cache("batches").iterdir():
        path.unlink()


def test_the_first_worker_s_choice_holds_for_all(ledger: Ledger) -> None:
    first, second = FakeRenderer(FakeTuner(rows=12)), FakeRenderer(FakeTuner(rows=48))
    sizes, batches = ask(ledger, first)
    assert (sizes.rows, sizes.decode_rows) == (12, 2)
    forget_cache()
    assert ask(ledger, second) == (sizes, batches)
    assert (second.tuner.chosen, second.tuner.measured) == ([], [])


def test_of_two_that_measure_at_once_the_one_that_publishes_first_wins(ledger: Ledger) -> None:
    fast, slow = FakeRenderer(FakeTuner(rows=12)), FakeRenderer(FakeTuner(rows=48))
    choose = slow.tuner.choose

    def overtaken(*sizes: Any) -> BatchSizes:
        ask(ledger, fast)
        return choose(*sizes)

    slow.tuner.choose = overtaken  # type: ignore[method-assign, assignment]
    assert ask(ledger, slow)[0].rows == 12
    assert slow.tuner.chosen == [(64, False)]


def test_other_cards_and_versions_measure_their_own_places_at_the_same_sizes(ledger: Ledger) -> None:
    ask(ledger, FakeRenderer())
    for other in (FakeRenderer(device="NVIDIA H100"), FakeRenderer(versions={"torch": "2.14"})):
        other.tuner = FakeTuner(rows=96, places=(3, 4))
        sizes, batches = ask(ledger, other)
        assert (sizes.rows, batches.network) == (12, Batch(12, (3, 4)))
        assert (other.tuner.chosen, other.tuner.measured) == ([], [(12, 2)])
    assert len(list(ledger.folder.batches.iterdir())) == 4  # the sizes, and the places of three kinds of worker


def test_a_later_run_takes_the_sizes_of_the_cache(ledger: Ledger, tmp_path: Path) -> None:
    sizes, _ = ask(ledger, FakeRenderer())
    other = Ledger(tmp_path / "other")
    other.create()
    same = FakeRenderer(FakeTuner(rows=99))
    assert ask(other, same)[0] == sizes
    assert same.tuner.chosen == []
    assert same.tuner.measured == [(12, 2)]


@pytest.mark.parametrize(
    "change",
    [{"fingerprint": "g"}, {"device": "NVIDIA H100"}, {"dtype": "float32"}, {"compiles": True}, {"versions": {}}],
)
def test_the_cache_is_of_one_model_device_and_version(ledger: Ledger, tmp_path: Path, change: dict[str, Any]) -> None:
    ask(ledger, FakeRenderer())
    other = Ledger(tmp_path / "other")
    other.create()
    assert ask(other, FakeRenderer(FakeTuner(rows=99), **change))[0].rows == 99


@pytest.mark.parametrize(("most", "fixed"), [(32, False), (64, True)])
def test_the_cache_is_of_one_question(ledger: Ledger, tmp_path: Path, most: int, fixed: bool) -> None:
    ask(ledger, FakeRenderer())
    other = Ledger(tmp_path / "other")
    other.create()
    fake = FakeRenderer()
    assert ask(other, fake, most, fixed)[0].rows == (64 if fixed else 12)
    assert fake.tuner.chosen == [(most, fixed)]


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"rows": 1}'])
def test_a_broken_cache_is_no_cache(ledger: Ledger, tmp_path: Path, content: str) -> None:
    ask(ledger, FakeRenderer())
    for path in user_cache("batches").iterdir():
        path.write_text(content)
    other = Ledger(tmp_path / "other")
    other.create()
    fake = FakeRenderer()
    assert ask(other, fake)[0].rows == 12
    assert fake.tuner.chosen == [(64, False)]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder would be")
    assert ask(ledger, FakeRenderer())[0].rows == 12


def test_fewer_rows_after_running_out_of_memory(ledger: Ledger) -> None:
    """At the decoder's size of then; the run's choice stays."""
    fake, book = FakeRenderer(), BatchBook(ledger.folder)
    book.choose(cast(Renderer, fake), GROUP, 64, fixed=False)
    assert book.batches(cast(Renderer, fake), GROUP, 6) == Batches(Batch(6, (0, 1, 2)), Batch.full(2))
    assert ask(ledger, fake)[0].rows == 12


def test_the_record_says_what_was_measured_and_where(ledger: Ledger) -> None:
    ask(ledger, FakeRenderer())
    record = json.loads((ledger.folder.batches / "main-64x32.json").read_text())
    assert (record["rows"], record["device"], record["versions"]) == (12, "NVIDIA H200", {"torch": "2.13"})
    assert record["network"] == [{"size": 12, "safe": 11, "ms": 1.5, "peak_bytes": 7}]
    (places,) = ledger.folder.batches.glob("main-64x32-12-*.json")
    assert json.loads(places.read_text())["network"] == {"rows": 12, "places": [0, 1, 2], "exact": True}


def test_on_a_cpu_nothing_is_recorded(ledger: Ledger) -> None:
    sizes, batches = ask(ledger, FakeRenderer(FakeTuner(measures=False, places=tuple(range(8)))), 8)
    assert sizes == BatchSizes(8, 1, (), ())
    assert batches == Batches(Batch.full(8), Batch.full(1))
    assert list(ledger.folder.batches.iterdir()) == []
