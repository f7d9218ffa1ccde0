"""Pictures say how they were made: read back by Pillow, and by a parser of the field, in every format."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from render.core import Frame, Keyframe, Prompt, Recipe, Seed, mix, scheduler_meant
from render.store import Origin, picture_text, rendered
from render.store.encode import ENCODINGS, encode_image, read_parameters
from render.store.picture_text import SAMPLERS

ORIGIN = Origin("starter", "", "cpu", "float32", "png")
RECIPE = Recipe(Prompt("a dog"), Prompt("blurry"), Seed(7), 64, 48, 8, 3.5, "dpm++2m karras", "f" * 16)
KEYFRAME = Keyframe(1, "a dog", "blurry", 7, 4, "linear", "slerp", 8, 3.5, "dpm++2m karras")
FRAME = Frame("w", 0, RECIPE, KEYFRAME)
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
TINY = np.zeros((1, 1, 3), np.uint8)


def prompted(prompt: str, negative: str = "") -> Frame:
    recipe = replace(RECIPE, prompt=Prompt(prompt), negative_prompt=Prompt(negative))
    return replace(FRAME, recipe=recipe, keyframe=replace(KEYFRAME, prompt=prompt, negative_prompt=negative))


def make_pixels(seed: int = 1, size: int = 24) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def opened(text: str, encoding: str) -> Image.Image:
    picture = Image.open(io.BytesIO(encode_image(make_pixels(), encoding, text)))
    picture.load()
    return picture


def test_the_text_is_that_of_the_web_ui() -> None:
    assert re.fullmatch(
        r"a dog\nNegative prompt: blurry\nSteps: 8, Sampler: DPM\+\+ 2M Karras, CFG scale: 3\.5, Seed: 7, Size: 64x48, "
        rf"Model: starter, Key: {RECIPE.key}, Version: nightrender \S+",
        picture_text(FRAME, ORIGIN),
    )


def test_a_blend_has_its_keyframes_prompt_and_says_what_is_blended() -> None:
    between = replace(RECIPE, prompt=mix("slerp", Prompt("a dog"), Prompt("c" * 300), 0.25))
    text = picture_text(replace(FRAME, recipe=between), ORIGIN)
    assert text.startswith("a dog\nNegative prompt: blurry\n")
    blend = '{\\"prompt\\":[\\"slerp\\",[\\"prompt\\",\\"a dog\\"],[\\"prompt\\",\\"' + "c" * 200 + '…\\"],0.25]}'
    assert f', Blend: "{blend}", Key: ' in text


def test_a_start_image_has_its_strength_and_no_path_is_told() -> None:
    from render.core import Image as StartImage

    recipe = replace(RECIPE, image=StartImage("photos/cat.png", "ab"), skipped_steps=2)
    text = picture_text(replace(FRAME, recipe=recipe), replace(ORIGIN, model="/home/ann/models/mine, v1"))
    assert 'Model: "mine, v1", Denoising strength: 0.75' in text
    assert "ann" not in text
    assert "photos" not in text


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_samplers_are_read_back_as_ours(scheduler: str) -> None:
    assert scheduler_meant(SAMPLERS[scheduler]) == scheduler.removeprefix("flow-")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("prompt", ["a dog", "ein Häschen 🐇, 兎\nzweite Zeile", "a \0 and <xml>", "x" * 15_000])
def test_every_format_gives_the_text_back(encoding: str, prompt: str) -> None:
    text = picture_text(prompted(prompt, "blurry, ugly"), ORIGIN)
    picture = opened(text, encoding)
    expected = text.encode("utf-8", "replace").decode()
    assert read_parameters(picture) == (expected.replace("\0", " ") if encoding == "png" else expected)
    assert f'Iptc4xmpExt:DigitalSourceType="{IPTC}"'.encode() in _bytes(picture.info["xmp"])
    if encoding != "jpeg":
        np.testing.assert_array_equal(np.asarray(picture), make_pixels())


def _bytes(xmp: str | bytes) -> bytes:
    return xmp if isinstance(xmp, bytes) else xmp.encode()


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("sign", ["x", "é", "🐇"])
def test_a_prompt_of_100_kb_breaks_nothing(encoding: str, sign: str) -> None:
    text = picture_text(prompted(sign * 100_000), ORIGIN)
    found = read_parameters(opened(text, encoding))
    if encoding != "jpeg":
        assert found == text
        return
    prompt, settings = found.split("\n")
    assert settings == text.split("\n")[-1]
    assert prompt.strip(sign) == "…"
    assert 31_000 < len(found.encode("utf-16-be")) / 2 <= 32_000


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_without_a_text_there_is_no_metadata(encoding: str) -> None:
    picture = opened("", encoding)
    assert read_parameters(picture) == ""
    assert not {"parameters", "exif", "xmp"} & set(picture.info)


def test_foreign_pictures_have_no_text() -> None:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0a comment"
    Image.fromarray(make_pixels()).save(buffer, "JPEG", exif=exif.tobytes())
    assert read_parameters(Image.open(buffer)) == ""


def test_the_hash_is_that_of_the_pixels_whatever_the_file_says() -> None:
    pixels = make_pixels()
    plain, told = rendered(pixels, "png"), rendered(pixels, "png", "a dog\nSteps: 1")
    assert plain.sha256 == told.sha256
    assert plain.data != told.data


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_parser_of_the_field_reads_it(encoding: str) -> None:
    parsers: Any = pytest.importorskip("sd_parsers")
    text = picture_text(prompted("a dog, 兎 (night:1.3)", "blurry"), ORIGIN)
    found = parsers.ParserManager().parse(io.BytesIO(encode_image(make_pixels(), encoding, text)))
    (sampler,) = found.samplers
    assert found.generator.value == "AUTOMATIC1111"
    assert (sampler.name, sampler.model.name) == ("DPM++ 2M Karras", "starter")
    assert [prompt.value for prompt in sampler.prompts] == ["a dog, 兎 (night:1.3)"]
    assert [prompt.value for prompt in sampler.negative_prompts] == ["blurry"]
    assert sampler.parameters == {"cfg_scale": "3.5", "seed": "7", "steps": "8"}
    assert found.metadata["Size"] == "64x48"


def test_a_text_that_is_not_unicode_is_written_too() -> None:
    assert read_parameters(opened("half a pair \ud800", "webp")) == "half a pair ?"


def test_the_text_costs_less_than_a_millisecond() -> None:
    """The best of twenty, whatever the size: the file is encoded as without it, but for these bytes."""
    for encoding in ENCODINGS:
        assert min(_seconds(encoding) for _ in range(20)) < 0.001, encoding


def _seconds(encoding: str) -> float:
    began = time.perf_counter()
    encode_image(TINY, encoding, picture_text(FRAME, ORIGIN))
    return time.perf_counter() - began
