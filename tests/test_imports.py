"""Who may import whom, where each heavy library lives, and that `import render` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "render"
ANYTHING = None
FAMILY = {"families", "families.parts", "families.schedulers", "families.sd", "recipe", "vocabulary"}
ALLOWED: dict[str, set[str] | None] = {  # module → the modules of render that it may import
    "__init__": {"recipe", "run", "store"},  # at first use
    "__main__": {"cli"},
    "blend": set(),
    "vocabulary": set(),
    "durable": set(),
    "recipe": {"blend"},
    "settings": {"recipe", "special"},
    "config": {"bounds", "recipe", "settings", "sweep"},
    "problems": {"recipe"},
    "special": set(),
    "table": {"problems", "special"},
    "bounds": {"blend", "recipe", "vocabulary"},
    "cells": {"problems", "table"},
    "labels": {"cells", "problems", "table", "vocabulary"},
    "rules": {"blend", "cells", "families", "recipe", "vocabulary"},
    "files": {"cells", "problems", "special"},
    "images": set(),
    "sound": set(),
    "onsets": {"sound"},
    "timing": {"cells", "files", "onsets", "rules", "sound", "walks"},
    "walks": {"cells", "problems", "recipe", "vocabulary"},
    "manifest": {
        "cells",
        "durable",
        "files",
        "images",
        "labels",
        "problems",
        "product",
        "recipe",
        "rules",
        "sweep",
        "table",
        "timing",
        "vocabulary",
        "walks",
    },
    "motion": {"blend", "recipe", "vocabulary"},
    "sweep": {"recipe"},
    "product": {"cells", "problems", "sweep", "table"},
    "grammar": {"problems"},
    "wildcards": {"grammar", "problems", "special"},
    "templates": {"durable", "grammar", "problems", "recipe", "special", "table", "wildcards"},
    "plan": {"motion", "recipe"},
    "interpolate": {"blend"},
    "families": {"families.parts"},  # for a type
    "families.parts": {"families", "recipe"},
    "families.schedulers": set(),
    **{f"families.{name}": FAMILY for name in ("sd", "sdxl", "sd3", "flux", "pixart")},
    "tokens": set(),
    "loras": {"recipe"},
    "model": {"families", "loras", "recipe", "starter", "tokens"},
    "starter": set(),
    "starter.dataset": set(),
    "starter.muon": set(),
    "starter.networks": {"starter.dataset"},
    "starter.training": {"starter.dataset", "starter.muon"},
    "starter.train": {"starter.dataset", "starter.networks", "starter.training"},
    "starter.evaluate": {"starter", "starter.dataset"},
    "machine": {"config", "model"},
    "denoise": {"blend", "families", "interpolate", "recipe"},
    "renderer": {
        *("blend", "cpu", "denoise", "families", "families.parts", "images", "interpolate", "model", "recipe"),
        "threads",
    },
    "ledger": {"durable", "recipe"},
    "shard": {"blend", "durable", "ledger", "recipe", "vocabulary"},
    "store": {"ledger", "recipe"},
    "lane": {"denoise", "recipe", "shard"},
    "worker": {"encode", "lane", "ledger", "model", "recipe", "renderer", "shard", "threads"},
    "cluster": {"ledger", "machine", "recipe", "shard", "signals", "worker"},
    "signals": set(),
    "cpu": set(),
    "encode": {"shard"},
    "threads": set(),
    "animate": {"cpu", "durable", "gif", "sound", "vocabulary", "webp"},
    "gif": set(),
    "webp": set(),
    "captions": {"motion", "recipe", "vocabulary"},
    "subtitles": {"animate", "durable"},
    "prepare": {
        *("config", "durable", "families", "ledger", "machine", "manifest", "model", "motion", "plan", "recipe"),
        *("rules", "sweep", "vocabulary"),
    },
    "lettering": set(),
    "sheets": {"captions", "durable", "layout", "motion", "recipe", "sheet", "store", "sweep"},
    "progress": {"prepare"},
    "layout": {"lettering"},
    "sheet": {"durable", "layout"},
    "verify": {"ledger", "manifest", "plan", "prepare", "recipe", "shard", "store"},
    "card": {"durable", "plan", "prepare", "recipe"},
    "reproduce": {"config", "denoise", "machine", "prepare", "recipe", "renderer", "store"},
    "animations": {
        *("animate", "captions", "config", "durable", "motion", "prepare", "recipe", "sound", "store", "subtitles"),
        "vocabulary",
    },
    "run": ANYTHING,
    "cli": ANYTHING,
}
HOMES = {  # library → the modules that may import it
    "omegaconf": {"config"},
    "pandas": {"manifest", "table", "cells"},
    "ray": {"cluster"},
    "diffusers": {"families.parts", "families.schedulers", "starter.evaluate", "starter.networks", "starter.train"},
    "transformers": {"starter.networks"},
    "imageio": {"animate"},
    "av": {"animate", "gif", "sound"},
    "librosa": {"onsets"},
    "dynamicprompts": {"grammar", "wildcards"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, for types as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            if node.module == "render":  # `from render import x`: a module, or a public name
                yield from (f"render.{alias.name}" for alias in node.names if alias.name in MODULES)
            else:
                yield node.module


@pytest.mark.parametrize("module", MODULES)
def test_module_table(module: str) -> None:
    own = {name.removeprefix("render.") for name in imported(MODULES[module]) if name.startswith("render.")}
    assert module in ALLOWED, "a new module: say in the table what it may import"
    allowed = ALLOWED[module]
    assert allowed is ANYTHING or own <= allowed


def test_only_the_command_line_knows_the_command_line() -> None:
    for module, path in MODULES.items():
        own = set(imported(path))
        assert "render.cli" not in own or module == "__main__"
        assert "render.run" not in own or module in {"__init__", "cli"}


@pytest.mark.parametrize("library", HOMES)
def test_home_of_a_library(library: str) -> None:
    users = {module for module, path in MODULES.items() for name in imported(path) if name.split(".")[0] == library}
    assert users <= HOMES[library]


def loaded_by(statement: str) -> set[str]:
    """Top-level packages in `sys.modules` of a fresh interpreter after a statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    command = [sys.executable, "-c", script]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PACKAGE.parent, timeout=120)
    return set(output.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import render", "torch ray diffusers transformers pandas pyarrow numpy omegaconf imageio"),
        ("from render import Recipe, JobError", "torch ray diffusers transformers pandas pyarrow numpy"),
        ("import render.config, render.model, render.plan", "torch ray diffusers transformers pandas pyarrow"),
        ("import render.families; render.families.pipelines()", "torch ray diffusers transformers pandas pyarrow"),
        ("import render.manifest", "torch ray diffusers transformers"),
        ("from render import open_store", "torch ray diffusers transformers"),
    ],
)
def test_imports_stay_light(statement: str, absent: str) -> None:
    assert loaded_by(statement) & set(absent.split()) == set()


def test_public_names_exist() -> None:
    import render

    assert sorted(render.__all__) == list(render.__all__)
    assert all(hasattr(render, name) for name in render.__all__)
    assert dir(render) == render.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = render.nothing
