"""Batch sizes chosen for stand-in networks whose time, memory and unsafe places are made up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import torch
from instruments import FakeInstruments
from torch import Tensor

from render.core.errors import RunError
from render.engine.batch import Batch, Batches
from render.engine.denoise import Row
from render.engine.tuner import BatchSizes, Tunable, Tuner

WEIGHTS = 100  # bytes


@dataclass
class StandIn:
    """A network and a decoder of one number a row, on made-up instruments.

    A call of the network takes a millisecond, and 1 ms a row where that is more than `free_rows`; memory `row_bytes` a row.
    """

    free_rows: int = 1
    row_bytes: int = 1
    image_bytes: int = 1
    unsafe: Callable[[int, bool], Sequence[int]] = lambda rows, compiled: ()  # places by batch size
    compiles: bool = False
    instruments: FakeInstruments = field(default_factory=lambda: FakeInstruments(held=WEIGHTS))
    calls: list[tuple[str, int]] = field(default_factory=list)  # (network, compiled or decoder, batch size)
    stages: set[str] = field(default_factory=set)
    tuner: Tuner = field(init=False)
    compiled: bool = False

    def __post_init__(self) -> None:
        self.compiled = self.compiles
        tunable = Tunable(self.samples, self.evaluate, self.decode, self.eager)
        self.tuner = Tuner(tunable, self.instruments, self.compiles)

    def samples(self, width: int, height: int) -> list[Row]:
        return [Row(torch.tensor([value]), torch.tensor(1.0), {}) for value in (1.0, 2.0, 3.0)]

    def evaluate(self, rows: Sequence[Row]) -> Tensor:
        self.calls.append(("compiled" if self.compiled else "network", len(rows)))
        self.stages.add(self.tuner.stage)
        self.instruments.spend(1e-3 * max(1, len(rows) / self.free_rows), self.row_bytes * len(rows))
        outputs = torch.stack([row.latents for row in rows])
        for place in self.unsafe(len(rows), self.compiled):
            outputs[place] += 1e-3
        return outputs

    def decode(self, rows: Sequence[Row]) -> Tensor:
        self.calls.append(("decoder", len(rows)))
        self.instruments.spend(1e-3 * max(1, len(rows) / 2), self.image_bytes * len(rows))
        return torch.stack([row.latents for row in rows])

    @contextmanager
    def eager(self) -> Iterator[None]:
        self.compiled = False
        yield
        self.compiled = self.compiles


@pytest.mark.parametrize(
    ("network", "rows", "decode_rows"),
    [
        (StandIn(), 1, 1),  # one image ends at a time
        (StandIn(free_rows=12), 12, 2),
        (StandIn(free_rows=1000), 96, 2),  # 128 is more than 96 asked for
        (StandIn(free_rows=1000, row_bytes=20), 32, 2),  # 92 % of 1000 bytes hold weights, 40 rows and the decoder
        (StandIn(free_rows=1000, row_bytes=20, image_bytes=70), 32, 2),
        (StandIn(free_rows=1000, row_bytes=20, image_bytes=100), 24, 2),  # 200 bytes for two images
        (StandIn(free_rows=1000, row_bytes=16, image_bytes=110), 32, 2),
        (StandIn(free_rows=1000, row_bytes=16, image_bytes=120), 32, 1),  # two images take more than a quarter
        (StandIn(free_rows=1000, row_bytes=850), 1, 1),  # nothing fits: the smallest
    ],
)
def test_sizes_follow_speed_and_memory(network: StandIn, rows: int, decode_rows: int) -> None:
    chosen = network.tuner.choose(64, 64, 96, fixed=False)
    assert (chosen.rows, chosen.decode_rows) == (rows, decode_rows)
    assert BatchSizes.from_dict(chosen.to_dict()) == chosen


def test_the_decoder_s_memory_is_left_free() -> None:
    network = StandIn(free_rows=1000, row_bytes=12, image_bytes=60)
    assert network.tuner.choose(64, 64, 96, fixed=False).rows == 48
    network = StandIn(free_rows=1000, row_bytes=16, image_bytes=60)
    assert network.tuner.choose(64, 64, 96, fixed=False).rows == 32  # 48 alone would fit: 100 + 768 of 920 bytes


def test_given_rows_are_kept_and_the_decoder_is_chosen() -> None:
    network = StandIn()
    chosen = network.tuner.choose(64, 64, 16, fixed=True)
    assert (chosen.rows, chosen.decode_rows) == (16, 2)
    assert [measured.size for measured in chosen.network] == [16]


def test_what_was_measured_is_told() -> None:
    network = StandIn(free_rows=4, unsafe=lambda rows, _: range(3, rows) if rows == 4 else ())
    chosen = network.tuner.choose(64, 64, 8, fixed=False)
    assert chosen.rows == 6
    assert [(one.size, one.safe, one.ms) for one in chosen.network] == [
        (1, 1, 1.0),
        (2, 2, 1.0),
        (3, 3, 1.0),
        (4, 3, 1.0),
        (6, 6, 1.5),
        (8, 8, 2.0),
    ]
    assert chosen.network[-1].peak_bytes == WEIGHTS + 8
    assert network.stages == {"measuring batch sizes"}
    assert network.tuner.stage == ""


def test_a_network_to_be_compiled_is_chosen_for_uncompiled_and_compiled_once() -> None:
    network = StandIn(free_rows=8, compiles=True)
    assert network.tuner.choose(64, 64, 12, fixed=False).rows == 8
    kinds = [kind for kind, _ in network.calls]
    assert set(network.calls[kinds.index("compiled") :]) == {("compiled", 8), ("decoder", 1)}
    assert network.stages == {"measuring batch sizes", "compiling the network", "measuring batch places"}
    made = len(network.calls)
    assert network.tuner.batches(64, 64, 8, 1) == Batches(Batch.full(8), Batch.full(1))
    assert len(network.calls) == made  # compiled and measured before


def test_another_size_is_compiled_where_many_places_are_unsafe() -> None:
    def unsafe(rows: int, compiled: bool) -> Sequence[int]:
        return range(rows - 2, rows) if compiled and rows == 12 else ()

    network = StandIn(free_rows=12, compiles=True, unsafe=unsafe)
    assert network.tuner.choose(64, 64, 16, fixed=False).rows == 16
    assert {size for kind, size in network.calls if kind == "compiled"} == {12, 16}


def test_of_compiled_sizes_that_all_have_unsafe_places_the_best_is_taken() -> None:
    """Three are tried, no more."""

    def unsafe(rows: int, compiled: bool) -> Sequence[int]:
        return range({16: 8, 12: 2, 8: 1}[rows]) if compiled else ()

    network = StandIn(free_rows=100, compiles=True, unsafe=unsafe)
    assert network.tuner.choose(64, 64, 16, fixed=False).rows == 12
    assert {size for kind, size in network.calls if kind == "compiled"} == {16, 12, 8}


def test_places_that_are_known_are_not_measured_again() -> None:
    network, known = StandIn(), Batches(Batch(8, (0, 1)), Batch.full(2))
    assert network.tuner.batches(64, 64, 8, 2, known) == known
    assert network.calls == []


def test_places_of_the_decoder_are_measured_too() -> None:
    network = StandIn(unsafe=lambda rows, _: (0,))
    batches = network.tuner.batches(64, 64, 4, 2)
    assert batches == Batches(Batch(4, (1, 2, 3)), Batch.full(2))
    assert network.calls == [("network", 4)] * 3 + [("decoder", 2)] * 3
    assert batches.exact


def test_on_a_cpu_nothing_is_measured() -> None:
    network = StandIn()
    tuner = Tuner(network.tuner._target, None, compiles=False)
    assert not tuner.measures
    assert tuner.choose(64, 64, 16, fixed=False) == BatchSizes(16, 1, (), ())
    assert tuner.batches(64, 64, 16, 1) == Batches(Batch.full(16), Batch.full(1))
    assert network.calls == []


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("no room"), torch.AcceleratorError("CUDA error")])
def test_errors_of_the_device_are_not_those_of_the_compiler(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    network = StandIn(compiles=True)
    monkeypatch.setattr(network, "evaluate", lambda rows: fail(error))
    network.__post_init__()
    with pytest.raises(type(error)):
        network.tuner.batches(64, 64, 8, 1)


def test_a_network_that_does_not_compile_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its frames would go to quarantine one by one."""
    network = StandIn(compiles=True)
    monkeypatch.setattr(network, "evaluate", lambda rows: fail(RuntimeError("Failed to find C compiler\n  more")))
    network.__post_init__()
    with pytest.raises(
        RunError, match=r"workers\.compile: required .*, got RuntimeError: Failed to find C compiler \("
    ):
        network.tuner.batches(64, 64, 8, 1)
    assert network.tuner.stage == ""


def fail(error: Exception) -> Tensor:
    raise error
