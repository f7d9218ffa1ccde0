"""Start images: what a manifest may name, and what a walk between them is."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from stores import run_here

from render import ManifestError, StoreError, open_store, plan_job
from render.core.blend import Image, Mix
from render.core.recipe import Recipe
from render.media.images import PIXELS_MAX, image_fault, read_image
from render.mending.verify import verify_store
from render.reproduce import reproduce_frame

SMALL = ("sampling.steps=4", "sampling.width=64", "sampling.height=64", "workers.count=1", "workers.cpus=1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two images, and one beside it."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    PIL.Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "in" / "red.png")
    PIL.Image.new("L", (100, 40), 90).save(tmp_path / "in" / "deep" / "grey.jpg")
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "outside.png")
    return tmp_path / "in"


def manifest(folder: Path, text: str) -> Path:
    path = folder / "m.csv"
    path.write_text(text)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_a_walk_between_images(folder: Path, tmp_path: Path) -> None:
    """Its ends are the stills of its images; the recipe names files by their place below the root and their content."""
    rows = "w,a dog,1,3,red.png,0.5\nw,a dog,1,,deep/grey.jpg,1\n,a dog,1,,red.png,0.5\n,a dog,1,,deep/grey.jpg,1\n"
    path = manifest(folder, "walk,prompt,seed,frames,image,strength\n" + rows)
    out = run_here(path, *SMALL, "animation.formats=[]", f"output={tmp_path / 'out'}").out
    store = open_store(out)
    frames = list(store.frames("w"))
    recipes = [Recipe.from_json(frame.row["recipe"]) for frame in frames]
    red, grey = (Image(name, sha256(folder / name)) for name in ("red.png", "deep/grey.jpg"))
    assert [recipe.image for recipe in recipes] == [
        red,
        Mix("slerp-global", red, grey, 1 / 3),
        Mix("slerp-global", red, grey, 2 / 3),
        grey,
    ]
    assert [recipe.skipped_steps for recipe in recipes] == [2, 2, 1, 0]
    assert [frames[index].row["sha256"] for index in (0, 3)] == [
        store.frame(f"still-{row:06d}").row["sha256"] for row in (3, 4)
    ]
    assert len({frame.row["sha256"] for frame in frames}) == 4
    assert reproduce_frame(out, frames[1].row["key"]).same
    (folder / "red.png").write_bytes((folder / "deep" / "grey.jpg").read_bytes())
    with pytest.raises(StoreError, match=r"was made of, got image red.png: required a file of SHA-256"):
        reproduce_frame(out, frames[1].row["key"])
    (folder / "red.png").unlink()
    with pytest.raises(StoreError, match=r"was made of, got .*No such file"):
        reproduce_frame(out, frames[1].row["key"])
    assert verify_store(out).problems == ()  # a proof of what is stored needs no start image


def test_a_weak_start_stays_near_its_image(folder: Path, tmp_path: Path) -> None:
    path = manifest(folder, "prompt,seed,image,strength\n3d dog face,1,red.png,0.1\n3d dog face,1,red.png,1\n")
    store = open_store(run_here(path, *SMALL, "sampling.steps=10", f"output={tmp_path / 'out'}").out)
    near, far = (np.asarray(store.frame(f"still-{row:06d}").image()).astype(float) for row in (1, 2))
    assert np.abs(near - (200, 30, 30)).mean() < np.abs(far - (200, 30, 30)).mean() / 2


def test_another_root(folder: Path) -> None:
    path = manifest(folder.parent, "prompt,image\na,deep/grey.jpg\n")
    assert plan_job(path, f"media={folder}").counts.frames == 1


def test_a_pinned_hash(folder: Path) -> None:
    text = "prompt,image,image_sha256\na,red.png,{}\n"
    assert plan_job(manifest(folder, text.format(sha256(folder / "red.png")))).counts.frames == 1
    with pytest.raises(ManifestError, match=r"column 'image_sha256': required .*, the file's; got 'abc'"):
        plan_job(manifest(folder, text.format("abc")))
    without = "an empty cell on a row without an image file; got 'abc'"
    with pytest.raises(ManifestError, match=f"row 1, column 'image_sha256': required {without}"):
        plan_job(manifest(folder, "prompt,image,image_sha256\na,,abc\n"))
    with pytest.raises(
        ManifestError, match="column 'audio_sha256': required an empty cell on a row without an audio file"
    ):
        plan_job(manifest(folder, "prompt,walk,audio,audio_sha256\na,w,,abc\n"))


def corner(image: PIL.Image.Image) -> tuple[int, ...]:
    return tuple(int(level) for level in np.asarray(image)[0, 0])


def test_the_pixels_of_odd_images(tmp_path: Path) -> None:
    """Upright, as Pillow's own exif_transpose has it; transparent on white; 16 bits as 8."""
    wide = PIL.Image.new("RGB", (40, 20), (0, 0, 255))
    wide.paste((255, 0, 0), (0, 0, 20, 20))
    turned = PIL.Image.Exif()
    turned[0x0112] = 6  # the camera lay on its side
    wide.save(tmp_path / "turned.png", exif=turned)
    PIL.Image.new("RGBA", (8, 8), (255, 0, 255, 0)).save(tmp_path / "clear.png")
    PIL.Image.new("RGBA", (8, 8), (255, 0, 0, 51)).save(tmp_path / "pale.webp", lossless=True)
    palette = PIL.Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    palette.save(tmp_path / "palette.png", transparency=1)
    deep = np.full((8, 8), 0x80FF, np.uint16)
    PIL.Image.fromarray(deep).save(tmp_path / "deep.png")
    found = {}
    for path in sorted(tmp_path.iterdir()):
        assert image_fault(path) is None
        with path.open("rb") as content:
            found[path.stem] = read_image(content)
    assert found["turned"].size == (20, 40)
    assert (corner(found["turned"]), corner(found["turned"].rotate(180))) == ((255, 0, 0), (0, 0, 255))
    assert corner(found["clear"]) == corner(found["palette"]) == (255, 255, 255)
    assert corner(found["pale"]) == (255, 204, 204)
    assert corner(found["deep"]) == (128, 128, 128)
    assert {image.mode for image in found.values()} == {"RGB"}


