"""Walks to units."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.core.columns import column_names
from render.core.recipe import Target
from render.core.walk import Keyframe, Walk
from render.plan.motions import frames_of
from render.plan.units import (
    UNIT_BYTES,
    UNIT_FRAMES,
    Counts,
    Extension,
    Limits,
    Plan,
    Stretch,
    count_walks,
    evaluations_of,
    evaluations_with_cuts,
    make_plan,
    plan_units,
    show_group,
)

if TYPE_CHECKING:
    from torch import Tensor

    from render.engine.denoise import FrameGenerator, Row
    from render.engine.renderer import Renderer

MakeKeyframe = Callable[..., Keyframe]
TARGETS = {"main": Target("m"), "xl": Target("x"), "flux": Target("f", guidance_embeds=True, tile_above=64)}
CPU = Limits(batch_rows=None, unit_frames=None, gpu=False, format="png")
GPU = Limits(batch_rows=None, unit_frames=None, gpu=True, format="png")


def plan_for(walks: list[Walk], limits: Limits = CPU) -> Plan:
    targets = {name: TARGETS[name] for name in dict.fromkeys(walk.model for walk in walks)}
    return make_plan(count_walks(walks, targets), limits, {"manifest": "abc"}, targets)


@st.composite
def walks_and_limits(draw: st.DrawFn) -> tuple[list[Walk], Limits]:
    """Walks of one to four keyframes of three models in three sizes, guided and not."""

    def walk(index: int) -> Walk:
        width, height = draw(st.sampled_from([(64, 64), (64, 96), (512, 512)]))
        model = draw(st.sampled_from(list(TARGETS)))
        shares: dict[str, Any] = draw(st.sampled_from([{}, {}, {"anchor": 0.5}, {"tween": 2}]))
        keyframes = tuple(
            Keyframe(
                row=index + 1,
                prompt=f"{index} {k}",
                negative_prompt="",
                seed=k,
                frames=draw(st.integers(1, 12)),
                easing="linear",
                interpolation="slerp",
                steps=3,
                guidance=draw(st.sampled_from([0.0, 1.0, 1.5, 7.0])),
                scheduler="ddim",
                true_guidance=draw(st.sampled_from([1.0, 2.0])) if TARGETS[model].guidance_embeds else 1.0,
            )
            for k in range(draw(st.integers(1, 4)))
        )
        still = len(keyframes) == 1 and draw(st.booleans())
        return Walk(f"w{index}", keyframes, width, height, still, model=model, **shares)

    walks = [walk(index) for index in range(draw(st.integers(1, 5)))]
    rows, unit_frames = draw(st.none() | st.integers(1, 20)), draw(st.none() | st.integers(1, 9))
    return walks, Limits(rows, unit_frames, draw(st.booleans()), draw(st.sampled_from(["png", "webp", "jpeg"])))


@pytest.mark.slow
@settings(deadline=None)
@given(walks_and_limits())
def test_units_of_any_job(case: tuple[list[Walk], Limits]) -> None:
    walks, limits = case
    plan = plan_for(walks, limits)
    units = list(plan_units(lambda: walks, plan))
    placed = sorted((frame.walk, frame.index) for unit in units for frame in unit.frames)
    asked = dict.fromkeys(plan.batch_rows, 0)
    for unit in units:
        assert {(unit.model, f.recipe.width, f.recipe.height) for f in unit.frames} == {unit.group}
        assert {frame.recipe.model for frame in unit.frames} == {TARGETS[unit.model].fingerprint}
        assert 0 < len(unit.frames) <= plan.unit_frames[unit.group]
        assert unit.batch_rows == plan.batch_rows[unit.group]
        assert unit.of == plan.units
        asked[unit.group] += sum(2 if frame.recipe.guided else 1 for frame in unit.frames)

    expected = [(f.walk, f.index) for walk in walks for f in frames_of(walk, TARGETS[walk.model])]
    assert placed == sorted(expected)
    assert [unit.id for unit in units] == [f"{number:05d}" for number in range(plan.units)]
    assert [model for model, _ in groupby(unit.model for unit in units)] == list(plan.targets)
    assert units == list(plan_units(lambda: iter(walks), plan))
    for group, rows in plan.batch_rows.items():
        assert 1 <= rows <= (limits.batch_rows or 128)
        # Counted a leg at a time: one whose guidance passes 1 on the way counts as guided in all its frames.
        most = asked[group] + sum(f.recipe.guidance <= 1 for unit in units for f in unit.frames if unit.group == group)
        assert rows <= most


def test_frames_keep_the_manifest_s_order(make_keyframe: MakeKeyframe) -> None:
    walks = [Walk(f"w{i}", (make_keyframe(),), 64 + 64 * (i % 2), 64, still=True) for i in range(40)]
    units = list(plan_units(lambda: walks, plan_for(walks)))
    for width in (64, 128):
        names = [frame.walk for unit in units if unit.group == ("main", width, 64) for frame in unit.frames]
        assert names == [walk.name for walk in walks if walk.width == width]


def test_units_come_model_by_model(make_keyframe: MakeKeyframe) -> None:
    """Of walks that alternate, and in the order in which the models first appear."""
    walks = [Walk(f"w{i}", (make_keyframe(),), 64, 64, still=True, model=("xl", "main")[i % 2]) for i in range(6)]
    plan = plan_for(walks, Limits(None, 2, False, "png"))
    units = list(plan_units(lambda: walks, plan))
    assert [(unit.model, [frame.walk for frame in unit.frames]) for unit in units] == [
        ("xl", ["w0", "w2"]),
        ("xl", ["w4"]),
        ("main", ["w1", "w3"]),
        ("main", ["w5"]),
    ]


@pytest.mark.parametrize(
    ("count", "guidance", "limit", "rows"),
    [
        (1, 1.0, None, 1),  # a lone still does not pay for sixteen rows
        (1, 3.0, None, 2),
        (3, 3.0, None, 4),  # a power of two
        (100, 3.0, None, 16),
        (100, 3.0, 8, 8),
        (2, 3.0, 100, 4),
    ],
)
def test_rows(make_keyframe: MakeKeyframe, count: int, guidance: float, limit: int | None, rows: int) -> None:
    walks = [Walk(f"w{i}", (make_keyframe(guidance=guidance),), 64, 64, still=True) for i in range(count)]
    assert plan_for(walks, Limits(limit, None, False, "png")).batch_rows == {("main", 64, 64): rows}


@pytest.mark.parametrize(
    ("count", "workers", "limit", "rows"),
    [
        (2, 2, None, 2),  # each worker has one frame, whose batches are full
        (3, 2, None, 2),
        (8, 2, None, 8),
        (31, 2, None, 16),
        (100, 64, None, 4),
        (1, 2, None, 2),  # a frame is no two workers'
        (2, 2, 4, 4),  # the job's own word
    ],
)
def test_no_batch_is_larger_than_a_worker_s_share(
    make_keyframe: MakeKeyframe, count: int, workers: int, limit: int | None, rows: int
) -> None:
    walks = [Walk(f"w{i}", (make_keyframe(guidance=3.0),), 64, 64, still=True) for i in range(count)]
    plan = plan_for(walks, Limits(limit, None, False, "png", workers))
    assert plan.batch_rows == {("main", 64, 64): rows}


@pytest.mark.parametrize(
    ("limits", "side", "rows"),
    [
        (CPU, 64, 16),
        (CPU, 128, 16),
        (CPU, 256, 4),
        (CPU, 512, 2),  # never under two: a guided frame's step
        (GPU, 128, 128),  # at most: workers measure
        (GPU, 8192, 128),
        (replace(GPU, batch_rows=48), 512, 48),
    ],
)
def test_rows_by_device_and_size(make_keyframe: MakeKeyframe, limits: Limits, side: int, rows: int) -> None:
    walk = Walk("w", (make_keyframe(frames=200), make_keyframe()), side, side)
    plan = plan_for([walk], limits)
    assert plan.batch_rows == {("main", side, side): rows}
    assert plan.measure_rows is (limits is GPU)


@pytest.mark.parametrize(
    ("frames", "side", "limits", "size"),
    [
        (10, 64, CPU, 8),  # little jobs are parted too
        (640, 64, CPU, 16),  # what fills a batch
        (6400, 64, CPU, 100),  # 64 units
        (6400, 64, replace(CPU, workers=40), 40),  # four of each worker
        (10, 64, replace(CPU, workers=3), 4),  # each worker's share
        (256, 512, GPU, 48),  # as many as the batch that a worker is likely to choose
        (40, 1024, GPU, 12),
        (256, 512, replace(GPU, batch_rows=96), 96),
        (10**6, 64, CPU, UNIT_FRAMES),
        (10**6, 1024, CPU, 75),  # by bytes: 128 MiB of PNG
        (10**6, 8192, CPU, 1),
        (10**6, 64, Limits(None, 1000, False, "png"), 1000),  # the job's own word
    ],
)
def test_frames_of_a_unit(make_keyframe: MakeKeyframe, frames: int, side: int, limits: Limits, size: int) -> None:
    group = ("main", side, side)
    stretches = {(group, "train"): [Stretch(frames)]}
    counts = Counts(0, frames, frames, frames * side * side, frames, {group: (frames, frames)}, stretches)
    plan = make_plan(counts, limits, {}, TARGETS)
    assert plan.unit_frames == {group: size}
    assert plan.units == -(-frames // size)
    assert size == 1 or limits.unit_frames or size * side * side * 1.7 <= UNIT_BYTES


def test_counts(make_keyframe: MakeKeyframe) -> None:
    walks = [
        Walk("moving", (make_keyframe(frames=3, guidance=1.0), make_keyframe(guidance=1.0)), 64, 64),
        Walk("still", (make_keyframe(scheduler="heun", steps=4),), 128, 64, still=True),
        Walk("embedded", (make_keyframe(guidance=3.5, scheduler="flow-heun"),), 64, 64, still=True, model="flux"),
        Walk("true", tuple(make_keyframe(frames=4, true_guidance=s) for s in (0.0, 2.0)), 64, 64, model="flux"),
    ]
    assert count_walks(walks, TARGETS) == Counts(
        walks=2,
        stills=2,
        frames=11,
        pixels=10 * 64 * 64 + 128 * 64,
        evaluations=4 * 3 + 2 * 7 + 5 + 7 * 3,
        by_group={("main", 64, 64): (4, 4), ("main", 128, 64): (1, 2), ("flux", 64, 64): (6, 8)},
        stretches={
            (("main", 64, 64), "train"): [Stretch(4)],
            (("main", 128, 64), "train"): [Stretch(1)],
            (("flux", 64, 64), "train"): [Stretch(6)],
        },
    )


def test_legs_that_share_stay_together_where_they_can(make_keyframe: MakeKeyframe) -> None:
    """Units of ten: a leg of six begins a new one behind six others, one of 25 begins a new one and is cut."""
    first = [Walk(f"s{n}", (make_keyframe(),), 64, 64, still=True) for n in range(6)]
    short = Walk("short", tuple(make_keyframe(frames=6, steps=4, seed=n) for n in range(2)), 64, 64, anchor=0.5)
    long = Walk("long", tuple(make_keyframe(frames=25, steps=4, seed=n) for n in range(2)), 64, 64, anchor=0.5)
    limits = Limits(None, 10, False, "png")
    plan = plan_for([*first, short, long], limits)
    sizes = [[frame.walk for frame in unit.frames] for unit in plan_units(lambda: iter([*first, short, long]), plan)]
    assert [(names[0], len(names)) for names in sizes] == [
        ("s0", 6),
        ("short", 7),
        ("long", 10),
        ("long", 10),
        ("long", 6),
    ]
    assert plan.units == 5
    counts = count_walks([*first, short, long], TARGETS)
    assert evaluations_with_cuts(counts, plan) - counts.evaluations == 2 * (2 * 2)  # two cuts, two guided steps


def test_no_unit_of_one_frame_ends_a_leg(make_keyframe: MakeKeyframe) -> None:
    walks = [
        Walk(f"w{n}", tuple(make_keyframe(frames=8, seed=seed) for seed in range(2)), 64, 64, anchor=0.5)
        for n in range(3)
    ]
    long = [Walk("w", tuple(make_keyframe(frames=41, seed=seed) for seed in range(2)), 64, 64, tween=1)]
    for some, sizes in ((walks, [9, 9, 9]), (long, [17] * 4 + [15])):
        plan = plan_for(some, Limits(None, None, False, "png"))
        assert [len(unit.frames) for unit in plan_units(lambda some=some: iter(some), plan)] == sizes  # type: ignore[misc]


def test_what_moves_is_counted_frame_by_frame(make_keyframe: MakeKeyframe) -> None:
    """Strength decides the steps, guidance above 1 the rows."""
    keyframes = [
        make_keyframe(frames=4, steps=10, image="a.png", strength=s, guidance=g) for s, g in ((0.2, 0), (1, 4))
    ]
    recipes = [frame.recipe for frame in frames_of(Walk("w", tuple(keyframes), 64, 64), TARGETS["main"])]
    counts = count_walks([Walk("w", tuple(keyframes), 64, 64)], TARGETS)
    assert counts.evaluations == sum((1 + recipe.guided) * (10 - recipe.skipped_steps) for recipe in recipes)
    assert counts.by_group["main", 64, 64] == (5, sum(1 + recipe.guided for recipe in recipes))


@pytest.mark.slow
def test_the_plan_counts_what_is_run(make_keyframe: MakeKeyframe, renderer: Renderer) -> None:
    """The network's rows, where one unit holds the walk: with shared steps, with tweens, with both and with repeats."""
    from render.engine.batch import Batch
    from render.engine.denoise import pack_rows

    denoising = {"motion": "denoise", "every": 2, "shown": "clean", "scheduler": "heun"}
    both = {"anchor": 0.4, "tween": 1}
    heun = {"anchor": 0.4, "scheduler": "heun", "loop": "cycle"}
    pndm = {"anchor": 1.0, "scheduler": "pndm"}
    for fields in ({}, {"anchor": 0.6}, {"tween": 2}, both, heun, pndm, {"easing": "onsets"}, denoising):
        pace: Any = {"onset_pace": (0.0, 0.5, 0.5, 0.5)} if "easing" in fields else {}
        own: dict[str, Any] = {name: fields[name] for name in fields if name in column_names("walk")}
        rest = {name: fields[name] for name in fields if name not in own}
        keyframes = [make_keyframe(seed=n, frames=4, steps=5, **rest, **pace) for n in range(3)]
        walk = Walk("w", tuple(keyframes[:1] if "motion" in fields else keyframes), 64, 64, **own)
        recipes = [frame.recipe for frame in frames_of(walk, TARGETS["main"])]
        renderer.forget()
        renderer.prepare(recipes)
        waiting = iter([(n, renderer.start(recipe)) for n, recipe in enumerate(recipes)])
        asked: list[int] = []

        def admit(_wait: bool, waiting: Iterator[tuple[int, FrameGenerator]] = waiting) -> Any:
            return next(waiting, None)

        def run(rows: list[Row], asked: list[int] = asked) -> list[Tensor]:
            asked.append(len(rows))
            return renderer.run(rows, Batch.full(8))

        assert len(list(pack_rows(admit, run, 8))) == len(recipes)
        planned = count_walks([walk], TARGETS).evaluations
        assert sum(asked) == planned - (2 * 2 * 2 * 5 if pace else 0)  # repeats are found when they are rendered


