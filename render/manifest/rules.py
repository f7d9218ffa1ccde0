"""What the cells of a manifest must be: for every row, and for rows of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from render.core import (
    DIRECTIONS,
    EASINGS,
    FLOW_SCHEDULERS,
    FPS_MAX,
    FPS_MIN,
    GIF_FPS_MAX,
    INTERPOLATIONS,
    LOOPS,
    MAIN,
    MOTIONS,
    SCHEDULERS,
    SEED_MAX,
    SHOWN,
    STEPS_MAX,
)
from render.manifest.cells import Rule, Standard, choice, finite, flag, integer
from render.models import SamplingDefaults

__all__ = ["ANYTHING", "Defaults", "ModelRules", "SizeRule", "common_rules", "model_rule", "rules_by_model"]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What empty cells take, whatever the row's model: the job's settings."""

    negative_prompt: str
    frames: int
    easing: str
    interpolation: str
    seed: int  # a walk without seeds holds it; a still's is derived from it
    media: Path  # the folder that start images and sounds lie in
    fps: float = 12.0  # of the job's animations
    fps_max: float = FPS_MAX


@dataclass(frozen=True, slots=True)
class SizeRule:
    """The sizes a model can do."""

    multiple: int  # width and height are multiples of it
    minimum: int  # pixels a side
    maximum: int  # pixels a side


@dataclass(frozen=True, slots=True)
class ModelRules:
    """What rows of one model may be, and what their empty cells take."""

    sizes: SizeRule
    schedulers: tuple[str, ...]  # that fit, of recipe.SCHEDULERS
    guidance_embeds: bool  # guidance is an input of the network, `true_guidance` a setting beside it
    defaults: SamplingDefaults


ANYTHING = ModelRules(SizeRule(1, 1, 2**31 - 1), SCHEDULERS, True, SamplingDefaults(1, 1, 1, 1.0, SCHEDULERS[0]))


def common_rules(defaults: Defaults) -> dict[str, Standard]:
    """The columns that every model reads alike."""
    return {
        "seed": Standard(integer(0, SEED_MAX), defaults.seed),
        "images": Standard(integer(1, 1_000_000), 1),
        "frames": Standard(integer(1, 1_000_000), defaults.frames),
        "easing": Standard(choice(EASINGS), defaults.easing),
        "interpolation": Standard(choice(INTERPOLATIONS), defaults.interpolation),
        "motion": Standard(choice(MOTIONS), "line"),
        "loop": Standard(choice(LOOPS), "none"),
        "step_size": Standard(finite(0.0), 0.005),
        "direction": Standard(choice(DIRECTIONS), "ones"),
        "vary_noise": Standard(flag(), False),
        "anchor": Standard(finite(0.0, 1.0), 0.0),
        "tween": Standard(integer(0, 1000), 0),
        "every": Standard(integer(1, 1000), 1),
        "shown": Standard(choice(SHOWN), "latents"),
        "strength": Standard(finite(0.0, 1.0), 0.8),
        "fps": Standard(_rate(defaults.fps_max), 0.0),
        "time_s": Standard(finite(0.0), 0.0),
        "beat": Standard(finite(0.0), 0.0),
        "audio_smooth": Standard(finite(0.0, 1.0), 0.0),
    }


def model_rule(names: tuple[str, ...]) -> Standard:
    """The column that says which of the job's models renders a row."""
    rule = choice(names)
    return Standard(replace(rule, required=f"a model of the job ({', '.join(names)})"), MAIN)


def rules_by_model(models: Mapping[str, ModelRules]) -> dict[str, list[Standard]]:
    """The columns that models read by rules of their own: one for each model, in their order."""
    by_model = [_rules(name, rules) for name, rules in models.items()]
    return {column: [rules[column] for rules in by_model] for column in by_model[0]}


def _rules(name: str, model: ModelRules) -> dict[str, Standard]:
    side = integer(model.sizes.minimum, model.sizes.maximum, model.sizes.multiple, " pixels")
    default = model.defaults
    rules: dict[str, tuple[Rule, Any]] = {
        "width": (side, default.width),
        "height": (side, default.height),
        "steps": (integer(1, STEPS_MAX), default.steps),
        "guidance": (finite(0.0), default.guidance),
        "scheduler": (_schedulers(model.schedulers), default.scheduler),
        "true_guidance": (finite(0.0) if model.guidance_embeds else _off(), 1.0),
    }
    which = "" if name in (MAIN, "") else f" with model {name!r}"
    return {
        column: Standard(replace(rule, required=rule.required + which), value, f"the job's default{which}")
        for column, (rule, value) in rules.items()
    }


def _schedulers(fitting: tuple[str, ...]) -> Rule:
    """Those that fit; of the others, an error says why they don't."""
    flow = any(name in FLOW_SCHEDULERS for name in fitting)
    why = "which does not fit a model of flow matching" if flow else "which is for models of flow matching"
    others = {name: why for name in SCHEDULERS if (name in FLOW_SCHEDULERS) is not flow}
    return replace(choice(fitting), misfits=others)


def _rate(most: float) -> Rule:
    """Frames per second; 0 stands for the job's."""
    number = finite(0.0, most)

    def parse(cell: Any) -> float | None:
        value: float | None = number.parse(cell)
        return value if value is None or value == 0.0 or value >= FPS_MIN else None

    browsers = f" ({most:g} is the most that browsers show of a GIF)" if most == GIF_FPS_MAX else ""
    return replace(number, required=f"{FPS_MIN:g} … {most:g}, or 0 for the job's{browsers}", parse=parse)


def _off() -> Rule:
    """The true guidance of a model whose `guidance` is the true one."""
    number = finite(0.0)

    def parse(cell: Any) -> float | None:
        return 1.0 if number.parse(cell) == 1.0 else None

    return replace(number, required="1 or nothing (this model's guidance is in column `guidance`)", parse=parse)
