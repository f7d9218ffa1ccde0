"""Training pictures and captions: Fluent Emoji from the npm registry, captioned with CLDR's English names."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["COLOURS", "SIDE", "STYLES", "Caption", "Dataset", "caption", "composite", "held_out", "load_dataset"]

SIDE = 128  # pixels
STYLES = ("3d", "flat")
COLOURS = {  # background → sRGB levels
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "red": (226, 32, 38),
    "green": (0, 188, 78),
    "blue": (20, 118, 244),
    "yellow": (255, 226, 56),
    "orange": (255, 126, 32),
    "purple": (160, 64, 200),
    "pink": (255, 143, 184),
    "grey": (141, 145, 152),
}
GROUPS = (0, 3, 4, 5, 6)  # emojibase: smileys and emotion, animals and nature, food, travel and places, activities
PACKAGES = {  # npm package → (version, SHA-512 of its tarball as npm prints it, regular expression of the files to read)
    "@lobehub/fluent-emoji-3d": (
        "1.1.0",
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        r"package/assets/.*\.webp",
    ),
    "@lobehub/fluent-emoji-flat": (
        "1.1.0",
        "lPYCg8+N56MIj+iOgeBeH6AF0tneXxJCvgi41rOTjAWpA5rU2WUcmU1fiIXouEe8GrSTarWCYLY2ML+rdLRHsg==",
        r"package/assets/.*\.svg",
    ),
    "emojibase-data": (
        "17.0.0",
        "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
        r"package/en/data\.json",
    ),
}


@dataclass(frozen=True)
class Dataset:
    """Pictures of all labels, each with its label and style."""

    labels: tuple[str, ...]
    pictures: NDArray[np.uint8]  # [N, 128, 128, 4]: premultiplied RGB, alpha
    label_of: NDArray[np.int64]  # [N], index into labels
    style_of: NDArray[np.int64]  # [N], index into STYLES

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True, slots=True)
class Caption:
    """Prompt for a picture. A style or colour that is None is not named."""

    label: str
    style: str | None
    colour: str | None

    def __str__(self) -> str:
        named = f"{self.style} {self.label}" if self.style else self.label
        return f"{named} on a {self.colour} background" if self.colour else named


def load_dataset(cache: Path) -> Dataset:
    """Return the dataset from the folder `cache`; on the first call fetch it from the npm registry with the command `npm`.

    Raises RuntimeError if npm is missing or fails, or a package does not have the hash that is pinned here.
    """
    stored = cache / f"pictures-{SIDE}.npz"
    if not stored.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        files = {package: _fetch(package, cache) for package in PACKAGES}
        partial = stored.with_suffix(".part.npz")
        np.savez(partial, allow_pickle=False, **_draw(*files.values()))
        partial.replace(stored)
    with np.load(stored) as arrays:
        return Dataset(tuple(arrays["labels"].tolist()), arrays["pictures"], arrays["label_of"], arrays["style_of"])


def composite(pictures: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    """Return pictures `[..., 4]` on a background colour, as RGB `[..., 3]`."""
    alpha = pictures[..., 3:].astype(np.float32) / 255
    levels = pictures[..., :3] + (1 - alpha) * np.asarray(COLOURS[colour], np.float32)
    return levels.round().astype(np.uint8)


def held_out(label: str, style: str, colour: str) -> bool:
    """Return whether a combination is kept from the training of text encoder and UNet: one in ten, by a hash."""
    return hashlib.sha256(f"{style} {label} {colour}".encode()).digest()[0] % 10 == 0


def caption(dataset: Dataset, picture: int, colour: str, draw: random.Random) -> str:
    """Return a caption of a picture on a background colour, in one of the forms that users type.

    A caption without a colour means white; one without a style may mean either.
    """
    article = draw.choice(("", "a "))
    style = STYLES[dataset.style_of[picture]] if draw.random() < 0.92 else None
    unnamed = colour == "white" and draw.random() < 0.75
    name = "gray" if colour == "grey" and draw.random() < 0.2 else colour
    return article + str(Caption(dataset.labels[dataset.label_of[picture]], style, None if unnamed else name))


def _fetch(package: str, cache: Path) -> dict[str, bytes]:
    """Return file name → content for the files to read of an npm package."""
    version, sha512, wanted = PACKAGES[package]
    if shutil.which("npm") is None:
        raise RuntimeError("the starter's dataset: required the command npm, to fetch the emoji packages")
    command = ["npm", "pack", f"{package}@{version}", "--silent", "--pack-destination", str(cache.resolve())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    tarball = cache / done.stdout.strip().splitlines()[-1]
    packed = tarball.read_bytes()
    if (got := base64.b64encode(hashlib.sha512(packed).digest()).decode()) != sha512:
        raise RuntimeError(f"{tarball}: required SHA-512 {sha512}, got {got}")
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [member for member in archive if re.fullmatch(wanted, member.name)]
        return {Path(member.name).name: _content(archive, member) for member in members}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    if file is None:
        raise RuntimeError(f"{member.name}: required a file")
    return file.read()


def _draw(solid: dict[str, bytes], flat: dict[str, bytes], names: dict[str, bytes]) -> dict[str, NDArray[Any]]:
    """Return the dataset's arrays, drawn from the files of the packages."""
    labels: list[str] = []
    pictures, label_of, style_of = [], [], []
    for label, code in _labels(json.loads(names["data.json"])):
        found = [_open_webp(solid.get(f"{code}.webp")), _open_svg(flat.get(f"{code}.svg"))]
        for style, picture in enumerate(found):
            if picture is not None:
                pictures.append(picture)
                label_of.append(len(labels))
                style_of.append(style)
        if any(picture is not None for picture in found):
            labels.append(label)
    return {
        "labels": np.asarray(labels),
        "pictures": np.stack(pictures),
        "label_of": np.asarray(label_of),
        "style_of": np.asarray(style_of),
    }


def _labels(entries: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (label, file name without suffix) for each emoji of GROUPS."""
    for entry in entries:
        if entry.get("group") in GROUPS:
            label, code = entry["label"].lower().replace("’", "'"), entry["hexcode"].lower()
            single = (
                "-" not in code and entry["type"] == 0
            )  # Unicode shows it as text unless a variation selector follows
            yield label, f"{code}-fe0f" if single else code


def _open_webp(data: bytes | None) -> NDArray[np.uint8] | None:
    if data is None:
        return None
    with Image.open(io.BytesIO(data)) as image:
        return _premultiplied(image)


def _open_svg(data: bytes | None) -> NDArray[np.uint8] | None:
    from resvg_py import svg_to_bytes

    if data is None:
        return None
    drawn = svg_to_bytes(svg_string=data.decode(), width=4 * SIDE, height=4 * SIDE, skip_system_fonts=True)
    with Image.open(io.BytesIO(bytes(drawn))) as image:
        return _premultiplied(image)


def _premultiplied(image: Image.Image) -> NDArray[np.uint8]:
    """Return an image as `[128, 128, 4]`, reduced with premultiplied alpha: clear pixels must not tint the edges."""
    small = image.convert("RGBA").convert("RGBa").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    levels = np.asarray(small, np.uint8).copy()
    levels[..., :3] = np.minimum(levels[..., :3], levels[..., 3:])
    return levels
