"""job."""

from __future__ import annotations

from render.job.config import AnimationConfig, JobConfig, ModelConfig, load_job, to_yaml
from render.job.settings import check_section
from render.job.sweep import UNSWEPT, Axis, Sweep, Value, parse_sweep
from render.job.workforce import Workforce, choose_workforce, uses_gpu

__all__ = [
    "UNSWEPT",
    "AnimationConfig",
    "Axis",
    "JobConfig",
    "ModelConfig",
    "Sweep",
    "Value",
    "Workforce",
    "check_section",
    "choose_workforce",
    "load_job",
    "parse_sweep",
    "to_yaml",
    "uses_gpu",
]
