"""Make up large stores in a minute, through the real plan, shards and ledger; no network draws the pictures.

Test files name this module in `pytest_plugins`, so that all share one fixture. They also import its functions first, which
pytest would take for a mistake: PYTEST_DONT_REWRITE. From the root of a clone, `python -m tests.made_up OUT --frames 200000`
writes one.
"""

from __future__ import annotations

import argparse
import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from render import run_job
from render.store import Ledger, Origin, Rendered, shard_schema, write_shard

if TYPE_CHECKING:
    from render.cluster import Setup
    from render.core import CrewListener, Receipt, Unit
    from render.job import Workforce

STYLES, COLOURS = (
    ("3d", "flat"),
    ("white", "black", "red", "green", "blue", "yellow", "orange", "purple", "pink", "grey"),
)
THINGS = ("dog face", "cat face", "red apple", "rocket", "octopus", "tulip", "castle", "pizza", "sailboat", "whale")
MADE_UP = 124  # frames of the fixtures' store
PICTURES = 64  # that are made once, and used again and again


class Painted:
    """Stands in for the cluster: writes and commits shards of made-up pictures."""

    ready_s: float | None = None

    def __init__(self, setup: Setup, workforce: Workforce, address: str | None, deadline_s: float) -> None:
        self._setup = setup

    def __enter__(self) -> Painted:
        return self

    def __exit__(self, *_: object) -> None: ...

    def render(self, units: Iterator[Unit], listener: CrewListener) -> Iterator[Receipt]:
        self.ready_s = time.monotonic()
        ledger, pictures = Ledger(self._setup.out), _pictures()
        origin = Origin("made-up", "", "cpu", "float32", "webp")
        schema, number = shard_schema(self._setup.labels), 0
        for unit in units:
            results = []
            for _ in unit.frames:
                results.append(
                    Rendered(pictures[number % PICTURES], f"{number:064x}", time.time(), blank=number % 997 == 0)
                )
                number += 1
            receipt = write_shard(ledger, unit, results, origin, schema, 0.05 * len(results))
            assert ledger.commit(receipt)
            listener.frames(receipt.frames)
            yield receipt


def _pictures() -> list[bytes]:
    """Return WebP pictures of 128 x 128 pixels, about 5 kB each: noise over a gradient of a colour of their own."""
    draw, found = np.random.default_rng(1), []
    ramp = np.linspace(0, 1, 128)[:, None, None]
    for _ in range(PICTURES):
        pixels = 255 * (ramp * draw.random(3) + (1 - ramp) * draw.random(3)) + draw.normal(0, 4, (128, 128, 1))
        buffer = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "WEBP", quality=90)
        found.append(buffer.getvalue())
    return found


def make_up(out: Path, frames: int, *overrides: str) -> None:
    """Write an output folder with stills of ten things, four seeds a prompt, and a walk of 24 frames for 100 of them."""
    table = pd.DataFrame({"number": range(frames - frames // 100 * 24)})
    table["thing"] = [THINGS[n // 4 % 10] for n in table["number"]]
    table["prompt"] = [
        f"{STYLES[n // 40 % 2]} {THINGS[n // 4 % 10]} on a {COLOURS[n // 80 % 10]} background, number {n // 800}"
        for n in table["number"]
    ]
    table["seed"] = table["number"] % 4 + 1
    walks = pd.DataFrame({"number": range(2 * (frames // 100))})
    walks["walk"] = [f"walk-{n // 2}" for n in walks["number"]]
    walks["prompt"] = [f"3d {THINGS[(n // 2 + n % 2) % 10]}" for n in walks["number"]]
    walks["frames"] = [23 if n % 2 == 0 else None for n in walks["number"]]
    walks["seed"], walks["thing"] = walks["number"] // 2, [THINGS[n // 2 % 10] for n in walks["number"]]
    rows = pd.concat([walks, table], ignore_index=True).drop(columns="number")
    rows = rows.astype({"frames": "Int64", "seed": "Int64"})
    out.parent.mkdir(parents=True, exist_ok=True)
    manifest = out.with_suffix(".parquet")
    rows.to_parquet(manifest)
    write_stills(manifest, out, *overrides)


def write_stills(manifest: Path, out: Path, *overrides: str) -> None:
    """Write an output folder of a manifest, with made-up pictures."""
    job = ("animation.formats=[]", "sheets.kinds=[]", "workers.count=1", "workers.batch_rows=4", *overrides)
    with patch("render.cluster.Cluster", Painted):
        run_job(manifest, f"output={out}", *job)


@pytest.fixture(scope="session")
def made_up_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 100 stills, four seeds a prompt, and a walk of 24 frames; not to be written to: see `out`."""
    out = tmp_path_factory.mktemp("made-up") / "out"
    make_up(out, MADE_UP, "store.unit_frames=10")
    return out


@pytest.fixture
def out(made_up_once: Path, tmp_path: Path) -> Path:
    """A copy of the made-up store."""
    return shutil.copytree(made_up_once, tmp_path / "out")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=200_000)
    options = parser.parse_args()
    make_up(options.out, options.frames)
