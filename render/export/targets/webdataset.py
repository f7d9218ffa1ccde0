"""Export as WebDataset: tar files in which a picture, its columns and its caption follow each other under one name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

from render.core import replacing
from render.export.targets.target import Target
from render.export.work import Part, Sample, Work, plain_json

__all__ = ["WEBDATASET"]

SUFFIXES = {"jpeg": "jpg"}  # the ending that decoders of WebDataset know, where it is another than ours


def _write_part(work: Work, part: Part, samples: Iterator[Sample]) -> None:
    path = work.folder / f"{part.split}-{part.number:06d}.tar"
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            _add(tar, f"{sample.name}.{SUFFIXES.get(sample.suffix, sample.suffix)}", sample.data)
            _add(tar, f"{sample.name}.json", plain_json(sample.values).encode("utf-8", "replace"))
            _add(tar, f"{sample.name}.txt", sample.caption.encode("utf-8", "replace"))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file; without time, owner or rights of this machine."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


WEBDATASET = Target(
    "webdataset",
    "tar files for WebDataset",
    _write_part,
    lambda split: f"{split}-*.tar",
    opening="from datasets import load_dataset\n"
    'images = load_dataset("webdataset", data_files=folder + FILES, split="train")',
    is_dataset=True,
)
