"""Wildcard files and templates for several test files.

Test files name this module in `pytest_plugins`, for its fixture. They also import its templates first, which pytest would
take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TEMPLATES = [
    "{red|blue|green} car",
    "{2$$a|b|c|d} {x|y}",
    "{1-3$$ + $$a|b|c}",
    "{3::a|b|0.5::c}",
    "a __animals__ and a __animals__",
    "${c={red|blue}} ${c}, ${c}",
    "{__animals__|{u|v} __places/sea__}",
    "%{in the ... style$$__places/sea__}",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "animals.txt": "# beasts\ncat\ndog\n\n  {big|small} fox  \ncat\n",
        "places/town.txt": "Paris #1\nRome, 100%\n",
        "places/sea.txt": "reef\n",
        "nested.txt": "__animals__ in __places/*__\n",
    }
    for name, text in files.items():
        path = tmp_path / "wildcards" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "wildcards"
