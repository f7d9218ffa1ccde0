"""List and write the animations of an output folder, with subtitles, titles and comments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render.core import GIF_FPS_MAX, JobError, Walk, input_path, is_url, local_copy
from render.job import AnimationConfig, JobConfig, as_written
from render.media import Sound
from render.output.animate import Animation, write_animation
from render.output.captions import captions, description
from render.output.subtitles import write_subtitles
from render.plan import closes, frame_count, shown_order
from render.store import Frames, ImageStore, OutputFolder

__all__ = ["animation_files", "write_file"]

PRIVATE = {"output", "media", "media_urls", "workers"}  # keys of a job that no file carries


def animation_files(
    store: ImageStore, walks: Callable[[], Iterable[Walk]], config: AnimationConfig
) -> list[tuple[Path, Walk]]:
    """List the files below OUT/animations with their walks: walks of several frames, some of them committed.

    Raises JobError for a walk whose own `fps` is too high for a GIF.
    """
    folder = OutputFolder(store.path).animations
    moving = [walk for walk in walks() if not walk.still and walk.name in store and frame_count(walk) > 1]
    fast = [walk.name for walk in moving if walk.fps > GIF_FPS_MAX]
    if fast and "gif" in config.formats:
        raise JobError(
            f"animation.formats: required none of gif, for walk {fast[0]!r} has over {GIF_FPS_MAX} fps; got gif"
        )
    subtitles = ("srt",) if config.subtitles and "mp4" in config.formats else ()
    suffixes = (*config.formats, *subtitles)
    return [(folder / f"{walk.name}.{suffix}", walk) for walk, suffix in product(moving, suffixes)]


def write_file(path: Path, walk: Walk, store: ImageStore, job: JobConfig) -> None:
    """Write one of the files that `animation_files` lists.

    A walk that ends where it began, or that has a sound, is played forward again and again (`cycle`), whatever the job's
    loop. Writing an MP4 deletes older subtitles beside it, whose times may differ.
    """
    config = job.animation
    path.parent.mkdir(exist_ok=True)
    loop = "cycle" if closes(walk) or walk.audio else config.loop
    settings = Animation(walk.fps or config.fps, loop, config.crf)
    pixels = _Pixels(store.frames(walk.name), shown_order(walk), bool(walk.audio))
    if path.suffix == ".srt":
        texts = captions(walk)
        write_subtitles(path, [texts[index] for index in pixels.indices], settings)
        return
    with _sound(walk, store) as sound:
        write_animation(path, pixels, settings, walk.name, description(walk, _public_keys(job)), sound)
    if path.suffix == ".mp4":
        path.with_suffix(".srt").unlink(missing_ok=True)


@contextmanager
def _sound(walk: Walk, store: ImageStore) -> Iterator[Sound | None]:
    """Give the store's copy of a walk's sound."""
    if not walk.audio:
        yield None
        return
    with local_copy(OutputFolder(store.path).sound(walk.audio, walk.audio_sha256)) as kept:
        yield Sound(kept, walk.start.time_s)


def _public_keys(job: JobConfig) -> dict[str, Any]:
    """Return the keys of a job that are fit to be published in a file: no workers, no folders, of paths only the names."""

    def public(key: str, value: Any) -> Any:
        if key not in {"manifest", "id", "path"}:
            return value
        if is_url(value):
            return input_path(value).name
        return Path(value).name if Path(value).is_absolute() else value

    def section(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {key: public(key, value) for key, value in pairs if key not in PRIVATE and not key.startswith("notify")}

    return as_written(job, section)


class _Pixels:
    """Frames of a walk as arrays uint8 `[H, W, 3]`, in the order of playing, decoded on demand.

    A frame that is not committed is skipped. With `keep_time` (for a sound) the frame before it is shown instead.
    """

    def __init__(self, frames: Frames, order: list[int], keep_time: bool) -> None:
        places = {index: place for place, index in enumerate(frames.indices)}
        stored = [index for index in order if index in places]
        held = accumulate(order, lambda last, index: index if index in places else last, initial=stored[0])
        self.indices = list(held)[1:] if keep_time else stored
        self._frames, self._order = frames, [places[index] for index in self.indices]

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return np.asarray(self._frames[self._order[index]].image())