@pytest.mark.parametrize(
    ("scheduler", "steps", "calls"),
    [
        ("ddim", 20, 20),
        ("heun", 20, 39),
        ("heun", 1, 1),
        ("pndm", 20, 21),
        ("pndm", 1, 1),
        ("dpm++ sde", 7, 7),
        ("flow-heun", 9, 17),
        ("flow-euler", 9, 9),
    ],
)
def test_evaluations(make_keyframe: MakeKeyframe, scheduler: str, steps: int, calls: int) -> None:
    """That these are what the schedulers ask for is tested in test_denoise.py."""
    assert evaluations_of(make_keyframe(scheduler=scheduler, steps=steps)) == calls


def test_plan_through_json(make_keyframe: MakeKeyframe) -> None:
    walks = [
        Walk("a", (make_keyframe(),), 64, 64, still=True),
        Walk("b", (make_keyframe(),), 128, 64, still=True, model="flux"),
    ]
    plan = plan_for(walks)
    assert [show_group(group) for group in plan.batch_rows] == ["main 64x64", "flux 128x64"]
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_units_stream(make_keyframe: MakeKeyframe) -> None:
    """The first unit is there before the second walk is read."""
    walk = Walk("w", (make_keyframe(frames=100), make_keyframe()), 64, 64)
    plan = plan_for([walk, walk])

    def source() -> Iterator[Walk]:
        yield walk
        raise AssertionError("read on")

    assert len(next(plan_units(source, plan)).frames) == plan.unit_frames["main", 64, 64]


