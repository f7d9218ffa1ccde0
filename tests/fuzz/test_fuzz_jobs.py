"""Job files and overrides of all kinds: a job, or an InputError."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from fuzzing import fuzzed, only_input_errors
from hypothesis import given
from hypothesis import strategies as st

from render.job.config import load_job

KEYS = (
    *("manifest", "output", "media", "seed", "labels", "columns", "model", "models", "sampling", "workers", "store"),
    *("animation", "sheets", "sweep", "sweep_limit", "id", "revision", "loras", "clip_skip", "tile_above", "path"),
    *("weight", "steps", "guidance", "scheduler", "width", "fps", "formats", "kinds", "cell", "xl", "model.id", "<<"),
    *("sampling.steps", "models.xl.id", "columns.a", "sweep.a", "a.", ".a", ".", ""),
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.dates()
    | st.binary(max_size=4)
    | st.sampled_from(("${seed}", "???", "${oc.env:HOME}", "..", "0..1e99..1", "9..1", "~", "/", "a/../b", "\0", "é"))
)
NAMES = st.sampled_from(KEYS) | st.text(max_size=6)
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(NAMES | st.integers(), below, max_size=4),
    max_leaves=20,
)
JOBS = st.dictionaries(NAMES, TREES, max_size=6)
SIGNS = st.text("abc: -[]{}&*!|>%@`\"'#?,\n\t\0\\é0123456789.~<=", max_size=60)


def load(text: bytes, *overrides: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "job.yaml")
        file.write_bytes(text)
        with only_input_errors():
            load_job(file, overrides)


@fuzzed
@given(JOBS, st.lists(st.tuples(NAMES, SIGNS), max_size=2))
def test_trees(job: dict[Any, Any], overrides: list[tuple[str, str]]) -> None:
    text = yaml.safe_dump({"manifest": "a.csv"} | job, allow_unicode=True)
    load(text.encode(), *(f"{key}={value}" for key, value in overrides))


@fuzzed
@given(SIGNS, st.binary(max_size=8))
def test_texts(text: str, tail: bytes) -> None:
    load(b"manifest: a.csv\n" + text.encode() + tail)


@fuzzed
@given(JOBS, st.data())
def test_files_with_some_bytes_changed(job: dict[Any, Any], data: st.DataObject) -> None:
    text = bytearray(yaml.safe_dump({"manifest": "a.csv"} | job).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        text = text or bytearray(b"a")
    load(bytes(text))
