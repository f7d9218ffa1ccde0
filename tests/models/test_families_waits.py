"""No batch waits for the device: every family's network on the meta device, where that raises."""

from __future__ import annotations

import pytest
from pairs import MARKS, MakePair
from pipelines import VARIANTS
from torch import Tensor
from waits import META, no_waits

from render.core.blend import Offset, Prompt, mix
from render.engine.batch import Batch
from render.engine.denoise import Row
from render.engine.interpolate import evaluate
from render.engine.renderer import Renderer

pytest_plugins = ["pairs"]
pytestmark = MARKS


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_batch_waits_for_the_device(
    pair: MakePair, variant: str, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a size that is not the model's own, which position embeddings have to be made for."""
    small = pair(variant)
    renderer = Renderer(small.model, "cpu", dtype, threads=1)
    recipes = [small.recipe(width=96, height=160), small.recipe(width=96, height=160, guidance=1.0)]
    rows = [row for recipe in recipes for row in next(renderer.start(recipe))]
    monkeypatch.setattr(renderer, "_device", META)
    pipeline = renderer._family.pipeline
    getattr(pipeline, "unet" if hasattr(pipeline, "unet") else "transformer").to(META)

    def moved(name: str, tensor: Tensor) -> Tensor:
        return tensor if name == "guidance" else tensor.to(META)

    rows = [
        Row(row.latents.to(META), row.timestep, {name: moved(name, one) for name, one in row.conditioning.items()})
        for row in rows
    ]
    with no_waits():
        outputs = renderer.run(rows, Batch.full(4))
    assert [tuple(output.shape) for output in outputs] == [tuple(rows[0].latents.shape)] * 3
    assert all(output.is_meta for output in outputs)


def test_an_interpolated_prompt_does_not_wait(pair: MakePair) -> None:
    """Of two prompts on the device, and along a direction that is drawn on the CPU."""
    a = pair("sd").renderer._family.encode("a", False)["embeddings"].to(META)
    for how in ("lerp", "slerp", "slerp-global"):
        blend = Offset(mix(how, Prompt("a"), Prompt("b"), 0.25), 3, 0.1)
        with no_waits():
            assert evaluate(blend, lambda leaf: a).is_meta
