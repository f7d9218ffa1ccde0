"""What several test files share: the built-in model and one renderer that holds it, on one thread."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from render.core.blend import Prompt, Seed
from render.core.recipe import Recipe
from render.core.walk import Keyframe, Walk
from render.models.model import Model, resolve_model

if TYPE_CHECKING:
    from render.engine.renderer import Renderer

os.environ["HF_HUB_OFFLINE"] = "1"  # before any test loads huggingface_hub: no test may reach the network

# The same cases each time: a change is not blamed for what it did not do. `--hypothesis-profile default` draws others.
# A busy machine is no fault: no deadlines.
settings.register_profile("default", deadline=None)
settings.register_profile("same", settings.get_profile("default"), derandomize=True)
settings.load_profile("same")


def pytest_collection_finish() -> None:
    """Keep what is imported by now out of the garbage collector's rounds: torch, diffusers and Ray are a million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def one_thread() -> None:
    """Torch on one thread, as a test machine's few cores are shared."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def starter() -> Model:
    return resolve_model("starter", None, Path.cwd())


@pytest.fixture(scope="session")
def renderer(starter: Model, one_thread: None) -> Renderer:
    from render.engine.renderer import Renderer

    return Renderer(starter, "cpu", "float32", threads=1)


@pytest.fixture(scope="session")
def make_recipe(starter: Model) -> Callable[..., Recipe]:
    """A small recipe of the starter; keywords replace its fields."""

    def make(**fields: Any) -> Recipe:
        default = {
            "prompt": Prompt("a red circle"),
            "negative_prompt": Prompt("a blue square"),
            "noise": Seed(7),
            "width": 64,
            "height": 64,
            "steps": 3,
            "guidance": 3.0,
            "scheduler": "ddim",
            "model": starter.fingerprint,
        }
        return Recipe(**{**default, **fields})

    return make


@pytest.fixture(scope="session")
def make_keyframe() -> Callable[..., Keyframe]:
    """A keyframe; keywords replace its fields."""

    def make(**fields: Any) -> Keyframe:
        default = {
            "row": 1,
            "prompt": "a cat",
            "negative_prompt": "",
            "seed": 1,
            "frames": 4,
            "easing": "linear",
            "interpolation": "slerp",
            "steps": 3,
            "guidance": 3.0,
            "scheduler": "ddim",
        }
        return Keyframe(**{**default, **fields})

    return make


@pytest.fixture(scope="session")
def make_walk() -> Callable[..., Walk]:
    """A walk through some keyframes, of 64 × 64 pixels; keywords replace its fields."""

    def make(*keyframes: Keyframe, **fields: Any) -> Walk:
        return Walk(**{"name": "w", "keyframes": keyframes, "width": 64, "height": 64, **fields})

    return make
