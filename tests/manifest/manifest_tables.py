"""Tables that are read as manifests, the settings they are read with, and what comes out.

Test files name this module in `pytest_plugins`, for its fixture. They also import its functions first, which pytest would
take for a mistake: PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from render.core.errors import ManifestError
from render.core.vocabulary import DIFFUSION_SCHEDULERS, FLOW_SCHEDULERS
from render.core.walk import Keyframe
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.stored import Manifest, read_stored
from render.models.families import SamplingDefaults

DEFAULTS = Defaults("blurry", 24, "linear", "slerp", 42, Path())
SIZES = SizeRule(multiple=8, minimum=16, maximum=1024)
MODELS = {"main": ModelRules(SIZES, DIFFUSION_SCHEDULERS, False, SamplingDefaults(64, 128, 20, 3.0, "ddim"))}
THREE = {
    **MODELS,
    "flow": ModelRules(SizeRule(16, 32, 256), FLOW_SCHEDULERS, False, SamplingDefaults(96, 96, 8, 5.0, "flow-euler")),
    "flux": ModelRules(SizeRule(16, 32, 256), FLOW_SCHEDULERS, True, SamplingDefaults(256, 256, 4, 3.5, "flow-euler")),
}
OTHERS = Defaults("other\r\nwords", 5, "smooth", "lerp", 9, Path())
OTHER_MODELS = {"main": ModelRules(SIZES, DIFFUSION_SCHEDULERS, False, SamplingDefaults(512, 512, 7, 1.5, "euler"))}

Cells = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.csv"


def csv(path: Path, text: str | bytes) -> Manifest:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_manifest(path, DEFAULTS, MODELS)


def parquet(path: Path, columns: Cells | pa.Table) -> Manifest:
    path = path.with_suffix(".parquet")
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path)
    return read_manifest(path, DEFAULTS, MODELS)


def frame(**columns: Any) -> Manifest:
    return read_manifest(pd.DataFrame(columns), DEFAULTS, MODELS)


def keyframes(manifest: Manifest) -> list[Keyframe]:
    return [keyframe for walk in manifest.walks() for keyframe in walk.keyframes]


def errors(path: Path, source: str | bytes | Cells | pa.Table) -> list[str]:
    """The lines of the error without the heading and the file's name."""
    in_text = isinstance(source, (str, bytes))
    with pytest.raises(ManifestError) as caught:
        csv(path, source) if isinstance(source, (str, bytes)) else parquet(path, source)
    heading, *lines = str(caught.value).split("\n")
    where = str(path if in_text else path.with_suffix(".parquet"))
    assert heading in (f"{where}: {len(lines)} errors", f"{where}: 1 error")
    assert all(line.startswith(where + ": ") for line in lines)
    return [line.removeprefix(where + ": ") for line in lines]


def error(path: Path, source: str | bytes | Cells | pa.Table) -> str:
    (line,) = errors(path, source)
    return line


TABLE: Cells = {
    "walk": ["w", "w", None, None],
    "prompt": ['a "dog", wet', "two\nlines", "größer 犬 🐕", " spaces "],
    "negative_prompt": [None, "bad, worse", None, None],
    "seed": [2**62 + 1, None, 2**63 - 1, None],
    "frames": [3, None, None, 1],
    "guidance": [7.25, None, 1.0, None],
    "scheduler": ["euler", None, "ddim", "lms"],
    "kind": ["animal", None, "animal", "thing"],
    "rank": [1, 2, None, -4],
    "score": [0.5, None, 1e-9, 2.0],
    "good": [True, None, False, True],
}


def as_csv() -> str:
    frame: pd.DataFrame = pa.table(TABLE).to_pandas(types_mapper=pd.ArrowDtype)
    return frame.to_csv(index=False, lineterminator="\n")


def variant(**kinds: Any) -> pa.Table:
    table = pa.table(TABLE)
    for name, kind in kinds.items():
        table = table.set_column(table.column_names.index(name), name, table[name].cast(kind))
    return table


SCHEDULERS = "ddim, pndm, lms, euler, euler_a, heun, dpm++2m, dpm++2m karras, dpm++ sde, unipc, deis, lcm"
INTEGER = {
    "seed": "an integer, 0 … 18446744073709551615",
    "images": "an integer, 1 … 1000000",
    "frames": "an integer, 1 … 1000000",
    "steps": "an integer, 1 … 998",
    "width": "a multiple of 8, 16 … 1024 pixels",
    "height": "a multiple of 8, 16 … 1024 pixels",
}


def errors_of_three(path: Path, text: str) -> list[str]:
    path.write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path, DEFAULTS, THREE)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).split("\n")[1:]]


def assert_frozen(manifest: Manifest, path: Path) -> None:
    """What is written reads the same under other defaults, and with nothing known of the models."""
    manifest.write(path)
    other = replace(OTHER_MODELS["main"], schedulers=DIFFUSION_SCHEDULERS + FLOW_SCHEDULERS, guidance_embeds=True)
    others = dict.fromkeys(manifest.models, other)
    for again in (read_manifest(path, OTHERS, others), read_stored(path)):
        assert repr(list(again.walks())) == repr(list(manifest.walks()))
        assert again.fingerprint == manifest.fingerprint
        assert again.label_schema == manifest.label_schema
    assert [file.name for file in path.parent.iterdir() if file.suffix == ".tmp"] == []
