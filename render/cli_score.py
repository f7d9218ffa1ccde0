"""The command `render score`."""

from __future__ import annotations

import sys
import time
from typing import Any

from render.cli_mending import DONE, FAILED, AddCommand, output, short
from render.core import counted

__all__ = ["SCORE", "add_score"]

SCORE = {
    "score": "render score out/first --with clip,sharpness,phash\n"
    "  render score out/first --with clip=openai/clip-vit-base-patch32,large:clip=/models/clip-large workers.count=2"
}
LINE_S = 10.0  # between two lines of progress


def add_score(add: AddCommand) -> None:
    """Add the command to the parser of `render`."""
    score = add("score", _score, "say what the pictures of a store are like, in tables beside its shards")
    score.add_argument("out", metavar="OUT", type=output, help="the output folder of a run, or s3://BUCKET/PREFIX")
    score.add_argument(
        "--with",
        dest="scores",
        metavar="SCORES",
        required=True,
        help="comma-separated: clip, label, aesthetic, nsfw, caption, sharpness, brightness, contrast, colourfulness, "
        "entropy, phash; the first five as KIND=MODEL or NAME:KIND=MODEL, with a folder or a hub id",
    )
    score.add_argument("overrides", metavar="key=value", nargs="*", help="workers.… keys to set, e.g. workers.count=2")


def _score(options: Any) -> int:
    from render.scoring import score_store

    told = _Lines()
    scores = [text.strip() for text in options.scores.split(",") if text.strip()]
    done = score_store(options.out, scores, *options.overrides, told=told)
    before = f", {done.before:,} had them before" if done.before else ""
    print(f"{counted(done.frames, 'frame')} got {', '.join(done.scores)}{before}: {short(options.out / 'scores')}")
    for line in done.failed:
        print(f"not scored: {line}", file=sys.stderr)
    return FAILED if done.failed else DONE


class _Lines:
    """Progress as lines, at most one in ten seconds and one in the end."""

    def __init__(self) -> None:
        self._began_s = self._printed_s = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done == total or now - self._printed_s >= LINE_S:
            self._printed_s = now
            rate = done / (now - self._began_s)
            print(f"{done:,}/{total:,} frames, {rate:.1f} a second", file=sys.stderr, flush=True)
