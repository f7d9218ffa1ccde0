"""A model folder without real weights, for several test files.

Test files name this module in `pytest_plugins`, for its fixture.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from render.starter import PIPELINE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The starter with one number as weights: enough for all that does not load them."""
    copy = tmp_path / "mine"
    shutil.copytree(PIPELINE, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    for file in PIPELINE.rglob("*.safetensors"):
        save_file({"weight": np.zeros(1, np.float32)}, copy / file.relative_to(PIPELINE))
    return copy
