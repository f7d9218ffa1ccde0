"""The values of an export: what is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Export", "Exported"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One export of a store: the target, the frames that are chosen, and how they are shared out and encoded."""

    to: str  # a name of TARGETS: hf, webdataset, imagefolder, kohya, csv or lance
    folder: Path  # a new or empty folder, or that of the same export
    where: str = "true"  # condition in SQL over the columns, labels, scores and marks
    columns: tuple[str, ...] = ()  # beside the picture; (): those of the store, labels and scores
    splits: str = "train=1"  # shares that add up to 1, `train=0.9,test=0.1`, or the name of a column that has the split
    balance: str = ""  # a column: each split gets the same number of frames of each of its values
    dedupe: str = ""  # a column: of the frames with one value only the first is kept
    format: str = ""  # png, webp or jpeg: pictures are encoded anew; "": their bytes are copied
    max_shard: str = ""  # size of a file, `500MB` or `2GB`, of targets with many pictures a file; "": 500 MB
    caption: str = "prompt"  # the column whose text is the caption
    license: str = ""  # of the dataset, as its card's header has it: cc-by-4.0
    language: str = ""  # of the prompts, for the same header: en, or en,de
    repeats: int = 1  # of kohya's folder name: how often a trainer takes each picture in an epoch


@dataclass(frozen=True, slots=True)
class Exported:
    """The outcome of an export."""

    folder: Path
    frames: dict[str, int]  # of each split
    files: int  # of pictures, or with many pictures each
    size_bytes: int  # of the pictures
    left_out: dict[str, int]  # reason → frames that `where` would have: duplicates, balance
    written: int  # frames that this call wrote; the others were there
