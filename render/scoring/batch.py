"""The values that scoring is made of: pictures of a batch, the scores that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["STARTER", "Batch", "Score", "Scorer", "Values"]

STARTER = "starter"  # the scorer that comes with the embedded model


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures that are scored together."""

    images: Sequence[Image]  # RGB
    prompts: Sequence[str]  # of their keyframes


Values: TypeAlias = Mapping[str, Sequence[Any]]  # part of a column's name → a value for each picture
Scorer: TypeAlias = Callable[[Batch], Values]


@dataclass(frozen=True, slots=True)
class Score:
    """One score that was asked for: NAME:KIND=MODEL."""

    name: str  # of its folder in OUT/scores
    kind: str
    model: str = ""  # folder, file or hub id
    fingerprint: str = ""  # of the model's files

    @property
    def settings(self) -> dict[str, str]:
        """What the values depend on: kind and model. It is kept with the values."""
        return {"kind": self.kind, "model": self.model, "fingerprint": self.fingerprint}
