"""One pipeline held: what is encoded when, what is refused, what is stacked when."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from renders import render as latents_of
from torch import Tensor

import render.engine.device
import render.engine.prompts
from render.core.blend import Prompt, Seed, mix
from render.core.recipe import Recipe
from render.engine.batch import Batch
from render.engine.denoise import Row
from render.engine.device import choose_dtype
from render.engine.prompts import PromptCache
from render.engine.renderer import Renderer
from render.engine.threads import use_threads
from render.models.model import Model
from render.models.weighted import encode_prompt

MakeRecipe = Callable[..., Recipe]


@pytest.fixture
def encoded(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that the family is asked to encode, from an empty cache on."""
    prompts: list[str] = []
    family = renderer._family

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def encode(self, prompt: str, negative: bool) -> dict[str, Tensor]:
            prompts.append(prompt)
            return family.encode(prompt, negative)

    monkeypatch.setattr(renderer, "_family", Counting())
    encode = partial(encode_prompt, Counting())
    monkeypatch.setattr(renderer, "_prompts", PromptCache(encode, list, torch.device("cpu")))
    return prompts


def test_a_prompt_is_encoded_once(renderer: Renderer, make_recipe: MakeRecipe, encoded: list[str]) -> None:
    for t in (0.0, 0.25, 0.5, 1.0):
        next(renderer.start(make_recipe(prompt=mix("slerp", Prompt("a"), Prompt("b"), t), negative_prompt=Prompt("n"))))
    assert sorted(encoded) == ["a", "b", "n"]


def test_nothing_is_encoded_before_a_frame_runs(
    renderer: Renderer, make_recipe: MakeRecipe, encoded: list[str]
) -> None:
    renderer.start(make_recipe())
    assert encoded == []


def test_the_negative_prompt_of_an_unguided_frame_is_not_encoded(
    renderer: Renderer, make_recipe: MakeRecipe, encoded: list[str]
) -> None:
    next(renderer.start(make_recipe(guidance=1.0, prompt=Prompt("a"), negative_prompt=Prompt("n"))))
    assert "n" not in encoded


def test_held_embeddings_are_bounded(
    renderer: Renderer, make_recipe: MakeRecipe, encoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their bytes; the one not used for longest goes."""
    monkeypatch.setattr(render.engine.prompts, "EMBEDDINGS_BYTES", 2 * 24 * 128 * 4)
    for text in ("a", "b", "a", "c", "a", "b"):
        next(renderer.start(make_recipe(guidance=1.0, prompt=Prompt(text))))
    assert len(renderer._prompts) == 2
    assert encoded == ["a", "b", "c", "b"]


def test_a_seed_is_no_prompt(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    with pytest.raises(TypeError, match="required prompts"):
        next(renderer.start(make_recipe(prompt=Seed(1))))


def test_outputs_are_float32_one_a_row(renderer: Renderer, make_recipe: MakeRecipe) -> None:
    rows: list[Row] = next(renderer.start(make_recipe(width=96)))
    outputs = renderer.run(rows, Batch.full(3))
    assert [tuple(output.shape) for output in outputs] == [(1, 8, 8, 12)] * 2
    assert {output.dtype for output in outputs} == {torch.float32}


def test_the_device_s_threads_are_recorded(renderer: Renderer) -> None:
    """They decide the last bits."""
    assert renderer.device.endswith(", 1 thread")
    assert renderer.dtype == "float32"


@pytest.mark.parametrize(
    ("dtype", "flags", "chosen"),
    [
        ("float32", "amx_bf16", torch.float32),
        ("bfloat16", "", torch.bfloat16),  # slow, but asked for
        ("auto", "fpu amx_bf16 sse", torch.bfloat16),
        ("auto", "fpu avx512_bf16", torch.float32),  # no whole tiles: slower than float32
        ("auto", "", torch.float32),  # no /proc/cpuinfo
    ],
)
def test_dtype_on_a_cpu(monkeypatch: pytest.MonkeyPatch, dtype: str, flags: str, chosen: torch.dtype) -> None:
    monkeypatch.setattr(render.engine.device, "cpu_has", lambda flag: flag in flags.split())
    assert choose_dtype(torch.device("cpu"), dtype) == chosen


@pytest.mark.parametrize(("hardware", "chosen"), [(True, torch.bfloat16), (False, torch.float32)])
def test_dtype_on_a_gpu(monkeypatch: pytest.MonkeyPatch, hardware: bool, chosen: torch.dtype) -> None:
    def supported(including_emulation: bool) -> bool:
        return including_emulation or hardware

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert choose_dtype(torch.device("cuda"), "auto") == chosen


def test_conditioning_is_stacked_once_while_a_batch_has_the_same_members(
    renderer: Renderer, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    family = renderer._family

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def evaluate(self, latents: Tensor, timesteps: Tensor, conditioning: dict[str, Tensor]) -> Tensor:
            seen.append(conditioning["embeddings"])
            return family.evaluate(latents, timesteps, conditioning)

    monkeypatch.setattr(renderer, "_family", Noting())
    short, long = make_recipe(steps=2, guidance=1.0), make_recipe(steps=4, guidance=1.0, prompt=Prompt("a cat"))
    latents_of(renderer, [short, long], rows=2)
    both, alone = seen[0], seen[2]
    assert [one is both for one in seen] == [True, True, False, False]  # the short frame ends after two steps
    assert [one is alone for one in seen] == [False, False, True, True]
    assert torch.equal(both[1], alone[0])
    assert torch.equal(alone[0], alone[1])  # the copy that fills the batch
    seen.clear()
    latents_of(renderer, [short], rows=2)
    assert torch.equal(seen[0][0], both[0])
    renderer.forget()
    assert renderer._stacks._stacks == {}


@pytest.mark.parametrize("parts", [2, 4])
def test_the_parts_of_a_batch_are_stacked_once(starter: Model, make_recipe: MakeRecipe, parts: int) -> None:
    """On several threads each part has a stack of its own, and only those of the last batch are held."""
    renderer = Renderer(starter, "cpu", "float32", threads=parts)
    try:
        rows = [row for seed in range(4) for row in next(renderer.start(make_recipe(noise=Seed(seed))))]
        first = renderer.run(rows, Batch.full(8))
        held = dict(renderer._stacks._stacks)
        assert len(held) == parts
        assert all(map(torch.equal, renderer.run(rows, Batch.full(8)), first))
        assert {key: id(stack) for key, (_, stack) in renderer._stacks._stacks.items()} == {
            key: id(stack) for key, (_, stack) in held.items()
        }
        renderer.run(rows[::-1], Batch.full(8))
        assert len(renderer._stacks._stacks) == parts
        assert not set(held) & set(renderer._stacks._stacks)
    finally:
        use_threads(1)
