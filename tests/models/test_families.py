"""Every family against diffusers' own pipeline of it, on small pipelines with random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch
from pairs import FITTING, MARKS, TOLERANCE, MakePair, Pair, load_stock, rendered
from pipelines import VARIANTS
from sentencepiece import SentencePieceTrainer

from render.core.blend import Prompt, Seed

pytest_plugins = ["pairs"]
pytestmark = MARKS

EVERY_SCHEDULER = [(variant, name) for variant in VARIANTS for name in FITTING[variant]]


def test_schedulers_that_fit_are_those_that_are_tested(pair: MakePair) -> None:
    assert {variant: pair(variant).model.facts.schedulers for variant in VARIANTS} == FITTING


@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize(("variant", "scheduler"), EVERY_SCHEDULER)
def test_pictures_are_those_of_diffusers(pair: MakePair, variant: str, scheduler: str, guidance: float) -> None:
    small = pair(variant)
    small.check(small.recipe(scheduler=scheduler, guidance=guidance))


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 128)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_of_other_sizes(pair: MakePair, variant: str, width: int, height: int) -> None:
    small = pair(variant)
    small.check(small.recipe(width=width, height=height, prompt=Prompt("an old boat on a lake"), noise=Seed(3)))


@pytest.mark.parametrize("steps", [1, 9, 20])
@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_of_other_step_counts(pair: MakePair, variant: str, steps: int) -> None:
    small = pair(variant)
    small.check(small.recipe(steps=steps, guidance=2.5))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_without_a_negative_prompt(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    small.check(small.recipe(negative_prompt=Prompt("")))


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_in_bfloat16(pair: MakePair, variant: str) -> None:
    """As near to diffusers' in bfloat16 as that is to its own in float32, or nearer."""
    small, exact = pair(variant, "bfloat16"), pair(variant)
    recipe = small.recipe(guidance=2.0)
    (latents,) = rendered(small.renderer, [recipe])
    theirs = small.theirs(recipe, output_type="latent").float()
    rounding = (theirs - exact.theirs(recipe, output_type="latent")).pow(2).mean().sqrt()
    assert rounding > 0
    assert (latents - theirs).pow(2).mean().sqrt() <= 1.5 * rounding


def test_a_distilled_model_s_guidance_is_a_value_of_each_row(pair: MakePair) -> None:
    small = pair("flux-dev")
    recipes = [small.recipe(embedded_guidance=value, guidance=1.0) for value in (1.0, 3.5, 9.0)]
    together = rendered(small.renderer, recipes, rows=3)
    for recipe, latents in zip(recipes, together, strict=True):
        theirs = small.theirs(recipe, output_type="latent")
        torch.testing.assert_close(latents, theirs, atol=TOLERANCE * float(theirs.abs().max()), rtol=0)
    assert not torch.allclose(together[0], together[2], atol=0.01)


@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_latent_consistency_models(pair: MakePair, variant: str, tmp_path: Path) -> None:
    """Their UNet takes the guidance scale beside the timestep."""
    stock = load_stock.__wrapped__(pair(variant).folder, variant, "float32")
    torch.manual_seed(0)
    unet = diffusers.UNet2DConditionModel.from_config({**stock.unet.config, "time_cond_proj_dim": 32})
    unet.load_state_dict(stock.unet.state_dict(), strict=False)
    stock.register_modules(unet=unet)
    stock.save_pretrained(tmp_path / "lcm")
    small = Pair(variant, tmp_path / "lcm")
    recipes = [small.recipe(scheduler="lcm", guidance=1.0, embedded_guidance=scale) for scale in (2.0, 8.5)]
    for recipe in recipes:
        small.check(recipe)
    weak, strong = rendered(small.renderer, recipes)
    assert not torch.allclose(weak, strong, atol=0.01)


def test_a_tokenizer_of_sentencepiece(pair: MakePair, tmp_path: Path) -> None:
    """Older folders have no other; how many words it loses is not told."""
    folder = shutil.copytree(pair("pixart").folder, tmp_path / "old")
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    words = iter(["a red cat on a mat", "a blue house by the sea", "an old boat in the snow"] * 20)
    with (folder / "tokenizer" / "spiece.model").open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=words, model_writer=file, vocab_size=60, hard_vocab_limit=False, minloglevel=2,
            pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        )  # fmt: skip
    settings = {"tokenizer_class": "T5Tokenizer", "model_max_length": 300, "extra_ids": 0}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(settings))
    small = Pair("pixart", folder)
    small.check(small.recipe())
    assert list(small.model.lost_words(["word " * 400])) == []
