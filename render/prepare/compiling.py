"""Decide in the plan whether the networks are compiled. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from render.core import JobError
from render.job import JobConfig, Workforce, missing_for_compiling
from render.models import Model
from render.plan import Counts

__all__ = ["CompileDecision", "check_toolchain", "decide_compile", "network_seconds"]

# One network input of 64x64 latents through 0.86 billion parameters (SD 1.5), bfloat16, on an H200. SDXL, SD 3 and FLUX.1
# lie within a factor of two of the line through zero (docs/performance.md).
SECONDS_PER_INPUT = 3.2e-3
PARAMETERS, LATENTS = 0.86e9, 64 * 64
PIXELS_PER_LATENT = 8 * 8
SAVED = 0.25  # share of the network's time that compiling saves, at least
COMPILE_S = 100.0  # of one model and image size
WORTH = 2.0  # times the compile time that the saving must be
WORKERS_MAX = 64  # taken where the number follows from the room in a cluster


@dataclass(frozen=True, slots=True)
class CompileDecision:
    """The decision on `workers.compile`, and the reason for people."""

    on: bool
    reason: str
    warning: str = ""


def decide_compile(
    job: JobConfig, models: Mapping[str, Model], counts: Counts, workforce: Workforce
) -> CompileDecision:
    """Return `workers.compile` as on or off; `auto` is on when a GPU job wins back the time of compiling.

    Raises JobError for `on` where this machine lacks what compiling needs.
    """
    asked = job.workers.compile
    if asked == "off":
        return CompileDecision(False, "workers.compile=off")
    if asked == "on":
        check_toolchain(job, workforce)
        return CompileDecision(True, "workers.compile=on")
    if workforce.device == "cpu":
        return CompileDecision(False, "on a CPU it saves little")
    seconds = network_seconds(counts, models) / (workforce.count or WORKERS_MAX)
    saved, spent = SAVED * seconds, COMPILE_S * len(counts.by_group)
    reason = f"would save about {saved:,.0f} s of a worker's {seconds:,.0f} s, and takes about {spent:,.0f} s"
    if saved < WORTH * spent:
        return CompileDecision(False, reason)
    if lacking := _lacking(job, workforce):
        return CompileDecision(False, reason, f"workers.compile: networks are not compiled, for want of {lacking}")
    return CompileDecision(True, reason)


def check_toolchain(job: JobConfig, workforce: Workforce) -> None:
    """Raise JobError where this machine's workers can't compile; of a cluster's machines nothing is known."""
    if lacking := _lacking(job, workforce):
        raise JobError(f"workers.compile: required {lacking} to compile with, got none; workers.compile=off needs none")


def _lacking(job: JobConfig, workforce: Workforce) -> str:
    return missing_for_compiling(workforce.device == "cuda") if job.workers.address is None else ""


def network_seconds(counts: Counts, models: Mapping[str, Model]) -> float:
    """Estimate the seconds that one H200 needs for all network evaluations, each group having its share of them by frames.

    A model whose weights are not on this machine counts as nothing.
    """
    total = 0.0
    for (name, width, height), (frames, _) in counts.by_group.items():
        inputs = counts.evaluations * frames / counts.frames
        latents = width * height / PIXELS_PER_LATENT
        total += inputs * SECONDS_PER_INPUT * models[name].network_parameters / PARAMETERS * latents / LATENTS
    return total
