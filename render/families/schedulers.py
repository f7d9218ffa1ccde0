"""diffusers' schedulers of the Karras family by the names users know; each is made from the model's own configuration."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

import diffusers
import torch

__all__ = ["KARRAS", "Schedulers"]

KARRAS: dict[
    str, tuple[str, dict[str, Any]]
] = {  # name → diffusers class, what it is made with beside the model's config
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++"}),
    "dpm++2m karras": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "use_karras_sigmas": True}),
    "dpm++ sde": ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


class Schedulers:
    """Makes schedulers for one model. Those of one name and step count are copies of one that is built once."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        self._config, self._device = config, device
        self._built = lru_cache(maxsize=256)(self._build)

    def __call__(self, name: str, steps: int) -> Any:
        return deepcopy(self._built(name, steps))

    def _build(self, name: str, steps: int) -> Any:
        class_name, settings = KARRAS[name]
        scheduler = getattr(diffusers, class_name).from_config(self._config, **settings)
        scheduler.set_timesteps(steps, device=self._device)
        return scheduler
