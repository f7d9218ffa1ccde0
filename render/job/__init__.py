"""The job: one YAML file with `key=value` overrides → a frozen `JobConfig`, checked key by key.

Come in by `load_job`; `as_written` and `to_yaml` lead back to the keys of a job file. A new key is a field of a section
in `keys.py`, and its range an entry of BOUNDS in `bounds.py`.

Promises: every unknown key, wrong type and value out of range is reported in one error, each with its place. A JobConfig
holds parsed values: paths are absolute, LoRAs and the sweep need no further reading. `to_yaml` writes a file that loads to
the same job, but for the URLs of notices, which are secret. Nothing here loads torch, Ray or pyarrow.
"""

from __future__ import annotations

from render.job.bounds import ANIMATION_FORMATS, ANIMATION_LOOPS, CRF_MAX
from render.job.config import load_job, output_given
from render.job.keys import AnimationConfig, JobConfig, ModelConfig, as_written, to_yaml
from render.job.settings import check_section, public, read_yaml
from render.job.sweep import UNSWEPT, Axis, Sweep, Value
from render.job.toolchain import missing_for_compiling
from render.job.workforce import Site, Workforce, choose_workforce, expected_workers, this_machine, uses_gpu

__all__ = [
    "ANIMATION_FORMATS",
    "ANIMATION_LOOPS",
    "CRF_MAX",
    "UNSWEPT",
    "AnimationConfig",
    "Axis",
    "JobConfig",
    "ModelConfig",
    "Site",
    "Sweep",
    "Value",
    "Workforce",
    "as_written",
    "check_section",
    "choose_workforce",
    "expected_workers",
    "load_job",
    "missing_for_compiling",
    "output_given",
    "public",
    "read_yaml",
    "this_machine",
    "to_yaml",
    "uses_gpu",
]