def test_units_of_an_extension_follow_with_sizes_of_their_own(make_keyframe: MakeKeyframe) -> None:
    """The units before keep numbers and frames, whatever models the added rows are of."""
    walks = [Walk(f"w{i}", (make_keyframe(row=i + 1),), 64, 64, still=True, model="main") for i in range(5)]
    added = [
        Walk(f"x{i}", (make_keyframe(row=i + 8),), 64, 64, still=True, model=("xl", "main")[i % 2]) for i in range(4)
    ]
    plan = plan_for(walks, Limits(2, 2, False, "png"))
    part = plan_for(added, Limits(8, 1, False, "png"))
    begun = replace(plan, targets={**plan.targets, **part.targets}, rows=5)
    extension = Extension(7, 4, part.units, part.batch_rows, part.unit_frames)
    whole = replace(begun, extensions=(extension, replace(extension, after_row=11, rows=1, units=1)))
    last = Walk("y", (make_keyframe(row=12),), 64, 64, still=True)
    units = list(plan_units(lambda: iter([*walks, *added, last]), whole))
    assert units[:3] == list(plan_units(lambda: walks, plan))
    assert [(unit.id, unit.of, [frame.walk for frame in unit.frames]) for unit in units[3:]] == [
        ("00003", 7, ["x1"]),
        ("00004", 7, ["x3"]),
        ("00005", 7, ["x0"]),
        ("00006", 7, ["x2"]),
        ("00007", 8, ["y"]),
    ]
    assert (whole.all_units, whole.all_rows) == (8, 10)
    assert [{unit.batch_rows for unit in some} for some in (units[:3], units[3:])] == [{2}, {4}]
    assert Plan.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
