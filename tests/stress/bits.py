"""Look for a frame that comes out with other pixels now and then: fresh workers, the same frames, for as long as asked.

    python tests/stress/bits.py --minutes 10

Every process is new, and makes several workers one after the other, each with threads of its own; every worker renders
the same stills and small walks with the embedded model. Workers of one dtype, thread count and batch size must agree on
the hash of every frame. Prints what differed and exits with 1 then; the output folders of both workers are kept to be
looked at.

Not in the suite: minutes of rendering say little about a fault of once in thousands of frames. Run it with OMP_NUM_THREADS
unset, as users do, and on a CPU of the kind in question (AMX). `--perturb` gives every process memory with other old
contents, which shows a read of memory that nobody wrote.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from render.core import Frame, Keyframe, Walk

SCHEDULERS = ("ddim", "euler_a", "dpm++2m", "unipc", "lms", "heun")
SIZES = ((64, 64), (96, 64), (128, 128))


@dataclass(frozen=True)
class Setting:
    """What the last bits may depend on."""

    dtype: str
    threads: int  # CPU threads of the worker
    rows: int  # batch size

    def __str__(self) -> str:
        return f"{self.dtype}, {self.threads} threads, {self.rows} rows"


def walks() -> Iterator[Walk]:
    """Stills of every scheduler, with guidance and without, and small walks that share steps."""
    from render.core import Keyframe, Walk

    def key(row: int, prompt: str, **fields: Any) -> Keyframe:
        default: dict[str, Any] = {
            "row": row, "prompt": prompt, "negative_prompt": "", "seed": row, "frames": 3, "easing": "linear",
            "interpolation": "slerp", "steps": 4, "guidance": 3.0, "scheduler": "ddim", "labels": {},
        }  # fmt: skip
        return Keyframe(**default | fields)

    for number, (scheduler, guidance) in enumerate(itertools.product(SCHEDULERS, (3.0, 1.0))):
        width, height = SIZES[number % len(SIZES)]
        still = key(number, "3d dog face", scheduler=scheduler, guidance=guidance, steps=3 + number % 3)
        yield Walk(f"still-{number}", (still,), width, height, still=True)
    yield Walk("line", (key(20, "flat red apple"), key(21, "3d rocket")), 64, 64)
    yield Walk("anchored", (key(22, "3d crab"), key(23, "flat castle")), 64, 64, anchor=0.5)


def render_frames(setting: Setting, out: Path) -> None:
    """Render all frames with one new worker into a folder."""
    from render.cluster import Setup
    from render.cluster.worker import Worker
    from render.core import Target, Unit
    from render.models import resolve_model
    from render.plan.motions import frames_of
    from render.store import Ledger

    ledger = Ledger(out)
    ledger.create()
    model = resolve_model("starter", None, Path.cwd())
    frames = [frame for walk in walks() for frame in frames_of(walk, Target(model.fingerprint))]
    groups = itertools.groupby(sorted(frames, key=_size), key=_size)
    units = [Unit(f"{n:05d}", 99, tuple(group), setting.rows) for n, (_, group) in enumerate(groups)]
    worker = Worker(Setup(
        models={"main": model}, out=out, labels=_no_labels(), format="png",
        device="cpu", dtype=setting.dtype, threads=setting.threads,
    ), "main")  # fmt: skip
    for future in [worker.submit(unit) for unit in units]:
        future.result()
    worker.close()


def _size(frame: Frame) -> tuple[int, int]:
    return frame.recipe.width, frame.recipe.height


def _no_labels() -> bytes:
    import pyarrow as pa

    return bytes(pa.schema([]).serialize().to_pybytes())


def hashes_of(out: Path) -> dict[str, str]:
    """Hash of the pixels of every frame in a folder, by walk and number."""
    import pyarrow.dataset as ds

    table = ds.dataset(out / "data", format="parquet").to_table(columns=["walk", "frame", "sha256"])
    return {f"{row['walk']} {row['frame']}": row["sha256"] for row in table.to_pylist()}


def start(setting: Setting, outs: list[Path], perturb: int | None) -> subprocess.Popen[bytes]:
    """Start a process with a worker for each folder; with `perturb` malloc fills memory with the complement of that byte."""
    own = {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    own |= {} if perturb is None else {"MALLOC_PERTURB_": str(perturb)}
    arguments = [setting.dtype, str(setting.threads), str(setting.rows), *map(str, outs)]
    return subprocess.Popen([sys.executable, __file__, "--worker", *arguments], env=os.environ | own)


class Comparison:
    """The hashes that the first worker of each setting made, and what later ones made otherwise."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first: dict[Setting, tuple[Path, dict[str, str]]] = {}
        self.renders, self.workers, self.differences = Counter[str](), 0, 0

    def add(self, setting: Setting, out: Path) -> None:
        found = hashes_of(out)
        self.workers += 1
        self.renders[setting.dtype] += len(found)
        first_out, expected = self._first.setdefault(setting, (out, found))
        differing = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
        self.differences += len(differing)
        for name in sorted(differing):
            print(f"DIFFERS: {name} at {setting}: {expected.get(name)} in {first_out}, {found.get(name)} in {out}")
        if not differing and out != first_out:
            shutil.rmtree(out)

    def summary(self, seconds: float) -> str:
        renders = ", ".join(f"{count} in {dtype}" for dtype, count in sorted(self.renders.items()))
        return (
            f"{sum(self.renders.values())} renders ({renders}), {self.workers} workers, {seconds / 60:.1f} minutes: "
            + (f"{self.differences} differ; folders kept in {self._folder}" if self.differences else "no difference")
        )


def run(options: argparse.Namespace) -> int:
    folder, began = Path(tempfile.mkdtemp(prefix="bits-")), time.monotonic()
    comparison, random = Comparison(folder), Random(options.seed)
    settings = [Setting(*each) for each in itertools.product(options.dtypes, options.threads, options.rows)]
    number = 0
    while time.monotonic() - began < options.minutes * 60:
        for setting in random.sample(settings, len(settings)):
            together = []
            for _ in range(options.beside):
                outs = [folder / f"{number:05d}-{n}" for n in range(options.workers)]
                number += 1
                together.append((start(setting, outs, random.randrange(1, 256) if options.perturb else None), outs))
            for process, outs in together:
                if process.wait():
                    raise SystemExit(f"a process at {setting} ended with code {process.returncode}; see {outs[0]}")
                for out in outs:
                    comparison.add(setting, out)
            print(f"\r{comparison.summary(time.monotonic() - began)}", end="", flush=True)
            if time.monotonic() - began > options.minutes * 60:
                break
    print()
    if not comparison.differences:
        shutil.rmtree(folder)
    return int(comparison.differences > 0)


def main() -> int:
    if sys.argv[1:2] == ["--worker"]:
        dtype, threads, rows, *outs = sys.argv[2:]
        for out in outs:
            render_frames(Setting(dtype, int(threads), int(rows)), Path(out))
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--rows", nargs="+", type=int, default=[2, 8])
    parser.add_argument("--workers", type=int, default=4, help="workers of a process, one after the other")
    parser.add_argument("--beside", type=int, default=1, help="processes that run at the same time")
    parser.add_argument("--perturb", action="store_true", help="fill new memory with a byte that changes")
    parser.add_argument("--seed", type=int, default=0, help="of the settings' order")
    return run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
