"""Every scheduler at the most steps that a manifest may ask of it, on the schedules that models are trained on."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from pipelines import STABLE_DIFFUSION_NOISE, STABLE_DIFFUSION_XL_NOISE

from render.core.vocabulary import DIFFUSION_SCHEDULERS, FLOW_SCHEDULERS, LCM_STEPS_MAX, STEPS_MAX
from render.models.families.schedulers import FlowSchedulers, Schedulers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),  # diffusers' LMS and DEIS on NumPy 2
]

BETAS = {
    "SD 1.5": Schedulers(STABLE_DIFFUSION_NOISE),
    "SDXL": Schedulers({**STABLE_DIFFUSION_XL_NOISE, "timestep_spacing": "leading"}),
}
SHIFTED = FlowSchedulers({"num_train_timesteps": 1000, "shift": 3.0}, 2, False)


def denoised(scheduler: Any) -> torch.Tensor:
    """Noise after all steps of a network that foretells a tenth of what it gets."""
    noise = torch.Generator().manual_seed(0)
    own = {"generator": noise} if "generator" in inspect.signature(scheduler.step).parameters else {}
    x = torch.randn(1, 4, 2, 2, generator=noise) * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        scaled = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        x = scheduler.step(0.1 * scaled, t, x, **own).prev_sample
    return x


@pytest.mark.parametrize("name", DIFFUSION_SCHEDULERS)
@pytest.mark.parametrize("betas", BETAS)
def test_the_most_steps(betas: str, name: str) -> None:
    steps = LCM_STEPS_MAX if name == "lcm" else STEPS_MAX
    assert torch.isfinite(denoised(BETAS[betas](name, steps, (1, 4, 2, 2)))).all()


@pytest.mark.parametrize("name", FLOW_SCHEDULERS)
def test_the_most_steps_of_flow_matching(name: str) -> None:
    """Under a shift of 3 the first of them have equal timesteps."""
    assert torch.isfinite(denoised(SHIFTED(name, STEPS_MAX, (1, 4, 2, 2)))).all()
