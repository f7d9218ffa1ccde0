"""The package that travels with a job: job file, manifest, media and LoRAs, in one zip; and the package `render` itself.

The job file in it is the whole job with every default written out and its paths relative to the package. What a URL gives
is fetched where the job runs. Of an address with a query, which may be a signature, the file travels and not the address.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from render.core import WEIGHTS_BYTES, JobError, WebPath, is_url, local_file
from render.job import JobConfig, ModelConfig, to_yaml
from render.manifest import Manifest, Problems, tables_in

__all__ = ["LIMIT_BYTES", "Package", "media_cells", "pack", "package_modules", "write_package"]

LIMIT_BYTES = 200 * 2**20  # Ray keeps packages in the head's memory, and takes less than 512 MiB
TIME = (2020, 1, 1, 0, 0, 0)  # of every file in a package: the same content is the same package
INPUTS = "inputs"
USE = "a URL, or a folder that all nodes share"


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one input, which travel together."""

    what: str  # as an error calls it
    root: str  # local path
    files: tuple[tuple[Path, str], ...]  # (file here, its name in the package)
    inside: str  # path of the input in the package

    @property
    def size_bytes(self) -> int:
        return sum(file.stat().st_size for file, _ in self.files)


@dataclass(frozen=True, slots=True)
class Package:
    """The inputs of a job, divided into those that travel and those that every node has to read where they are."""

    job: JobConfig  # with the paths that it has there
    groups: tuple[Group, ...]  # that travel
    left: tuple[Group, ...]  # that are too large for it

    @property
    def size_bytes(self) -> int:
        return sum(group.size_bytes for group in self.groups)


def pack(job: JobConfig, manifest: Manifest, limit_bytes: int = LIMIT_BYTES) -> Package:
    """Divide the inputs of a job: the largest stay behind as long as the others are over the limit. Raises JobError."""
    groups, left = [*_groups(job, manifest)], list[Group]()
    while groups and sum(group.size_bytes for group in groups) > limit_bytes:
        left.append(groups.pop(groups.index(max(groups, key=lambda group: group.size_bytes))))
    _check_names(groups)
    return Package(_moved(job, manifest, {group.what: group.inside for group in groups}), tuple(groups), tuple(left))


def why_too_large(group: Group) -> str:
    """Return the error of an input that is too large to travel and can't be read on the nodes."""
    most = f"{LIMIT_BYTES / 2**20:,.0f} MB of inputs that travel with a job"
    return f"{group.what}: required at most {most}, or {USE}; got {group.size_bytes / 2**20:,.0f} MB in {group.root}"


def write_package(package: Package, file: Path) -> None:
    """Write the zip that Ray unpacks on every node. The same content gives the same bytes."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(_entry("job.yaml"), to_yaml(package.job))
        for path, name in sorted({pair for group in package.groups for pair in group.files}, key=lambda pair: pair[1]):
            with path.open("rb") as source, archive.open(_entry(name), "w", force_zip64=True) as target:
                while data := source.read(2**20):
                    target.write(data)


def package_modules(folder: Path) -> list[str]:
    """Return what Ray is to put on the Python path of every node: this package, and the record of its version."""
    record = folder / f"nightrender-{version('nightrender')}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: nightrender\nVersion: {version('nightrender')}\n")
    return [str(Path(__file__).parents[1]), str(record)]


def _groups(job: JobConfig, manifest: Manifest) -> Iterator[Group]:
    source = job.manifest
    if not is_url(source) or _has_query(source):
        inside = f"{INPUTS}/manifest/{source.name}"
        if not is_url(source) and source.is_dir():
            yield Group("manifest", str(source), tuple(_tables(source, inside)), inside)
        else:
            yield Group("manifest", str(source), ((_local(source), inside),), inside)
    if manifest.has_media and not is_url(job.media_root):
        yield _media(job.media_root, manifest)
    for name, model in job.all_models.items():
        for number, lora in enumerate(model.loras):
            if not is_url(lora.path) or _has_query(lora.path):
                inside = f"{INPUTS}/loras/{name}-{number}/{lora.path.name}"
                yield Group(_lora_key(name, number), str(lora.path), ((_local(lora.path), inside),), inside)


def _tables(folder: Path, inside: str) -> Iterator[tuple[Path, str]]:
    """Yield the tables of a folder and no other file of it. Shards get names in whose order they are read here."""
    for number, path in enumerate(tables_in(folder, Problems(str(folder)))):
        yield path, f"{inside}/{number:06d}-{path.name}" if path.suffix == ".parquet" else f"{inside}/{path.name}"


def _media(root: Path, manifest: Manifest) -> Group:
    """Return the start images and sounds that the manifest names, which lie inside the folder of media."""
    own = sorted(cell for cell in media_cells(manifest) if not is_url(cell))
    files = tuple((root / cell, f"{INPUTS}/media/{Path(cell).as_posix()}") for cell in own)
    return Group("media", str(root), files, f"{INPUTS}/media")


def media_cells(manifest: Manifest) -> set[str]:
    """Return the start images and sounds that a manifest names: paths in the folder of media, and URLs."""
    if not manifest.has_media:
        return set()
    return {cell for name in ("image", "audio") for cell in manifest.select(name)[name].unique().to_pylist() if cell}


def _check_names(groups: Iterable[Group]) -> None:
    """Raise JobError for every file that would not be unpacked under its name."""
    faults = [
        f"{group.what}: required names in UTF-8, without \\ and .. (Ray does not unpack others); got {str(path)!r}"
        for group in groups
        for path, name in group.files
        if "\\" in name or ".." in name.split("/") or not _is_text(name)
    ]
    if faults:
        raise JobError("\n".join(faults))


def _is_text(name: str) -> bool:
    """Return False for a file's name whose bytes are not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _moved(job: JobConfig, manifest: Manifest, inside: dict[str, str]) -> JobConfig:
    """Return the job with the paths that its inputs have in the package."""

    def model(name: str, own: ModelConfig) -> ModelConfig:
        keys = [_lora_key(name, number) for number in range(len(own.loras))]
        loras = (
            replace(lora, path=Path(inside[key])) if key in inside else lora
            for key, lora in zip(keys, own.loras, strict=True)
        )
        return replace(own, loras=tuple(loras))

    models = {name: model(name, own) for name, own in job.all_models.items()}
    main = models.pop(next(iter(job.all_models)))
    media = Path(inside["media"]) if "media" in inside else job.media_root if manifest.has_media else None
    source = Path(inside["manifest"]) if "manifest" in inside else job.manifest
    workers = replace(job.workers, address="auto")
    return replace(job, manifest=source, media=media, model=main, models=models, workers=workers)


def _lora_key(name: str, number: int) -> str:
    return f"model {name}: LoRA {number + 1}"


def _has_query(path: Path) -> bool:
    return isinstance(path, WebPath) and bool(path.query)


def _local(path: Path) -> Path:
    try:
        return local_file(path, WEIGHTS_BYTES)
    except OSError as error:
        raise JobError(str(error)) from None


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, TIME)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    return entry
