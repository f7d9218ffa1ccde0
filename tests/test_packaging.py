"""The bounds of pyproject.toml and the versions that the suite last passed with."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [
    *PROJECT["dependencies"],
    *(line for extra in PROJECT["optional-dependencies"].values() for line in extra if "nightrender" not in line),
]
BREAK_IN_MINORS = {"torch", "diffusers", "transformers", "peft", "ray", "pandas", "omegaconf"}


def pins() -> dict[str, str]:
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {name.lower().replace("_", "-"): pinned for name, pinned in pairs}


@pytest.mark.parametrize("line", LINES)
def test_what_was_tested_is_within_the_bounds(line: str) -> None:
    required = Requirement(line)
    assert required.specifier.contains(pins()[required.name.lower().replace("_", "-")])


def test_libraries_whose_minor_versions_break_have_an_upper_bound() -> None:
    bounded = {
        required.name
        for required in map(Requirement, PROJECT["dependencies"])
        if any(bound.operator == "<" for bound in required.specifier)
    }
    assert bounded >= BREAK_IN_MINORS
