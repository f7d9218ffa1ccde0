"""diffusers' schedulers by the names of the manifest, each made from the model's own scheduler configuration.

Their timesteps and sigmas are on the CPU, whatever the device of the latents: a scheduler reads them at every step, and to
read a value of a GPU waits until the GPU has done everything that was queued before.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["DIFFUSION", "FLOW", "FlowSchedulers", "Schedulers", "native_scheduler"]

DPM = {"algorithm_type": "dpmsolver++"}
Spec = tuple[str, dict[str, Any]]  # (diffusers class, settings that override the model's configuration)
DIFFUSION: dict[str, Spec] = {
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
FLOW: dict[str, Spec] = {
    "flow-euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "flow-heun": ("FlowMatchHeunDiscreteScheduler", {}),
    "flow-dpm++2m": ("DPMSolverMultistepScheduler", {**DPM, "use_flow_sigmas": True}),
    "flow-unipc": ("UniPCMultistepScheduler", {"use_flow_sigmas": True}),
}


def native_scheduler(config: dict[str, Any], otherwise: str) -> str:
    """Return the name of the scheduler in a model's configuration, `otherwise` if that class has no name here."""
    named = {class_name: name for name, (class_name, _) in reversed((DIFFUSION | FLOW).items())}  # first entry wins
    return named.get(config["_class_name"], otherwise)


class Schedulers:
    """Maker of schedulers for one model: each combination of name and steps is built once, then copied."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._built = lru_cache(maxsize=256)(self._build)

    def __call__(self, name: str, steps: int, latents: tuple[int, ...]) -> Any:  # noqa: ARG002
        return deepcopy(self._built(name, steps))

    def _build(self, name: str, steps: int) -> Any:
        scheduler = _make(DIFFUSION[name], self._config)
        scheduler.set_timesteps(steps, device="cpu")
        return _begin_at_first(scheduler)


class FlowSchedulers:
    """Maker of flow-matching schedulers for one model, whose shift may depend on the number of latents.

    `patch` is the number of latents along each side of a transformer token. With `even_sigmas`, flow-euler gets evenly
    spaced sigmas 1 … 1/steps before the shift, as FLUX.1 wants, instead of its own.
    """

    def __init__(self, config: dict[str, Any], patch: int, even_sigmas: bool) -> None:
        self._config, self._patch, self._even = config, patch, even_sigmas
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
        scheduler.set_timesteps(steps, device="cpu", **settings)
        return _begin_at_first(scheduler)

    def _mu(self, tokens: int) -> float:
        """Return the shift's logarithm, linear in the number of tokens (Esser et al. 2024, arXiv:2403.03206; FLUX.1)."""
        config = self._config
        low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
        least, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
        slope = (most - least) / (high - low)
        return float(tokens * slope + (least - slope * low))


def _make(spec: Spec, config: dict[str, Any]) -> Any:
    import diffusers

    class_name, settings = spec
    return getattr(diffusers, class_name).from_config(config, **settings)


def _begin_at_first(scheduler: Any) -> Any:
    """Set the scheduler's begin index to 0.

    Without it, diffusers looks for the first timestep by value and takes the second of two equal ones. With many steps
    neighbouring timesteps can be equal.
    """
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return scheduler
