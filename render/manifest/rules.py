"""Rules for the cells of a manifest: for every row, and for rows of one model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from render.core import (
    COLUMNS,
    FLOW_SCHEDULERS,
    FPS_MAX,
    FPS_MIN,
    GIF_FPS_MAX,
    MAIN,
    SCHEDULERS,
    SEED_MAX,
    SPLIT_REQUIRED,
    STEPS_MAX,
    CellType,
    Choice,
    Flag,
    Integer,
    Number,
    nearest_schedulers,
    noise_schedule,
    scheduler_meant,
    split_meant,
)
from render.manifest.kinds import ColumnRule, Rule, choice, finite, flag, integer
from render.models import SamplingDefaults
from render.plan import MOTIONS

__all__ = ["ANYTHING", "Defaults", "ModelRules", "SizeRule", "common_rules", "model_rule", "rules_by_model"]


@dataclass(frozen=True, slots=True)
class Defaults:
    """The job's settings, which empty cells take whatever the row's model."""

    negative_prompt: str
    frames: int
    easing: str
    interpolation: str
    seed: int  # a walk without seeds holds it; a still's is derived from it
    media: Path  # the folder that start images and sounds lie in
    fps: float = 12.0  # of the job's animations
    media_urls: tuple[Path, ...] = ()  # folders whose files cells may name by URLs
    fps_max: float = FPS_MAX
    splits: Mapping[str, float] = field(default_factory=dict)  # shares of the data set's splits; {}: all is train


@dataclass(frozen=True, slots=True)
class SizeRule:
    """The sizes that a model can render."""

    multiple: int  # width and height are multiples of it
    minimum: int  # pixels a side
    maximum: int  # pixels a side


@dataclass(frozen=True, slots=True)
class ModelRules:
    """The limits of rows of one model, and the values of their empty cells."""

    sizes: SizeRule
    schedulers: tuple[str, ...]  # that fit, of recipe.SCHEDULERS
    guidance_embeds: bool  # guidance is an input of the network, `true_guidance` a setting beside it
    defaults: SamplingDefaults


ANYTHING = ModelRules(SizeRule(1, 1, 2**31 - 1), SCHEDULERS, True, SamplingDefaults(1, 1, 1, 1.0, SCHEDULERS[0]))


def common_rules(defaults: Defaults) -> dict[str, ColumnRule]:
    """Return the rules of the columns that every model reads alike, with the values of empty cells."""
    rules = {column.name: _rule(column.cell) for column in COLUMNS}
    rules |= {"fps": _rate(defaults.fps_max), "motion": choice(tuple(MOTIONS)), "seed": _seeds(), "split": _splits()}
    return {
        column.name: ColumnRule(rule, getattr(defaults, column.name) if column.default_of == "job" else column.default)
        for column in COLUMNS
        if (rule := rules[column.name])
    }


def _rule(cell: CellType) -> Rule | None:
    """Return the rule of a column's cells, None where it needs more than the column."""
    match cell:
        case Integer(low, high):
            return integer(low, high)
        case Number(low, high):
            return finite(low, high)
        case Choice(options):
            return choice(options)
        case Flag():
            return flag()
    return None


def model_rule(names: tuple[str, ...]) -> ColumnRule:
    """Return the rule of column `model`: one of the job's models."""
    rule = choice(names)
    return ColumnRule(replace(rule, required=f"a model of the job ({', '.join(names)})"), MAIN)


def rules_by_model(models: Mapping[str, ModelRules]) -> dict[str, list[ColumnRule]]:
    """Return the columns that models read by rules of their own, with one rule for each model, in their order."""
    by_model = [_rules(name, rules) for name, rules in models.items()]
    return {column: [rules[column] for rules in by_model] for column in by_model[0]}


def _rules(name: str, model: ModelRules) -> dict[str, ColumnRule]:
    side = integer(model.sizes.minimum, model.sizes.maximum, model.sizes.multiple, " pixels")
    rules = {
        "width": side,
        "height": side,
        "steps": integer(1, STEPS_MAX),
        "guidance": finite(0.0),
        "scheduler": _schedulers(model.schedulers),
        "true_guidance": finite(0.0) if model.guidance_embeds else _off(),
    }
    which = "" if name in (MAIN, "") else f" with model {name!r}"
    return {
        column.name: ColumnRule(
            replace(rule, required=rule.required + which),
            getattr(model.defaults, column.name) if column.default_of == "model" else column.default,
            f"the job's default{which}",
        )
        for column in COLUMNS
        if (rule := rules.get(column.name))
    }


def _schedulers(fitting: tuple[str, ...]) -> Rule:
    """Return the rule for schedulers that fit a model, by our names and those of other programs."""
    flow = any(name in FLOW_SCHEDULERS for name in fitting)
    misfit = ", which does not fit a model of flow matching" if flow else ", which is for models of flow matching"

    def parse(cell: str) -> str | None:
        name = scheduler_meant(cell)
        return name if name in fitting else None

    def reason(cell: Any) -> str:
        near = nearest_schedulers(str(cell), fitting)
        hint = f" (nearest: {', '.join(near)})" if near else ""
        if noise_schedule(str(cell)):
            return f", a noise schedule and no sampler{hint}"
        meant = scheduler_meant(str(cell))
        return (misfit if meant and (meant in FLOW_SCHEDULERS) is not flow else "") + hint

    return replace(choice(fitting), parse=parse, reason=reason)


def _seeds() -> Rule:
    """Return the rule for seeds; many programs write -1 for any."""
    rule = integer(0, SEED_MAX)

    def reason(cell: Any) -> str:
        drawn = str(cell).strip() in ("-1", "-1.0")
        return " (leave it empty: each still gets its own)" if drawn else rule.reason(cell)

    return replace(rule, reason=reason)


def _splits() -> Rule:
    """Return the rule for splits of the data set."""
    return Rule(SPLIT_REQUIRED, lambda cell: split_meant(str(cell)), object, "text")


def _rate(most: float) -> Rule:
    """Return the rule for frames per second; 0 stands for the job's."""
    number = finite(0.0, most)

    def parse(cell: Any) -> float | None:
        value: float | None = number.parse(cell)
        return value if value is None or value == 0.0 or value >= FPS_MIN else None

    browsers = f" ({most:g} is the most that browsers show of a GIF)" if most == GIF_FPS_MAX else ""
    return replace(number, required=f"{FPS_MIN:g} … {most:g}, or 0 for the job's{browsers}", parse=parse)


def _off() -> Rule:
    """Return the rule for `true_guidance` of a model whose `guidance` is classifier-free already: off."""
    number = finite(0.0)

    def parse(cell: Any) -> float | None:
        return 1.0 if number.parse(cell) == 1.0 else None

    return replace(number, required="1 or nothing (this model's guidance is in column `guidance`)", parse=parse)
