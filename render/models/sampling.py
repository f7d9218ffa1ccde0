"""A model's own sampling defaults: `sampling.json` in its folder, over those of its family."""

from __future__ import annotations

import math
import os
from dataclasses import replace

from render.core import STEPS_MAX, shorten
from render.models.families import Facts, SamplingDefaults
from render.models.folder import ModelFolder

__all__ = ["read_sampling"]


def read_sampling(folder: ModelFolder, facts: Facts) -> SamplingDefaults:
    """Return the defaults of a model. Raises ModelError for a `sampling.json` that is broken, or no fit for the model."""
    file = folder.path / "sampling.json"
    own = folder.json(file) if os.path.lexists(file) else {}
    known = SamplingDefaults.__dataclass_fields__
    if unknown := [name for name in own if name not in known]:
        raise folder.error(f"{', '.join(known)} in sampling.json", shorten(", ".join(unknown)))
    found = replace(facts.sampling, **own)
    where = "sampling.json" if own else "the networks' configurations"
    sides = f"an integer, {facts.size_min} … {facts.size_max}, as"
    checks = (
        (f"{sides} width", found.width, _is_within(found.width, facts.size_min, facts.size_max)),
        (f"{sides} height", found.height, _is_within(found.height, facts.size_min, facts.size_max)),
        (f"an integer, 1 … {STEPS_MAX}, as steps", found.steps, _is_within(found.steps, 1, STEPS_MAX)),
        ("a finite number as guidance", found.guidance, _is_number(found.guidance)),
        (f"one of {', '.join(facts.schedulers)} as scheduler", found.scheduler, found.scheduler in facts.schedulers),
    )
    for required, got, right in checks:
        if not right:
            raise folder.error(f"{required} in {where}", shorten(repr(got)))
    return found


def _is_within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
