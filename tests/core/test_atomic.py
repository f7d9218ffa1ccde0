"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from render.core.atomic import publish, replacing, write_atomically


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "plan.json"
    write_atomically(target, b"first")

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(target, b"second")
    assert target.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["plan.json"]
    write_atomically(target, b"second")
    assert target.read_bytes() == b"second"
    assert os.listdir(tmp_path) == ["plan.json"]


def test_publish_moves_the_file(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x")
    publish(source, target)
    assert not source.exists()
    assert target.read_bytes() == b"x"


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.gif"
    target.write_bytes(b"old")

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"ne")
            assert temporary.suffix == ".gif"
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
