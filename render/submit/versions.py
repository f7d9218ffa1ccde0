"""Compare what is installed here and on a cluster: what differs is told, what is missing is refused."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from render.job import JobConfig
from render.submit.look import Look
from render.submit.probe import modules_hash

__all__ = ["differing", "is_same_package", "missing", "requirements"]


def requirements(job: JobConfig, cells: Iterable[str] = ()) -> list[Requirement]:
    """Return what the package needs to render a job: its dependencies, and those of the stores that the job names.

    `cells` are the manifest's start images and sounds; a bucket may be named there as well.
    """
    models = job.all_models.values()
    paths = (job.output, job.manifest, job.media_root, *(lora.path for model in models for lora in model.loras))
    named = (*map(str, paths), *(model.id for model in models), *cells)
    extras = {text.partition("://")[0] for text in named if "://" in text}
    found = [Requirement(line) for line in requires("nightrender") or ()]
    return [
        one for one in found if not one.marker or any(one.marker.evaluate({"extra": name}) for name in ("", *extras))
    ]


def missing(needed: list[Requirement], look: Look) -> str:
    """Return why a cluster can't run the package; "" if all that it needs is installed on its nodes."""
    names = [one.name for one in needed if "" in look.versions.get(one.name, ("",))]
    if not names:
        return ""
    on_some = [name for name in names if any(look.versions.get(name, ()))]
    where = f" (on some nodes: {', '.join(on_some)})" if on_some else ""
    return (
        f"required the libraries of nightrender on the nodes ({look.python}), got none of {', '.join(names)}{where}"
        " (pip install nightrender there, or take an image that has it; the package itself travels if it is another)"
    )


def differing(ray_python: tuple[str, str], needed: list[Requirement], look: Look) -> Iterator[str]:
    """Yield what a submission warns of: versions of Ray and Python that differ, libraries out of their bounds."""
    own = (version("ray"), platform.python_version())
    for name, here, there in zip(("Ray", "Python"), own, ray_python, strict=True):
        if there and there != here:
            yield f"{name} is {there} on the cluster and {here} here"
    for one in needed:
        for found in filter(None, look.versions.get(one.name, ())):
            if not one.specifier.contains(found, prereleases=True):
                yield f"{one.name} is {found} on the cluster; tested are {one.specifier}"


def is_same_package(look: Look) -> bool:
    """Return True if the modules of the package that is installed on the nodes are those of here."""
    return look.packages == (modules_hash(Path(__file__).parents[1]),)
