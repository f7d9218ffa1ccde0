"""Schedulers without host-device synchronisation: their own numbers stay on the CPU, latents on the device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from render.models import copy_to

__all__ = ["STILL", "CpuNumbers", "numbers_on_cpu"]

CPU = torch.device("cpu")
# Schedulers whose steps move nothing to the device. `CpuNumbers` takes up to 0.5 ms a step, so they go without it.
STILL = frozenset(
    {
        "DDIMScheduler",
        "DEISMultistepScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "EulerAncestralDiscreteScheduler",
        "EulerDiscreteScheduler",
        "FlowMatchEulerDiscreteScheduler",
        "FlowMatchHeunDiscreteScheduler",
        "HeunDiscreteScheduler",
        "LCMScheduler",
        "LMSDiscreteScheduler",
        "PNDMScheduler",
    }
)


def numbers_on_cpu(device: torch.device) -> AbstractContextManager[Any]:
    """Return the context in which to call a scheduler whose latents are on `device`."""
    return nullcontext() if device == CPU else CpuNumbers(device)


class CpuNumbers(TorchFunctionMode):
    """Keep every tensor that a scheduler makes of its timesteps and sigmas on the CPU.

    diffusers' schedulers move some of them to the latents' device: UniPC its sigmas at every step, `add_noise` of every
    scheduler its whole schedule. Each move waits for all the work that the device has queued; UniPC's system of equations
    is solved there, and waits again. Inside this context such a tensor stays on the CPU. An operation that needs it beside
    latents takes a scalar as it is, and gets a copy of anything larger that does not block (`copy_to`).
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self._device = device  # of the latents

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = list(_tensors((args, list(kwargs.values()))))
        if not tensors and "device" in kwargs and func is not torch.randn:  # made of Python numbers
            return func(*args, **kwargs | {"device": CPU})
        if func is Tensor.to and args[0].device == CPU:
            return args[0].to(_dtype_asked(args, kwargs))
        if any(tensor.device == CPU and tensor.dim() for tensor in tensors) and any(t.device != CPU for t in tensors):
            args, kwargs = self._beside_latents(args), {name: self._beside_latents(one) for name, one in kwargs.items()}
        return func(*args, **kwargs)

    def _beside_latents(self, value: Any) -> Any:
        """Return arguments with their CPU tensors of one or more dimensions copied to the device."""
        if isinstance(value, Tensor):
            return copy_to(value, self._device) if value.dim() else value
        return type(value)(map(self._beside_latents, value)) if isinstance(value, (list, tuple)) else value


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


def _dtype_asked(args: Any, kwargs: dict[str, Any]) -> torch.dtype:
    """Return the dtype of a call of `Tensor.to`; that of the tensor itself if the call gives none."""
    for value in (*args[1:], kwargs.get("dtype"), kwargs.get("other")):
        if isinstance(value, torch.dtype):
            return value
        if isinstance(value, Tensor):
            return value.dtype
    own: torch.dtype = args[0].dtype
    return own
