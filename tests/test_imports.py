"""The rooms of the package: who may use whom, through which doors; where heavy libraries live, and how little is loaded."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "render"
ROOMS: dict[str, set[str]] = {  # from the top to the ground: room → the rooms it uses. An arrow never points up
    "": {
        *("core", "engine", "export", "job", "manifest", "mending", "models", "output", "plan", "prepare", "scoring"),
        *("store", "submit", "templates", "view"),
    },
    "scoring": {"catalog", "cluster", "core", "job", "models", "prepare", "starter", "store"},
    "submit": {"core", "job", "manifest", "prepare", "store"},
    "view": {"catalog", "core", "mending", "store"},
    "mending": {"catalog", "core", "plan", "prepare", "store"},
    "output": {"core", "job", "media", "plan", "store"},
    "export": {"catalog", "core", "models", "store"},
    "catalog": {"core", "store"},
    "templates": {"core", "job", "manifest"},
    "prepare": {"cluster", "core", "job", "manifest", "models", "plan", "store"},
    "cluster": {"core", "engine", "job", "models", "store"},
    "engine": {"core", "media", "models"},
    "manifest": {"core", "job", "media", "models", "plan", "store"},
    "plan": {"core"},
    "store": {"core"},
    "models": {"core", "starter"},
    "job": {"core"},
    "starter": set(),
    "media": {"core"},
    "core": set(),
}
HOMES = {  # library → the modules that may import it
    "omegaconf": {"job.config"},
    "pandas": {"manifest.formats.frames", "manifest.table"},
    "boto3": {"core.s3"},
    "botocore": {"core.s3"},
    "google": {"core.gs"},
    "azure": {"core.az"},
    "requests": {"core.gs", "core.web_request"},
    "apprise": {"notices"},
    "urllib3": {"core.web_request"},
    "ray": {
        "cluster.actor",
        "cluster.cluster_watch",
        "cluster.crew",
        "cluster.driver",
        "cluster.local_ray",
        "cluster.cluster_facts",
        "cluster.metrics",
        "cluster.ray_link",
        "cluster.reports",
        "cluster.tasks",
        "submit.client",
        "submit.probe",
    },
    "diffusers": {"models.families.meta", "models.families.parts", "models.families.schedulers"},
    "transformers": {"models.families.meta", "scoring.models"},
    "imagehash": {"scoring.pixels"},
    "duckdb": {"catalog.catalog"},
    "jinja2": {"mending.report_page", "view.pages"},
    "starlette": {"view.answers", "view.guard", "view.site"},
    "uvicorn": {"view.server"},
    "imageio": {"output.animate"},
    "av": {"media.sound", "output.animate", "output.gif"},
    "librosa": {"media.onsets"},
    "lance": {"export.targets.lance"},
    "dynamicprompts": {"templates.grammar", "templates.wildcards"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(module: str) -> str:
    """The room of a module, by its name below `render`; "" for those in front."""
    first, _, rest = module.partition(".")
    return first if rest or first in ROOMS else ""


@cache
def imported(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    """(module, names) of every import in a file, for types as well; no names for `import module`."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            assert node.module is not None
            found.append((node.module, tuple(alias.name for alias in node.names)))
    return found


def own_imports(module: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(module below `render`, names) of every import of the package in one of its modules."""
    for name, names in imported(MODULES[module]):
        if name == "render" or name.startswith("render."):
            yield name.removeprefix("render").removeprefix("."), names


def test_every_folder_is_a_room() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    for room in ROOMS:
        assert ast.get_docstring(ast.parse(MODULES[room].read_text(encoding="utf-8"))), f"{room}: what is it for?"


@pytest.mark.parametrize("module", MODULES)
def test_rooms_use_those_they_may_through_their_doors(module: str) -> None:
    own = room_of(module)
    for name, names in own_imports(module):
        room = room_of(name)
        if room == own:
            continue
        assert room in ROOMS[own], f"{module} imports {name}: an arrow from {own!r} to {room!r} is a decision"
        assert name == room, f"{module}: import from the room render.{room}, not from inside"
        doors = importlib.import_module(f"render.{room}").__all__
        assert set(names) <= set(doors)


def test_no_arrow_points_up() -> None:
    order = list(ROOMS)
    for room, used in ROOMS.items():
        assert all(order.index(other) > order.index(room) for other in used)


def test_every_arrow_and_door_is_used() -> None:
    """What nobody uses is no decision any more: it goes from the table, and from the room's `__all__`."""
    arrows: dict[str, set[str]] = {room: set() for room in ROOMS}
    opened: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in MODULES:
        for name, names in own_imports(module):
            if room_of(name) != room_of(module):
                arrows[room_of(module)].add(room_of(name))
                opened[room_of(name)] |= set(names)
    assert arrows == ROOMS
    for room in set(ROOMS) - {""}:
        assert set(importlib.import_module(f"render.{room}").__all__) == opened[room], room


def test_no_module_of_a_room_needs_itself() -> None:
    """Inside a room, too, imports make no circle; what is imported for types alone does not count."""
    graph: dict[str, set[str]] = {}
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        typed = {id(n) for i in ast.walk(tree) if _for_types(i) for n in ast.walk(i)}
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and id(n) not in typed]
        graph[module] = {
            (n.module or "").removeprefix("render.") for n in nodes if (n.module or "").startswith("render.")
        }
    while leaves := {module for module, uses in graph.items() if not uses & graph.keys()}:
        graph = {module: uses for module, uses in graph.items() if module not in leaves}
    assert not graph


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_only_the_command_line_knows_the_command_line() -> None:
    for module in MODULES:
        own = {name for name, _ in own_imports(module)}
        assert "cli" not in own or module == "__main__"
        assert "run" not in own or module in {"", "cli"}


@pytest.mark.parametrize("library", HOMES)
def test_home_of_a_library(library: str) -> None:
    users = {m for m, path in MODULES.items() for name, _ in imported(path) if name.split(".")[0] == library}
    assert users == HOMES[library]


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
        ("import render.job, render.models, render.plan", "torch ray diffusers transformers pandas pyarrow boto3"),
        ("import render.models.families as m; m.pipelines()", "torch ray diffusers transformers pandas pyarrow"),
        ("import render.manifest", "torch ray diffusers transformers boto3"),
        ("from render import open_store, status_store", "torch ray diffusers transformers boto3 apprise rich"),
        (
            "import render; render.plan_job('manifests/first.csv')",
            "torch ray diffusers boto3 botocore apprise",
        ),
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
