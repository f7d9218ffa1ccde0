"""Which outputs and models a cluster can reach, from what its nodes say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from render.core import ObjectPath
from render.submit.look import Look
from render.submit.reach import check_output, unreachable, why_no_output

OUT = "/shared/out"


def seen(reason: str = "", mark: bool = True, reads: bool = True) -> dict[str, Any]:
    return {"reads": {"/model": reads}, "writes": {OUT: reason}, "marks": [mark], "here": [False]}


def look(*nodes: dict[str, Any] | None, mount: str = "ext4", shared: bool = False) -> Look:
    named = {str(number): node for number, node in enumerate(nodes)}
    return Look("/bin/python", 0, {}, (), {OUT: mount}, named, {OUT: shared})


@pytest.mark.parametrize(
    ("given", "output", "refused"),
    [
        (None, "/home/me/out/night", "got the default out/night, relative to a folder here"),
        ("out/night", "/home/me/out/night", "got out/night, relative to a folder here"),
        ("/shared/out", "/shared/out", ""),
        ("s3://bucket/out", "s3://bucket/out", ""),
    ],
)
def test_a_relative_output_is_refused(given: str | None, output: str, refused: str) -> None:
    path = ObjectPath.parse(output) if "://" in output else Path(output)
    reason = why_no_output(Path(given) if given else None, path)
    assert refused in reason
    assert bool(reason) == bool(refused)
    assert not reason or "output=/home/me/out/night" in reason


@pytest.mark.parametrize(
    ("cluster", "refused"),
    [
        (look(seen()), ""),  # one box: its own disk
        (look(seen("there is no /shared")), "and on the head there is no /shared"),
        (look(seen(), mount="overlay"), "which is on overlay there: it goes with its container"),
        (look(seen(), mount="overlay", shared=True), ""),  # the head is this machine
        (look(seen(), mount="tmpfs"), "which is on tmpfs"),
        (look(seen(), seen()), ""),
        (look(seen(), seen(mark=False)), "and 1 of 2 nodes have another folder of this name than the head"),
        (look(seen(), seen("/shared can't be written"), seen()), "and on 1 of 3 nodes /shared can't be written"),
        (look(seen(), None), "which is on ext4, and 1 of 2 nodes did not answer"),
        (look(seen(), None, mount="nfs4"), ""),
        (look(seen(), None, mount="fuse.s3fs"), ""),
    ],
)
def test_an_output_that_the_nodes_do_not_share_is_refused(cluster: Look, refused: str) -> None:
    reason = check_output(OUT, cluster)
    assert refused in reason
    assert bool(reason) == bool(refused)
    if reason:
        assert reason.startswith("key 'output': required s3://BUCKET/PREFIX (also gs:// and az://), or a folder")


def test_models_that_nodes_can_not_read_are_named() -> None:
    assert [*unreachable(["/model"], look(seen(), seen()))] == []
    assert [*unreachable(["/model"], look(seen(), seen(reads=False)))] == ["/model (not to be read on 1 of 2 nodes)"]
