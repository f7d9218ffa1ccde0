"""What a plan warns of: it will surprise, but stops nothing."""

from __future__ import annotations

from collections.abc import Iterator

from render.core import Walk
from render.job import JobConfig
from render.manifest import Manifest
from render.models import Model
from render.plan import legs, motion_of, steps_of

__all__ = ["Warnings", "hive_warnings", "metrics_warnings", "text_warnings", "watched"]

WARNINGS_MAX = 20
TEXT_MAX = 120  # signs of a text in a warning
CHUNK = 10_000  # rows whose texts are checked at a time


class Warnings:
    """The warnings of a plan: the first WARNINGS_MAX, and the number of the others."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._more = 0

    def add(self, *texts: str) -> None:
        for text in texts:
            if len(self._kept) < WARNINGS_MAX:
                self._kept.append(text)
            else:
                self._more += 1

    @property
    def lines(self) -> tuple[str, ...]:
        return (*self._kept, *([f"… and {self._more} more warnings"] if self._more else []))


def hive_warnings(job: JobConfig) -> Iterator[str]:
    """Yield warnings of folders that readers take for columns, as of Hive's partitions."""
    for part in job.output.parts:
        name, equals, value = part.partition("=")
        if name and equals:
            yield f"output: DuckDB and others read the folder {part!r} as a column {name!r} that is {value!r} in every row"


def metrics_warnings(job: JobConfig) -> Iterator[str]:
    """Yield the warning that nobody can ask for the metrics of a Ray that the run starts for itself."""
    if job.workers.metrics and job.workers.address is None:
        yield "workers.metrics: a Ray that the run starts has no metrics port; workers.address names one that may have"


def watched(manifest: Manifest, found: Warnings) -> Iterator[tuple[Walk, int]]:
    """Yield the walks as they are counted, and add what is to be warned of in them, in the same pass."""
    for walk, times in manifest.alike():
        if not walk.still:
            found.add(*_walk_warnings(walk, manifest))
        yield walk, times


def _walk_warnings(walk: Walk, manifest: Manifest) -> Iterator[str]:
    moves = not {"steps", "scheduler"} & set(motion_of(walk).fixed)
    if moves and len({(keyframe.steps, keyframe.scheduler) for keyframe in walk.keyframes}) > 1:
        where = manifest.where(walk.start.row)
        yield f"{where}: steps or scheduler change within walk {walk.name!r}: expect a jump at the keyframe"
    if walk.anchor and any(leg.stem_steps == steps_of(leg.start) for leg in legs(walk)):
        where = manifest.where(walk.start.row)
        yield f"{where}: anchor leaves the frames of walk {walk.name!r} no step of their own: all will be alike"


def text_warnings(models: dict[str, Model], manifest: Manifest) -> Iterator[str]:
    """Yield what the text encoders cut off, CHUNK rows at a time."""
    table = manifest.select("model", "prompt", "negative_prompt", "source_row")
    for start in range(0, manifest.row_count, CHUNK):
        texts: dict[str, dict[str, int]] = {name: {} for name in models}  # of each model, text → first row
        columns = (column.to_pylist() for column in table.slice(start, CHUNK).columns)
        for model, prompt, negative, row in zip(*columns, strict=True):
            texts[model].setdefault(prompt, row)
            texts[model].setdefault(negative, row)
        for name, own in texts.items():
            for text, lost in models[name].lost_words(own):
                where = manifest.where(own[text])
                yield f"{where}: prompt over the model's token limit; it will not see: {_ends(lost)!r}"


def _ends(text: str) -> str:
    """Return the beginning and the end of a long text."""
    return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 30]} … {text[-25:]}"
