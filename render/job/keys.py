"""Keys of a job file as frozen dataclasses, one a section, with their types and defaults; and the way back to a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from render.core import MAIN, is_url, table_ending
from render.job.sweep import LIMIT, UNSWEPT, Sweep

__all__ = [
    "AnimationConfig",
    "JobConfig",
    "LoraConfig",
    "ModelConfig",
    "SamplingConfig",
    "SheetsConfig",
    "StoreConfig",
    "WorkersConfig",
    "as_written",
    "to_yaml",
]


@dataclass(frozen=True)
class LoraConfig:
    """One LoRA of a model."""

    path: Path = Path()  # a safetensors file, relative to the job file, or its URL
    weight: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """One model and its use."""

    id: str = "starter"  # `starter`, a diffusers folder (relative to the job file, or in a bucket) or a hub id
    revision: str | None = None  # branch, tag or commit of a hub model
    loras: tuple[LoraConfig, ...] = ()
    clip_skip: int | None = None  # number of last layers of the CLIP text encoders to leave out
    tile_above: int | None = 2048  # pixels; with a longer side the VAE works in tiles; null: never


@dataclass(frozen=True)
class SamplingConfig:
    """Defaults of empty manifest cells; null stands for the model's own default."""

    negative_prompt: str = ""
    prompt_syntax: str = "plain"  # plain: every sign is text; weighted: (word:1.3) and [word] are weights; of all rows
    frames: int = 24  # from a keyframe to the next one
    easing: str = "linear"
    interpolation: str = "slerp"
    width: int | None = None  # pixels
    height: int | None = None  # pixels
    steps: int | None = None
    guidance: float | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class WorkersConfig:
    """Number and size of the workers; null is chosen to suit the machine."""

    count: int | None = None  # workers, each a process (a Ray actor)
    cpus: int | None = None  # CPU cores of a worker, and its torch threads
    gpus: float | None = None  # GPUs of a worker
    batch_rows: int | None = None  # batch size counted in network inputs: a guided image takes two
    address: str | None = None  # Ray cluster to join (`auto` inside one); null starts a local Ray
    deadline_s: float = 900.0  # a worker without any progress for this time is replaced
    dtype: str = "auto"  # auto, float32 or bfloat16; auto takes bfloat16 if the device is fast at it
    device: str = "auto"  # auto, cpu or cuda
    compile: str = "auto"  # auto, on or off; auto compiles on a GPU if the job is long enough to win back the time
    metrics: bool = False  # Ray serves metrics of the run to Prometheus


@dataclass(frozen=True)
class StoreConfig:
    """Format and grouping of the stored frames."""

    format: str = "png"  # png, webp (lossless) or jpeg (quality 95)
    picture_metadata: bool = True  # pictures say how they were made: prompt and settings, as other programs read them
    unit_frames: int | None = None  # frames of a shard at most; null: by size and number of the frames
    blank: str = "keep"  # of images of a single colour: keep, quarantine, or reseed (try other seeds)


@dataclass(frozen=True)
class AnimationConfig:
    """Settings of the animations of walks."""

    formats: tuple[str, ...] = ("gif", "mp4")  # also webp and apng, both lossless
    subtitles: bool = False  # NAME.srt beside NAME.mp4
    fps: float = 12.0
    loop: str = "bounce"  # none, bounce or cycle
    crf: int = 18  # MP4 quality, 0 (best) … 51


@dataclass(frozen=True)
class SheetsConfig:
    """Settings of the contact sheets."""

    kinds: tuple[str, ...] = ("sweep", "grid", "walk")  # also images: all of each row; still: the first of each
    cell: int = 256  # pixels of an image's longer side; larger ones are reduced


@dataclass(frozen=True)
class JobConfig:
    """One job: its manifest, models, output folder and settings, all values parsed."""

    manifest: Path = Path()  # relative to the job file, or a URL
    output: Path = Path()  # relative to the current folder; out/NAME by default, NAME of the job file or manifest
    media: Path | None = None  # folder of start images and sounds, relative to the job file; null: the manifest's
    media_urls: tuple[str, ...] = ()  # URLs of folders whose files the manifest's cells may name by URLs
    labels: tuple[str, ...] = ()  # names of columns that are labels, whatever other programs mean by them
    columns: dict[str, str] = field(default_factory=dict)  # name in the table → our column's, a label's, or `ignore`
    splits: dict[str, float] = field(default_factory=dict)  # split of the data set → its share; {}: all is train
    seed: int = 0  # of walks without a seed; stills without one derive theirs from it and their row
    model: ModelConfig = field(default_factory=ModelConfig)
    models: dict[str, ModelConfig] = field(default_factory=dict)  # more models, by name, for manifest column `model`
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    animation: AnimationConfig = field(default_factory=AnimationConfig)
    sheets: SheetsConfig = field(default_factory=SheetsConfig)
    sweep: Sweep = UNSWEPT  # groups of columns with values: zipped in a group, multiplied over the groups
    sweep_limit: int = LIMIT  # points of the sweep at most
    notify: tuple[str, ...] = ()  # URLs of apprise to which notices of the run are sent; secret, so never stored
    notify_on: tuple[str, ...] = ("done", "failed", "stalled")  # what notices are sent of
    notify_stalled_s: float = 1800.0  # a run without any frame for this time counts as stalled

    @property
    def media_root(self) -> Path:
        """Folder of start images and sounds; that of a manifest at a URL is a URL, too."""
        if self.media:
            return self.media
        is_folder = not table_ending(self.manifest) if is_url(self.manifest) else self.manifest.is_dir()
        return self.manifest if is_folder else self.manifest.parent

    @property
    def all_models(self) -> dict[str, ModelConfig]:
        """All models, by their names in the manifest."""
        return {MAIN: self.model, **self.models}


def to_yaml(job: JobConfig) -> str:
    """Return the whole job as a YAML job file, every default written out; without the URLs of notices."""

    def section(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: str(value) if isinstance(value, Path) else value for key, value in pairs}

    return yaml.safe_dump(as_written(job, section), allow_unicode=True, sort_keys=False)


def as_written(job: JobConfig, section: Callable[[list[tuple[str, Any]]], dict[str, Any]] = dict) -> dict[str, Any]:
    """Return the keys of a job as a job file has them, the sweep in the user's own spelling; no notice has a URL.

    `section` makes the mapping of each section from its (key, value) pairs; it may leave pairs out.
    """

    def spell(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return section([(key, value["written"] if key == "sweep" else value) for key, value in pairs])

    return asdict(replace(job, sweep=replace(job.sweep, axes=()), notify=()), dict_factory=spell)
