"""Pipes and devices where files are read: refused, where reading them would never end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from render import JobError, ManifestError, plan_job
from render.core.paths import special_kind
from render.templates.expand import Expansion, expand_templates


def test_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    Path("file").touch()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        kinds = {name: special_kind(Path(name)) for name in ("pipe", "link", "socket", os.devnull)}
    assert kinds == {"pipe": "a pipe", "link": "a pipe", "socket": "a socket", os.devnull: "a device"}
    assert [special_kind(Path(name)) for name in ("file", ".", "none", "long" * 999, "\0")] == [""] * 5


@pytest.mark.parametrize("name", ["m.csv", "m.parquet", "folder/m.csv", "job.yaml"])
def test_a_pipe_is_no_job_or_manifest(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises((JobError, ManifestError), match=r"required a .*file.*got a pipe"):
        plan_job(path.parent if "folder" in name else path)


@pytest.mark.parametrize("column", ["image", "audio"])
def test_a_pipe_is_no_image_or_sound(tmp_path: Path, column: str) -> None:
    os.mkfifo(tmp_path / "in")
    (tmp_path / "m.csv").write_text(f"walk,prompt,{column}\nw,a,in\nw,b,in\n")
    with pytest.raises(ManifestError, match=rf"row 1, column '{column}': required a file; got 'in' \(a pipe\)"):
        plan_job(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["t.txt", "t.csv", "words/animal.txt"])
def test_a_pipe_is_no_source_of_templates(tmp_path: Path, name: str) -> None:
    (tmp_path / "words").mkdir()
    source = tmp_path / (name if name.startswith("t") else "cells.txt")
    source.write_text("a __animal__")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ManifestError, match=r"required a .*file.*got a pipe"):
        expand_templates(source, tmp_path / "m.csv", Expansion(wildcards=tmp_path / "words"))
