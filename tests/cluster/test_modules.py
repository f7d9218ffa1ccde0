"""The room's table of modules."""

from __future__ import annotations

import re
from pathlib import Path

import render.cluster


def test_the_table_names_every_module_once() -> None:
    named = re.findall(r"^\| `(\w+)` \|", render.cluster.__doc__ or "", re.MULTILINE)
    assert sorted(named) == sorted(path.stem for path in Path(render.cluster.__file__).parent.glob("[!_]*.py"))
