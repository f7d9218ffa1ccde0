"""diffusers' schedulers by the names users know; each is made from the model's own configuration."""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["DIFFUSION", "FLOW", "FlowSchedulers", "Schedulers", "native_scheduler"]

DPM = {"algorithm_type": "dpmsolver++"}
Made = tuple[str, dict[str, Any]]  # diffusers class, what it is made with beside the model's configuration
DIFFUSION: dict[str, Made] = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "lms": ("LMSDiscreteScheduler", {}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", DPM),
    "dpm++2m karras": ("DPMSolverMultistepScheduler", {**DPM, "use_karras_sigmas": True}),
    "dpm++ sde": ("DPMSolverSinglestepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "deis": ("DEISMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
FLOW: dict[str, Made] = {
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "flow-dpm++2m": ("DPMSolverMultistepScheduler", {**DPM, "use_flow_sigmas": True}),
    "flow-unipc": ("UniPCMultistepScheduler", {"use_flow_sigmas": True}),
}


def native_scheduler(config: dict[str, Any], otherwise: str) -> str:
    """The name of the scheduler that a model's configuration is of, or another where it has no name here."""
    named = {class_name: name for name, (class_name, _) in reversed((DIFFUSION | FLOW).items())}  # the first wins
    return named.get(config["_class_name"], otherwise)


class Schedulers:
    """Makes schedulers for one model. Those of one name and step count are copies of one that is built once."""

    def __init__(self, config: dict[str, Any], device: torch.device) -> None:
        self._config, self._device = config, device
        self._built = lru_cache(maxsize=256)(self._build)

    def __call__(self, name: str, steps: int, latents: tuple[int, ...]) -> Any:  # noqa: ARG002
        return deepcopy(self._built(name, steps))

    def _build(self, name: str, steps: int) -> Any:
        scheduler = _make(DIFFUSION[name], self._config)
        scheduler.set_timesteps(steps, device=self._device)
        return _at_start(scheduler)


class FlowSchedulers:
    """Makes schedulers of flow matching for one model, whose shift may depend on the number of latents.

    `even_sigmas` asks for sigmas of 1 … 1/steps before the shift, where a scheduler takes them, instead of its own.
    """

    def __init__(self, config: dict[str, Any], device: torch.device, patch: int, even_sigmas: bool) -> None:
        self._config, self._device = config, device
        self._patch, self._even = patch, even_sigmas
        self._built = lru_cache(maxsize=256)(self._build)

    def __call__(self, name: str, steps: int, latents: tuple[int, ...]) -> Any:
        tokens = latents[-2] // self._patch * (latents[-1] // self._patch)
        return deepcopy(self._built(name, steps, tokens))

    def _build(self, name: str, steps: int, tokens: int) -> Any:
        class_name, own = FLOW[name]
        if "use_flow_sigmas" in own:
            own = own | {"prediction_type": "flow_prediction", "flow_shift": self._config.get("shift", 1.0)}
        scheduler = _make((class_name, own), self._config)
        settings: dict[str, Any] = {}
        if self._config.get("use_dynamic_shifting"):
            settings["mu"] = self._mu(tokens)
        if self._even and name == "flow-euler":
            settings["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(steps, device=self._device, **settings)
        return _at_start(scheduler)

    def _mu(self, tokens: int) -> float:
        """The logarithm of the shift, a line in the number of tokens (Esser et al. 2024, arXiv:2403.03206, as in FLUX.1)."""
        config = self._config
        low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        slope = (most - least) / (high - low)
        return float(tokens * slope + (least - slope * low))


def _make(made: Made, config: dict[str, Any]) -> Any:
    import diffusers

    class_name, settings = made
    return getattr(diffusers, class_name).from_config(config, **settings)


def _at_start(scheduler: Any) -> Any:
    """Told to begin with its first step: many steps make equal timesteps, of which it would look for the second."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return scheduler
