"""The frozen values: their JSON, their key, their parts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.core.blend import INTERPOLATIONS, Blend, Circle, Image, Mix, Offset, Prompt, Seed, mix
from render.core.errors import InputError, JobError, ManifestError, ModelError, StoreError
from render.core.recipe import PIXELS_VERSION, SEED_MAX, Recipe, canonical_json
from render.core.unit import Frame, Receipt, Unit
from render.core.vocabulary import SCHEDULERS
from render.core.walk import MAIN, Keyframe
from render.core.weights import SYNTAXES

LITERAL = Recipe(
    prompt=Mix("slerp", Prompt("a cät"), Prompt('a "dog"'), 0.25),
    negative_prompt=Prompt(""),
    noise=Mix("slerp-global", Seed(1), Seed(2**63 - 1), 0.1),
    width=64,
    height=96,
    steps=20,
    guidance=3.0,
    scheduler="dpm++2m karras",
    model="0123456789abcdef",
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SHARE = st.floats(0, 1, exclude_min=True, exclude_max=True)


def blends(leaf: st.SearchStrategy[Blend]) -> st.SearchStrategy[Blend]:
    def grown(inner: st.SearchStrategy[Blend]) -> st.SearchStrategy[Blend]:
        mixed = st.builds(Mix, st.sampled_from(INTERPOLATIONS), inner, inner, SHARE)
        moved = st.builds(Offset, inner, st.none() | st.integers(0, SEED_MAX), st.floats(0, 10))
        return mixed | moved | st.builds(Circle, inner, inner, SHARE)

    return st.recursive(leaf, grown, max_leaves=5)


IMAGES = blends(st.builds(Image, TEXT, TEXT))
PROMPTS, SEEDS = blends(st.builds(Prompt, TEXT)), blends(st.builds(Seed, st.integers(0, SEED_MAX)))
RECIPES = st.builds(
    Recipe,
    prompt=PROMPTS,
    negative_prompt=PROMPTS,
    noise=SEEDS,
    width=st.integers(1, 8192),
    height=st.integers(1, 8192),
    steps=st.integers(1, 1000),
    guidance=st.floats(0, 100),
    scheduler=st.sampled_from(SCHEDULERS),
    model=TEXT,
    embedded_guidance=st.none() | st.floats(0, 100),
    image=st.none() | IMAGES,
    skipped_steps=st.integers(0, 999),
    stop=st.none() | st.integers(0, 999),
    clean=st.booleans(),
    tiled=st.booleans(),
    prompt_syntax=st.sampled_from(SYNTAXES),
)


@given(st.builds(replace, RECIPES, stem=st.none() | RECIPES, towards=st.none() | RECIPES, t=st.floats(0, 1)))
def test_json_gives_the_recipe_back(recipe: Recipe) -> None:
    again = Recipe.from_json(recipe.json)
    assert again == recipe
    assert (again.json, again.key) == (recipe.json, recipe.key)


def test_one_recipe_to_the_letter() -> None:
    """A change here changes the key of every stored frame: raise PIXELS_VERSION with it, or undo it."""
    assert LITERAL.json == (
        '{"guidance":3.0,"height":96,"model":"0123456789abcdef","negative_prompt":["prompt",""],'
        '"noise":["slerp-global",["seed",1],["seed",9223372036854775807],0.1],'
        '"prompt":["slerp",["prompt","a cät"],["prompt","a \\"dog\\""],0.25],'
        '"scheduler":"dpm++2m karras","steps":20,"version":1,"width":64}'
    )
    assert LITERAL.key == "05b2981f22d1e05211d648fe2cfc8d4a"


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": Prompt("a cät")},
        {"negative_prompt": Prompt("x")},
        {"noise": Seed(1)},
        {"width": 65},
        {"height": 97},
        {"steps": 21},
        {"guidance": 3.5},
        {"scheduler": "dpm++2m"},
        {"model": "0123456789abcdee"},
        {"embedded_guidance": 1.0},
        {"image": Image("a.png", "00")},
        {"skipped_steps": 1},
        {"stop": 3},
        {"clean": True},
        {"tiled": True},
        {"prompt_syntax": "weighted"},
        {"stem": LITERAL},
        {"towards": LITERAL},
        {"t": 0.5},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_in_the_key(change: dict[str, object]) -> None:
    assert replace(LITERAL, **change).key != LITERAL.key  # type: ignore[arg-type]


def test_another_pixel_version_is_refused() -> None:
    fields = json.loads(LITERAL.json) | {"version": PIXELS_VERSION + 1}
    with pytest.raises(StoreError, match=f"required pixel version {PIXELS_VERSION}, got {PIXELS_VERSION + 1}"):
        Recipe.from_json(json.dumps(fields))


@pytest.mark.parametrize(("guidance", "guided"), [(0.0, False), (1.0, False), (1.001, True), (7.5, True)])
def test_guidance_is_off_up_to_one(guidance: float, guided: bool) -> None:
    assert replace(LITERAL, guidance=guidance).guided is guided


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_json_has_no_nan(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"guidance": bad})


@pytest.mark.parametrize(
    ("a", "b", "t", "expected"),
    [
        (Prompt("a"), Prompt("b"), 0.0, Prompt("a")),
        (Prompt("a"), Prompt("b"), 1.0, Prompt("b")),
        (Prompt("a"), Prompt("a"), 0.5, Prompt("a")),
        (Seed(1), Seed(2), 0.5, Mix("lerp", Seed(1), Seed(2), 0.5)),
    ],
)
def test_mix_is_in_its_simplest_form(a: Blend, b: Blend, t: float, expected: Blend) -> None:
    assert mix("lerp", a, b, t) == expected


@given(
    st.builds(
        Receipt,
        unit=TEXT,
        file=st.none() | TEXT,
        frames=st.integers(0),
        size_bytes=st.integers(0),
        sha256=TEXT,
        seconds=st.floats(0, 1e9),
        batch_rows=st.integers(1),
        blank=st.lists(st.integers(0)).map(tuple),
        quarantined=st.lists(st.integers(0)).map(tuple),
    )
)
def test_receipt_round_trip(receipt: Receipt) -> None:
    assert Receipt.from_json(receipt.to_json()) == receipt


def unit_of(count: int) -> Unit:
    keyframe = Keyframe(1, "a", "", 1, 1, "linear", "slerp", 20, 3.0, "ddim")
    return Unit("00007", 128, tuple(Frame("w", i, LITERAL, keyframe) for i in range(count)), 4)


@pytest.mark.parametrize(("count", "sizes"), [(2, (1, 1)), (5, (2, 3)), (8, (4, 4))])
def test_halves_hold_every_frame_once(count: int, sizes: tuple[int, int]) -> None:
    unit = unit_of(count)
    first, second = unit.halves()
    assert (first.id, second.id) == ("00007-0", "00007-1")
    assert (len(first.frames), len(second.frames)) == sizes
    assert first.frames + second.frames == unit.frames
    assert {first.batch_rows, second.batch_rows} == {unit.batch_rows}
    assert {first.group, second.group} == {(MAIN, 64, 96)}


def test_part_takes_positions() -> None:
    part = unit_of(5).part("r", (1, 3))
    assert (part.id, part.of, [frame.index for frame in part.frames]) == ("00007-r", 128, [1, 3])


@pytest.mark.parametrize("kind", [ManifestError, JobError, ModelError, StoreError])
def test_input_errors_are_value_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, InputError)
    assert issubclass(kind, ValueError)


def test_a_recipe_of_another_version_is_refused() -> None:
    other = json.loads(LITERAL.json) | {"distilled_guidance": 3.5}
    with pytest.raises(StoreError, match="required one of this version of nightrender"):
        Recipe.from_json(json.dumps(other))
