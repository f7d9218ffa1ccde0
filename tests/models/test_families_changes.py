"""Changes of a model, skipped layers and LoRAs, against diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lora_files import make_lora
from pairs import MARKS, MakePair, Pair, load_stock, rendered

from render.models.model import Changes

pytest_plugins = ["pairs"]
pytestmark = MARKS


@pytest.mark.parametrize("variant", ["sd", "sd-v", "sdxl", "sd3"])
def test_layers_that_are_skipped(pair: MakePair, variant: str) -> None:
    small, whole = pair(variant, changes=Changes(clip_skip=1)), pair(variant)
    recipe = small.recipe()
    small.check(recipe, clip_skip=1)
    assert small.model.fingerprint != whole.model.fingerprint
    assert not torch.allclose(rendered(small.renderer, [recipe])[0], rendered(whole.renderer, [recipe])[0], atol=0.01)


@pytest.mark.parametrize("variant", ["sd", "sdxl", "sd3", "flux-dev"])
def test_loras_are_those_of_diffusers(
    pair: MakePair, variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = pair(variant)
    files = [make_lora(variant, plain.folder, tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]
    small = Pair(variant, plain.folder, changes=Changes(loras=((files[0], 0.8), (files[1], -0.3))))
    stock = load_stock.__wrapped__(plain.folder, variant, "float32")
    for number, file in enumerate(files):
        stock.load_lora_weights(tmp_path, weight_name=file.name, adapter_name=str(number), local_files_only=True)
    stock.set_adapters(["0", "1"], [0.8, -0.3])
    monkeypatch.setattr(Pair, "stock", stock)
    small.check(small.recipe())
    changed, unchanged = (rendered(one.renderer, [small.recipe()])[0] for one in (small, plain))
    assert not torch.allclose(changed, unchanged, atol=0.05)


def test_loras_are_part_of_the_fingerprint(pair: MakePair, tmp_path: Path) -> None:
    plain = pair("sd")
    one, two = (make_lora("sd", plain.folder, tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2))
    lists = [(), ((one, 0.8),), ((one, 0.8), (two, -0.3)), ((one, 0.8), (two, -0.4)), ((two, -0.3), (one, 0.8))]
    assert len({Pair("sd", plain.folder, changes=Changes(loras=loras)).model.fingerprint for loras in lists}) == 5


def test_a_lora_of_another_model_is_refused(pair: MakePair, tmp_path: Path) -> None:
    file = make_lora("flux-dev", pair("flux-dev").folder, tmp_path / "flux.safetensors")
    with pytest.raises(
        ValueError,
        match=r"flux\.safetensors: required weights for unet, text_encoder, got some for text_encoder, transf",
    ):
        _ = Pair("sd", pair("sd").folder, changes=Changes(loras=((file, 1.0),))).renderer
