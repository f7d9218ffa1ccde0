"""The words that manifests and jobs use. Standard library only."""

from __future__ import annotations

__all__ = [
    "BLANK_POLICIES",
    "DIFFUSION_SCHEDULERS",
    "DIRECTIONS",
    "EASINGS",
    "FLOW_SCHEDULERS",
    "FORMATS",
    "FPS_MAX",
    "FPS_MIN",
    "GIF_FPS_MAX",
    "LCM_STEPS_MAX",
    "LOOPS",
    "SCHEDULERS",
    "SHOWN",
    "STEPS_MAX",
]

EASINGS = ("linear", "smooth", "ease-in", "ease-out", "onsets")
DIRECTIONS = ("ones", "random")
LOOPS = ("none", "cycle")
SHOWN = ("latents", "clean")
DIFFUSION_SCHEDULERS = (  # for models that predict noise, or velocity on a schedule of betas
    "ddim",
    "pndm",
    "lms",
    "euler",
    "euler_a",
    "heun",
    "dpm++2m",
    "dpm++2m karras",
    "dpm++ sde",
    "unipc",
    "deis",
    "lcm",
)
FLOW_SCHEDULERS = ("flow-euler", "flow-heun", "flow-dpm++2m", "flow-unipc")  # for models of flow matching
SCHEDULERS = DIFFUSION_SCHEDULERS + FLOW_SCHEDULERS
# With 999 of 1000 timesteps some schedulers' steps are no numbers, with 1000 some have no first; lcm's are some of 50.
STEPS_MAX, LCM_STEPS_MAX = 998, 50
FORMATS = ("png", "webp", "jpeg")
BLANK_POLICIES = ("keep", "quarantine", "reseed")
FPS_MIN, FPS_MAX = 0.1, 240.0  # frames per second of an animation
GIF_FPS_MAX = 50  # a delay of 2 centiseconds; browsers play shorter ones as 10