@pytest.mark.parametrize("values", [np.zeros((8, 8), np.float32), np.zeros((8, 8), np.int32)])
def test_images_of_other_depths_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    PIL.Image.fromarray(values).save(tmp_path / "a.tiff")
    fault = image_fault(tmp_path / "a.tiff")
    assert fault is not None
    assert fault[0] == "an image of 8 or 16 bits a channel"


def test_whatever_a_decoder_raises_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVIF's raises RuntimeError, DDS' NotImplementedError."""
    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "a.png")

    def fail(self: object) -> None:
        raise NotImplementedError("no such codec")

    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", fail)
    assert image_fault(tmp_path / "a.png") == ("an image file", "NotImplementedError: no such codec")


def bomb(folder: Path) -> None:
    PIL.Image.new("1", (PIXELS_MAX // 1024 + 1, 1024)).save(folder / "x.png")


def half(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    PIL.Image.fromarray(noise).save(folder / "x.png")
    (folder / "x.png").write_bytes((folder / "x.png").read_bytes()[:2000])


def link(folder: Path) -> None:
    os.symlink(folder.parent / "outside.png", folder / "x.png")


@pytest.mark.parametrize(
    ("make", "name", "required"),
    [
        (None, "nothing.png", "an image file; got 'nothing.png' \\(FileNotFoundError"),
        (None, "m.csv", "an image file; got 'm.csv' \\(UnidentifiedImageError"),
        (None, "deep", "a file; got 'deep' \\(a folder"),
        (None, "../outside.png", "a path inside .*; got '../outside.png'"),
        (None, "/etc/hostname", "a path inside .*; got '/etc/hostname'"),
        (link, "x.png", "a path inside .*; got 'x.png'"),
        (half, "x.png", "an image file; got 'x.png' \\(OSError"),
        (bomb, "x.png", f"at most {PIXELS_MAX:,} pixels; got 'x.png' \\({PIXELS_MAX // 1024 + 1}×1024"),
    ],
)
def test_images_that_are_refused(folder: Path, make: object, name: str, required: str) -> None:
    """At plan time; every row that names one is told."""
    if callable(make):
        make(folder)
    path = manifest(folder, f"prompt,image\na,{name}\nb,red.png\nc,{name}\n")
    with pytest.raises(ManifestError, match=f"row 1, column 'image': required {required}") as caught:
        plan_job(path)
    assert len(str(caught.value).splitlines()) == 3


def test_a_circle_has_one_image(folder: Path) -> None:
    text = "walk,prompt,image,seed,motion,frames\nw,a,red.png,1,circle,4\nw,a,deep/grey.jpg,2,,\n"
    with pytest.raises(ManifestError, match="row 2, column 'image': required the image that its circle begins with"):
        plan_job(manifest(folder, text))
    without = "walk,prompt,image,seed,motion,frames\nw,a,red.png,1,circle,4\nw,a,,2,,\n"
    with pytest.raises(
        ManifestError, match="row 2, column 'image': required an image, as its walk begins with"
    ) as caught:
        plan_job(manifest(folder, without))
    assert len(str(caught.value).splitlines()) == 2  # one fault, told once


def test_the_strength_of_an_anchored_walk_stays(folder: Path) -> None:
    """Its stem has one; what moves behind it would not show."""
    text = "walk,prompt,image,anchor,strength,frames\nw,a,red.png,0.5,0.2,4\nw,b,red.png,,0.9,\n"
    with pytest.raises(
        ManifestError, match="row 2, column 'strength': required the value that its anchored walk begins with"
    ):
        plan_job(manifest(folder, text))


def test_a_walk_has_images_or_none(folder: Path) -> None:
    path = manifest(folder, "walk,prompt,image\nw,a,red.png\nw,b,\n")
    with pytest.raises(
        ManifestError, match="row 2, column 'image': required an image, as its walk begins with; got ''"
    ):
        plan_job(path)


@pytest.mark.parametrize("strength", ["1.1", "-0.1", "much"])
def test_strengths_that_are_none(folder: Path, strength: str) -> None:
    path = manifest(folder, f"prompt,image,strength\na,red.png,{strength}\n")
    with pytest.raises(ManifestError, match="column 'strength': required a number, 0 … 1; got"):
        plan_job(path)
