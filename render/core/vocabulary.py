"""The words that manifests and jobs use. Standard library only."""

from __future__ import annotations

__all__ = [
    "COLUMNS",
    "DIFFUSION_SCHEDULERS",
    "DIRECTIONS",
    "EASINGS",
    "FLOW_SCHEDULERS",
    "FORMATS",
    "FPS_MAX",
    "FPS_MIN",
    "FROZEN_ONLY",
    "GIF_FPS_MAX",
    "LCM_STEPS_MAX",
    "LOOPS",
    "MOTIONS",
    "OF_WALK",
    "SCHEDULERS",
    "SHORTHANDS",
    "SHOWN",
    "STEPS_MAX",
]

EASINGS = ("linear", "smooth", "ease-in", "ease-out", "onsets")
DIRECTIONS = ("ones", "random")
LOOPS = ("none", "cycle")
MOTIONS = ("line", "grid", "drift", "circle", "denoise", "diffuse")
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
# Columns of a manifest; those of OF_WALK are given in a walk's first row.
OF_WALK = ("motion", "loop", "step_size", "direction", "vary_noise", "anchor", "tween", "every", "shown", "fps")
FROZEN_ONLY = ("onset_pace", "source_row")  # columns that reading a manifest fills in
COLUMNS = (
    "walk",
    "prompt",
    "negative_prompt",
    "seed",
    "images",
    "frames",
    "easing",
    "interpolation",
    "width",
    "height",
    "steps",
    "guidance",
    "scheduler",
    "true_guidance",
    "model",
    *OF_WALK,
    "image",
    "image_sha256",
    "strength",
    "audio",
    "audio_sha256",
    "time_s",
    *FROZEN_ONLY,
)
SHORTHANDS = ("beat", "audio_smooth")  # columns that others of them stand for once a manifest is read
FPS_MIN, FPS_MAX = 0.1, 240.0  # frames per second of an animation
GIF_FPS_MAX = 50  # a delay of 2 centiseconds; browsers play shorter ones as 10
