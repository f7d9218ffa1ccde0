"""The kinds of scores: what each says, its columns, and who computes them. A new kind is one more entry of KINDS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from render.core import JobError
from render.scoring.batch import STARTER, Score, Scorer

__all__ = ["KINDS", "Kind", "load_scorer", "parse_scores"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of score."""

    meaning: str
    columns: tuple[tuple[str, pa.DataType, str], ...]  # (part of the name, type, meaning)
    load: Callable[[Score, str], Scorer]  # of a score on a device, cpu or cuda
    model: str = ""  # default: a folder, a hub id or `starter`; "" where one has to be named
    takes_model: bool = True

    def schema(self, name: str) -> pa.Schema:
        """Return the columns of a score of this name, `key` first: NAME_PART, or NAME for the part ""."""
        return pa.schema(
            [("key", pa.string()), *((f"{name}_{part}" if part else name, kind) for part, kind, _ in self.columns)]
        )


def load_scorer(score: Score, device: str) -> Scorer:
    """Return the function that scores pictures on a device, cpu or cuda."""
    return KINDS[score.kind].load(score, device)


def parse_scores(texts: Sequence[str]) -> tuple[Score, ...]:
    """Return the scores that `--with` names: KIND, KIND=MODEL or NAME:KIND=MODEL. Raises JobError, with every fault."""
    scores, faults = [], []
    for text in texts:
        head, _, model = text.partition("=")
        name, _, kind = head.rpartition(":")
        name = name or kind
        if kind not in KINDS:
            faults.append(f"--with {text}: required one of {', '.join(KINDS)}, got {kind!r}")
        elif not name.isidentifier() or name.startswith("_"):
            faults.append(f"--with {text}: required a name of letters, digits and _, got {name!r}")
        elif model and not KINDS[kind].takes_model:
            faults.append(f"--with {text}: required {kind} alone, which has no model, got {model!r}")
        elif not model and KINDS[kind].takes_model and not KINDS[kind].model:
            faults.append(f"--with {text}: required {kind}=MODEL, a folder or a hub id, got no model")
        else:
            scores.append(Score(name, kind, model or KINDS[kind].model))
    names = [score.name for score in scores]
    faults += [f"--with: required each name once, got {name!r} twice" for name in {*names} if names.count(name) > 1]
    if not scores and not faults:
        faults.append(f"--with: required one or more of {', '.join(KINDS)}, got none")
    if faults:
        raise JobError("\n".join(faults))
    return tuple(scores)


def _clip(score: Score, device: str) -> Scorer:
    from render.scoring.clip import load_clip

    return load_clip(score, device)


def _label(score: Score, device: str) -> Scorer:
    from render.scoring.clip import load_labels

    return load_labels(score, device)


def _classifier(score: Score, device: str) -> Scorer:
    from render.scoring.classifier import load_classifier

    return load_classifier(score, device)


def _caption(score: Score, device: str) -> Scorer:
    from render.scoring.caption import load_captioner

    return load_captioner(score, device)


def _pixels(score: Score, device: str) -> Scorer:  # noqa: ARG001
    from render.scoring.pixels import MEASURES

    return MEASURES[score.kind]


def _of_pixels(meaning: str, kind: pa.DataType | None = None) -> Kind:
    return Kind(meaning, (("", kind or pa.float32(), meaning),), _pixels, takes_model=False)


KINDS: dict[str, Kind] = {
    "clip": Kind(
        "how well picture and prompt fit, by CLIP or SigLIP",
        (
            ("score", pa.float32(), "100 × the cosine of the embeddings of picture and prompt, at least 0"),
            ("embedding", pa.list_(pa.float16()), "embedding of the picture, of length 1; not in the table of frames"),
        ),
        _clip,
        STARTER,
    ),
    "label": Kind(
        "which of a list of labels fits best, by CLIP or SigLIP (`labels.txt` in the model's folder)",
        (
            ("guess", pa.string(), "label that fits best"),
            ("probability", pa.float32(), "softmax of the scores over all labels, 0 … 1"),
        ),
        _label,
        STARTER,
    ),
    "aesthetic": Kind(
        "a rating of looks, by an image classifier or a regression head on one",
        (("score", pa.float32(), "the model's value; of a classifier the probability of its label `aesthetic`"),),
        _classifier,
    ),
    "nsfw": Kind(
        "the chance that the picture is not safe for work, by an image classifier",
        (("score", pa.float32(), "probability of the label `nsfw` (or `porn`, `unsafe`), 0 … 1"),),
        _classifier,
    ),
    "caption": Kind("a caption by a vision-language model", (("", pa.string(), "caption of the picture"),), _caption),
    "sharpness": _of_pixels(
        "variance of the luma's Laplacian, in squared levels of 0 … 255; blurred pictures have little"
    ),
    "brightness": _of_pixels("mean luma, 0 … 1"),
    "contrast": _of_pixels("standard deviation of the luma, 0 … 0.5"),
    "colourfulness": _of_pixels("colourfulness after Hasler and Süsstrunk (2003), in levels of 0 … 255"),
    "entropy": _of_pixels("entropy of the histogram of the luma, 0 … 8 bits"),
    "phash": _of_pixels("perceptual hash (DCT of 32 × 32 pixels), 16 hexadecimal digits", pa.string()),
}
