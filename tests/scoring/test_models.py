"""Scores by small models of transformers; CLIPScore is compared with torchmetrics'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from scorer_folders import make_captioner, make_classifier, make_clip, make_siglip
from torchmetrics.functional.multimodal import clip_score
from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel, CLIPProcessor

from render.core.errors import ModelError
from render.scoring.batch import Batch, Score, Values
from render.scoring.kinds import load_scorer, parse_scores
from render.scoring.models import find_model
from render.starter import PIPELINE

PROMPTS = ["3d dog face", "flat red apple on a blue background", "3d rocket"]


@pytest.fixture(scope="module")
def batch() -> Batch:
    draw = np.random.default_rng(3)
    images = [Image.fromarray(draw.integers(0, 256, (40, 52, 3), dtype=np.uint8)) for _ in PROMPTS]
    return Batch(images, PROMPTS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("scorers")
    make_clip(base / "clip", ("dog face", "red apple", "rocket"))
    make_siglip(base / "siglip")
    make_classifier(base / "nsfw", ("normal", "NSFW"))
    make_classifier(base / "rating", ("rating",))
    make_classifier(base / "other", ("dog", "cat"))
    make_captioner(base / "captioner")
    return base


def asked(text: str) -> Score:
    return find_model(parse_scores([text])[0])


def values(text: str, batch: Batch) -> Values:
    return load_scorer(asked(text), "cpu")(batch)


class Unwrapped(CLIPModel):  # type: ignore[misc]
    """CLIP whose towers return tensors, as they did before transformers 5: torchmetrics wants that."""

    def get_image_features(self, *given: Any, **named: Any) -> Any:
        return super().get_image_features(*given, **named).pooler_output

    def get_text_features(self, *given: Any, **named: Any) -> Any:
        return super().get_text_features(*given, **named).pooler_output


@pytest.mark.filterwarnings("ignore:.max_length. is ignored", "ignore:Encountered caption longer")  # torchmetrics
def test_the_clip_score_is_that_of_torchmetrics(folders: Path, batch: Batch) -> None:
    folder = folders / "clip"
    model = Unwrapped.from_pretrained(folder).eval()
    processor = CLIPProcessor(AutoImageProcessor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder))
    found = values(f"clip={folder}", batch)
    for image, prompt, score in zip(batch.images, batch.prompts, found["score"], strict=True):
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        with torch.no_grad():
            wanted = clip_score(pixels, prompt, model_name_or_path=lambda: (model, processor))
        assert score == pytest.approx(float(wanted), abs=1e-3)
    assert all(np.linalg.norm(one.astype(np.float32)) == pytest.approx(1, abs=2e-3) for one in found["embedding"])


@pytest.mark.parametrize("model", ["clip", "siglip"])
def test_a_score_does_not_depend_on_its_company(model: str, folders: Path, batch: Batch) -> None:
    scorer = load_scorer(asked(f"clip={folders / model}"), "cpu")
    together = scorer(batch)["score"]
    alone = [
        scorer(Batch([image], [prompt]))["score"][0] for image, prompt in zip(batch.images, batch.prompts, strict=True)
    ]
    assert together == pytest.approx(alone, abs=1e-4)
    assert all(0 <= score <= 100 for score in together)


def test_a_long_prompt_is_cut_where_the_tokenizer_cuts_it(folders: Path, batch: Batch) -> None:
    """Torchmetrics cuts the end token off as well, which CLIP reads the text by."""
    scorer = load_scorer(asked(f"clip={folders / 'clip'}"), "cpu")
    tokenizer = AutoTokenizer.from_pretrained(folders / "clip")
    long = "3d rocket " * 40
    cut = tokenizer.decode(tokenizer(long, truncation=True, max_length=24).input_ids, skip_special_tokens=True)
    assert len(cut) < len(long)
    found = [scorer(Batch(batch.images[:1], [text]))["score"][0] for text in (long, cut)]
    assert found[0] == pytest.approx(found[1])


def test_a_label_is_the_text_with_the_highest_score(folders: Path, batch: Batch) -> None:
    labels = ["dog face", "red apple", "rocket"]
    found = values(f"label={folders / 'clip'}", batch)
    scorer = load_scorer(asked(f"clip={folders / 'clip'}"), "cpu")
    for place, image in enumerate(batch.images):
        scores = scorer(Batch([image] * 3, labels))["score"]
        assert found["guess"][place] == labels[int(np.argmax(scores))]
        assert 1 / 3 <= found["probability"][place] <= 1


def test_a_label_stands_in_each_template(folders: Path, batch: Batch, tmp_path: Path) -> None:
    model = make_clip(tmp_path / "clip", ("dog face", "rocket"))
    (model / "templates.txt").write_text("{}\n3d {}\n")
    plain = values(f"label={folders / 'clip'}", batch)["probability"]
    templated = values(f"label={model}", batch)["probability"]
    assert plain != templated
    assert all(0.5 <= chance <= 1 for chance in templated)


def test_the_embedded_scorer_knows_what_the_embedded_model_draws(one_thread: None) -> None:
    """Of six prompts the picture's own has the highest score; five labels of six are named."""
    prompts = [
        "3d dog face",
        "flat red apple on a blue background",
        "3d rocket on a yellow background",
        "3d octopus",
        "flat sailboat on a green background",
        "3d castle on a pink background",
    ]
    pipeline = StableDiffusionPipeline.from_pretrained(PIPELINE, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    seeds = [torch.Generator().manual_seed(place) for place in range(len(prompts))]
    images = pipeline(prompts, num_inference_steps=12, guidance_scale=3.0, generator=seeds).images
    scorer = load_scorer(asked("clip"), "cpu")
    table = np.asarray([scorer(Batch([image] * len(prompts), prompts))["score"] for image in images])
    assert table.argmax(1).tolist() == list(range(len(prompts)))
    guesses = load_scorer(asked("label"), "cpu")(Batch(images, prompts))["guess"]
    assert sum(guess in prompt for guess, prompt in zip(guesses, prompts, strict=True)) >= 5


def test_classifiers_and_regressors(folders: Path, batch: Batch) -> None:
    nsfw = values(f"nsfw={folders / 'nsfw'}", batch)["score"]
    assert all(0 < one < 1 for one in nsfw)
    assert len(values(f"aesthetic={folders / 'rating'}", batch)["score"]) == len(PROMPTS)
    with pytest.raises(ModelError, match="required a classifier with one of the labels nsfw, porn, unsafe"):
        load_scorer(asked(f"nsfw={folders / 'other'}"), "cpu")


def test_captions_are_texts_and_repeat(folders: Path, batch: Batch) -> None:
    found = values(f"caption={folders / 'captioner'}", batch)[""]
    assert len(found) == len(PROMPTS)
    assert all(isinstance(one, str) and one for one in found)
    assert found == values(f"caption={folders / 'captioner'}", batch)[""]


def test_models_that_are_none_are_refused(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="required a folder or a hub model that can be downloaded, got 'no/model'"):
        asked("clip=no/model")
    with pytest.raises(ModelError, match=r"got a folder without config\.json"):
        asked(f"clip={tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"with weights as \.safetensors, got none"):
        asked(f"clip={tmp_path}")
    with pytest.raises(ModelError, match="required a CLIP or SigLIP model"):
        load_scorer(asked(f"clip={folders / 'nsfw'}"), "cpu")
    with pytest.raises(ModelError, match=r"required a file labels\.txt"):
        load_scorer(asked(f"label={folders / 'siglip'}"), "cpu")


def test_another_model_has_another_fingerprint(folders: Path) -> None:
    prints = {asked(f"clip={folders / name}").fingerprint for name in ("clip", "siglip")}
    assert len(prints) == 2
    assert asked(f"clip={folders / 'clip'}").fingerprint in prints
