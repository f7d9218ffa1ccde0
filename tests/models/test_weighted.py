"""Weighted prompts against transformers' encoders, called token by token, and against diffusers' pipelines."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pairs import MARKS, TOLERANCE, MakePair, Pair, rendered
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from render.core.blend import Prompt, Seed, mix
from render.core.recipe import Recipe
from render.core.weights import parse_weights
from render.engine.windows import equal_lengths
from render.models.model import Changes
from render.models.weighted import WindowTokenizer, encode_weighted, split_windows

pytest_plugins = ["pairs"]
pytestmark = [mark for mark in MARKS if mark.name != "slow"]
PHRASE = "a b c d e f g h i j k l m, "  # 14 tokens
LONG = PHRASE * 8  # over one window
Words = list[tuple[str, float]]


@torch.no_grad()
def reference(small: Pair, words: Words, skip: int = 0) -> tuple[Tensor, Tensor]:
    """Hidden states `[77, dim]` of words in one window, each with its weight, and the pooled vector of the last encoder."""
    pipeline, states = small.stock, []
    number = 2 if hasattr(pipeline, "text_encoder_2") else 1
    for name in ("", "_2")[:number]:
        tokenizer, encoder = getattr(pipeline, f"tokenizer{name}"), getattr(pipeline, f"text_encoder{name}")
        own = [(token, weight) for word, weight in words for token in tokenizer(word).input_ids[1:-1]]
        ids = [tokenizer.bos_token_id, *(token for token, _ in own), tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * (77 - len(ids))
        found = encoder(torch.tensor([ids]), output_hidden_states=True)
        hidden = found.hidden_states[-number - skip]  # SDXL never reads the last layer
        if number == 1:
            hidden = encoder.text_model.final_layer_norm(hidden)
        scaled = hidden.clone()
        for place, (_, weight) in enumerate(own, start=1):
            scaled[:, place] *= weight
        states.append(scaled * (hidden.mean() / scaled.mean()))
        pooled = found.text_embeds[0] if isinstance(encoder, CLIPTextModelWithProjection) else found.pooler_output[0]
    return torch.cat(states, -1)[0], pooled


def encoded(small: Pair, prompt: str, negative: bool = False) -> dict[str, Tensor]:
    with torch.inference_mode():
        return encode_weighted(small.renderer._family, prompt, negative)


@pytest.mark.parametrize("variant", ["sd", "sd-v", "sdxl", "sdxl-zero"])
@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("a (red:1.3) cat", [("a", 1.0), ("red", 1.3), ("cat", 1.0)]),
        ("[a] ((blue)) boat, (old:0.2)", [("a", 1 / 1.1), ("blue", 1.21), ("boat,", 1.0), ("old", 0.2)]),
        ("(((a red:1.5) house)", [("a red", 1.5 * 1.21), ("house", 1.21)]),
    ],
)
def test_hidden_states_are_scaled_and_keep_their_mean(pair: MakePair, variant: str, prompt: str, words: Words) -> None:
    small = pair(variant)
    for negative in (False, True):
        found = encoded(small, prompt, negative)
        embeddings, pooled = reference(small, words)
        torch.testing.assert_close(found["embeddings"], embeddings, atol=1e-4, rtol=1e-4)
        if "pooled" in found:
            torch.testing.assert_close(found["pooled"], pooled, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_layers_are_skipped_as_without_weights(pair: MakePair, variant: str) -> None:
    small = pair(variant, changes=Changes(clip_skip=1))
    embeddings, _ = reference(small, [("a", 1.0), ("red", 1.3), ("cat", 1.0)], skip=1)
    torch.testing.assert_close(encoded(small, "a (red:1.3) cat")["embeddings"], embeddings, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", ["sd", "sdxl", "sdxl-zero"])
@pytest.mark.parametrize(
    ("weighted", "plain"),
    [
        ("a red cat, 3d", "a red cat, 3d"),
        ("(a red cat:1.0), 3d", "a red cat, 3d"),
        ("a red (cat:1), 3d", "a red cat, 3d"),
        (r"a red cat \(1990\)", "a red cat (1990)"),
        ("[cat|dog], [red:blue:0.5]", "[cat|dog], [red:blue:0.5]"),
        ("", ""),
        ("()", ""),
    ],
)
def test_without_weights_it_is_the_plain_prompt_to_the_bit(
    pair: MakePair, variant: str, weighted: str, plain: str
) -> None:
    small = pair(variant)
    for negative in (False, True):
        with torch.inference_mode():
            expected = small.renderer._family.encode(plain, negative)
        found = encoded(small, weighted, negative)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_a_long_prompt_is_read_in_windows(pair: MakePair, variant: str) -> None:
    """Each ends behind its last comma, as a comma is near: 5 phrases of 14 tokens in one, the rest in the next."""
    small = pair(variant)
    found = encoded(small, LONG + "(night:1.4)")
    first, pooled = reference(small, [(PHRASE * 5, 1.0)])
    second, _ = reference(small, [(PHRASE * 3, 1.0), ("night", 1.4)])
    torch.testing.assert_close(found["embeddings"], torch.cat([first, second]), atol=1e-4, rtol=1e-4)
    if "pooled" in found:
        torch.testing.assert_close(found["pooled"], pooled, atol=1e-4, rtol=1e-4)


def test_windows_without_a_comma_near_are_full(pair: MakePair) -> None:
    tokenizer = pair("sd").stock.tokenizer
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    lengths = {
        "c " * 200: [75, 75, 50],
        "c " * 75: [75],
        "": [0],
        "c, " + "d " * 80: [75, 7],  # too far from the end
        "d " * 55 + ", " + "d " * 40: [56, 40],
        "d " * 54 + ", " + "d " * 40: [75, 20],
        "d " * 40 + ", " + "d " * 20 + ", " + "d " * 40: [62, 40],
    }
    for text, expected in lengths.items():
        windows = split_windows(tokenizer, parse_weights(text))
        assert [len(window) for window in windows] == expected
        assert sum([token == comma for window in windows for token, _ in window]) == text.count(",")


@pytest.mark.parametrize("text", ["", "a red cat", "sea, sky " * 18])
def test_the_stand_in_gives_what_the_tokenizer_gives(pair: MakePair, text: str) -> None:
    stock = pair("sdxl").stock
    for tokenizer in (stock.tokenizer, stock.tokenizer_2):
        theirs = tokenizer(text, padding="max_length", truncation=True, max_length=77, return_tensors="pt")
        ours = WindowTokenizer(tokenizer, tokenizer(text).input_ids[1:-1][:75])(text)
        assert torch.equal(ours.input_ids, theirs.input_ids)
        assert torch.equal(ours.attention_mask, theirs.attention_mask)


def weighted(small: Pair, text: str, negative: str = "night", **fields: Any) -> Recipe:
    default = {"prompt": Prompt(text), "negative_prompt": Prompt(negative), "prompt_syntax": "weighted"}
    return small.recipe(**{**default, **fields})


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_pictures_are_those_of_diffusers_from_the_same_embeddings(pair: MakePair, variant: str) -> None:
    """The negative prompt has one window, and the prompt two: diffusers wants both of one length, so the one twice."""
    small = pair(variant)
    (latents,) = rendered(small.renderer, [weighted(small, LONG + "(night:1.4)", "(snow:1.2)")])
    first, pooled = reference(small, [(PHRASE * 5, 1.0)])
    second, _ = reference(small, [(PHRASE * 3, 1.0), ("night", 1.4)])
    negative, negative_pooled = reference(small, [("snow", 1.2)])
    asked: dict[str, Any] = {
        "prompt_embeds": torch.cat([first, second])[None],
        "negative_prompt_embeds": torch.cat([negative, negative])[None],
    }
    if variant == "sdxl":
        asked |= {"pooled_prompt_embeds": pooled[None], "negative_pooled_prompt_embeds": negative_pooled[None]}
    stock = small._as_asked(weighted(small, ""))
    settings = {"num_inference_steps": 4, "guidance_scale": 4.0, "width": 64, "height": 64, "output_type": "latent"}
    theirs = stock(**asked, **settings, generator=torch.Generator().manual_seed(7)).images
    torch.testing.assert_close(latents, theirs, atol=TOLERANCE * float(theirs.abs().max()), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_a_walk_between_one_window_and_two_has_no_jump(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    a, b = Prompt("a (red:1.3) cat"), Prompt(LONG + "(night:1.4)")

    def at(t: float) -> Recipe:
        return weighted(small, "", prompt=mix("slerp", a, b, t), steps=2)

    start, near, middle, end = rendered(small.renderer, [at(0.0), at(1e-4), at(0.5), at(1.0)], rows=4)
    alone = rendered(small.renderer, [weighted(small, prompt.text, steps=2) for prompt in (a, b)], rows=4)
    assert torch.equal(start, alone[0])
    assert torch.equal(end, alone[1])
    size = float(start.abs().max())
    assert float((near - start).abs().max()) < 0.005 * size < 0.05 * size < float((middle - start).abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["sd", "sdxl"])
def test_pictures_do_not_depend_on_the_lengths_beside_them(pair: MakePair, variant: str) -> None:
    small = pair(variant)
    recipes = [
        weighted(small, "a (red:1.3) cat"),
        weighted(small, LONG),
        weighted(small, "sun", LONG * 2),
        small.recipe(prompt=Prompt("a (red:1.3) cat")),
        weighted(small, "sun", guidance=1.0, noise=Seed(3)),
    ]
    together = rendered(small.renderer, recipes, rows=4)
    for recipe, latents in zip(recipes, together, strict=True):
        assert torch.equal(latents, rendered(small.renderer, [recipe], rows=4)[0])
    assert not torch.allclose(together[0], together[3], atol=0.01)  # the plain one


def test_shorter_conditionings_repeat_up_to_a_common_multiple() -> None:
    def made(*numbers: float) -> dict[str, Tensor]:
        return {"embeddings": torch.tensor(numbers)[:, None], "pooled": torch.tensor([numbers[0], 9.0])}

    one, two, three = equal_lengths([made(1), made(1, 2), made(1, 2, 3)])
    assert one["embeddings"].flatten().tolist() == [1] * 6
    assert two["embeddings"].flatten().tolist() == [1, 2] * 3
    assert three["embeddings"].flatten().tolist() == [1, 2, 3] * 2
    assert one["pooled"].tolist() == [1, 9]
    many = equal_lengths([made(*range(count)) for count in (7, 11, 13)])
    assert {len(found["embeddings"]) for found in many} == {13}
