"""Kills at every change of an output folder, for commands that must be able to go on from there."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import render.mending.repair

CHANGES_MAX = 100


class Stopped(BaseException):
    """Stands for a kill."""


def stop_before(number: int, patched: pytest.MonkeyPatch) -> list[str]:
    """Raise Stopped before the n-th change of names, from 0, by this thread. Returns the list of changes until then."""
    done: list[str] = []

    def counted(name: str, change: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*values: object, **named: object) -> object:
            if threading.current_thread() is threading.main_thread():
                if len(done) >= number:
                    raise Stopped
                done.append(f"{name} {values}")
            return change(*values, **named)

        return wrapper

    for home, name in ((Path, "replace"), (Path, "unlink"), (os, "link"), (render.mending.repair, "render_units")):
        patched.setattr(home, name, counted(name, getattr(home, name)))
    return done


def every_stop(
    hurt: Path, work: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch, least: int
) -> Iterator[tuple[int, Path]]:
    """Yield (n, a copy of a folder in which `work` was stopped before its n-th change), for all n; there are `least`."""
    for number in range(CHANGES_MAX):
        out = shutil.copytree(hurt, hurt.parent / f"{hurt.name}-{number}")
        with monkeypatch.context() as patched:
            done = stop_before(number, patched)
            with suppress(Stopped):
                work(out)
        if len(done) < number:
            break
        yield number, out
        shutil.rmtree(out)
    assert least <= number < CHANGES_MAX - 1
