"""One pipeline held: what is encoded when, what is refused, how levels are rounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.image_processor import VaeImageProcessor
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
from render.models.families.parts import Autoencoder

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
    monkeypatch.setattr(renderer, "_prompts", PromptCache(Counting().encode, list, torch.device("cpu")))
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


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_latents_that_are_not_finite_are_refused(renderer: Renderer, bad: float) -> None:
    latents = torch.zeros(1, 4, 8, 8)
    latents[0, 1, 2, 3] = bad
    with pytest.raises(ValueError, match="final latents: required finite values"):
        renderer.decode(latents, tiled=False)


class FakeVae:
    """An autoencoder that decodes to a given image."""

    config: ClassVar[dict[str, Any]] = FrozenDict(scaling_factor=1.0)
    dtype = torch.float32

    def __init__(self, image: Tensor) -> None:
        self._image = image

    def decode(self, latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        return (self._image,)


def test_an_image_that_is_not_finite_is_refused(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    vae: Any = FakeVae(torch.full((1, 3, 4, 4), float("nan")))
    monkeypatch.setattr(renderer, "_family", replace(renderer._family, autoencoder=Autoencoder(vae)))  # type: ignore[type-var]
    with pytest.raises(ValueError, match="decoded image: required finite values"):
        renderer.decode(torch.zeros(1, 4, 8, 8), tiled=False)


def test_levels_are_rounded_as_diffusers_rounds_them(renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncation would darken by half a level; values outside -1 … 1 are clipped."""
    image = torch.linspace(-1.2, 1.2, 3 * 64 * 64).reshape(1, 3, 64, 64)
    vae: Any = FakeVae(image)
    monkeypatch.setattr(renderer, "_family", replace(renderer._family, autoencoder=Autoencoder(vae)))  # type: ignore[type-var]
    ours = renderer.decode(torch.zeros(1, 4, 8, 8), tiled=False)
    (theirs,) = VaeImageProcessor().postprocess(image, output_type="pil")
    assert np.array_equal(ours, np.asarray(theirs))
    assert (ours.min(), ours.max()) == (0, 255)
    assert not np.array_equal(ours, ((image[0] / 2 + 0.5).clamp(0, 1) * 255).to(torch.uint8).permute(1, 2, 0).numpy())


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
