"""Less memory: decoding in tiles, text encoders that leave the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pairs import MARKS, MakePair, image_of, rendered

import render.engine.prompts
from render.core.blend import Prompt, mix
from render.engine.renderer import Renderer

pytest_plugins = ["pairs"]
pytestmark = MARKS


@pytest.mark.parametrize("variant", ["sd", "sd3"])
def test_tiles_are_those_of_diffusers(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    recipe = small.recipe(width=128, height=96, tiled=True)
    (latents,) = rendered(small.renderer, [recipe])
    whole, tiled = (image_of(small.renderer, latents, tiles) for tiles in (False, True))
    assert not np.array_equal(whole, tiled)
    small.stock.vae.enable_tiling()
    try:
        theirs = small.theirs(recipe, output_type="np")[0] * 255.0
    finally:
        small.stock.vae.disable_tiling()
    assert np.abs(tiled - theirs).max() <= 1


def test_text_encoders_leave_a_device_that_is_short_of_memory(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go once the prompts at hand are encoded, and come back for the next that are not."""
    small = pair("sd3")
    renderer = Renderer(small.model, "cpu", "float32", threads=1)
    moves: list[str] = []
    monkeypatch.setattr(render.engine.prompts, "memory_is_short", lambda device: True)
    monkeypatch.setattr(renderer._prompts, "_move_encoders", lambda device: moves.append(str(device)))
    family = renderer._family
    encoded: list[str] = []

    class Noting:
        def __getattr__(self, name: str) -> Any:
            return getattr(family, name)

        def encode(self, prompt: str, negative: bool, syntax: str) -> Any:
            encoded.append(prompt)
            moves.append("encode")
            return family.encode(prompt, negative)

    monkeypatch.setattr(renderer._prompts, "_encode", Noting().encode)
    walk = mix("slerp", Prompt("a"), Prompt("b"), 0.5)
    renderer.prepare([small.recipe(prompt=walk), small.recipe(prompt=Prompt("b"), guidance=1.0)])
    assert encoded == ["a", "b", "night"]
    assert moves[-1] == "cpu"
    moves.clear()
    rendered(renderer, [small.recipe(prompt=walk)])
    assert moves == []
    renderer.prepare([small.recipe(prompt=Prompt("c"))])
    assert moves == ["cpu", "encode", "cpu"]  # to the renderer's device, which is a CPU here, and away again
