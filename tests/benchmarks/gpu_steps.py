"""The measurements of the GPU benchmark: each a function from a setting to numbers."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import diffusers
import torch
from gpu_models import Case, make_model
from torch.utils.flop_counter import FlopCounterMode

import render
from render.core import Recipe
from render.engine import Renderer
from render.models import resolve_model
from render.prepare.rendering import Silent
from render.reproduce import render_alone
from render.store.encode import encode_image

__all__ = ["STEPS", "Setting"]

PROMPTS = ("a red fox in the snow", "the old house by the sea at night", "a small boat under a yellow sky", "a cat")
CALLS = 5  # of a network, for its time
QUICK_STEPS = 3  # of the stock pipeline, to find its best batch
REPRODUCED = 10  # frames
GPU = torch.cuda.is_available()

Numbers = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """One model on this machine."""

    case: Case
    work: Path  # folder of models and outputs
    tiny: bool

    @property
    def model(self) -> Path:
        """Folder of the pipeline, written at the first call."""
        folder = self.work / f"{self.case.name}{'-tiny' if self.tiny else ''}"
        make_model(self.case, folder, self.tiny)
        return folder

    def output(self, kind: str) -> Path:
        return self.work / f"out-{self.case.name}-{kind}"

    @property
    def device(self) -> str:
        return "cpu" if self.tiny else "cuda"

    @property
    def dtype(self) -> str:
        return "float32" if self.tiny else "bfloat16"

    def renderer(self, compiles: bool = False) -> Renderer:
        model = resolve_model(str(self.model), None, Path.cwd())
        return Renderer(model, self.device, self.dtype, threads=1 if self.tiny else 4, compiles=compiles)


def clock_s() -> float:
    """Return the time once the GPU has done all that was queued."""
    if GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds_of(call: Callable[[], object], times: int = CALLS) -> float:
    """Return the mean seconds of a call, after one to warm up."""
    call()
    began = clock_s()
    for _ in range(times):
        call()
    return (clock_s() - began) / times


# The stock pipeline.


class Stock:
    """diffusers' own pipeline."""

    def __init__(self, setting: Setting) -> None:
        self._case, self._device = setting.case, setting.device
        kind = json.loads((setting.model / "model_index.json").read_text())["_class_name"]
        dtype = getattr(torch, setting.dtype)
        self._pipeline = getattr(diffusers, kind).from_pretrained(setting.model, dtype=dtype).to(setting.device)
        self._pipeline.set_progress_bar_config(disable=True)

    def compile(self) -> None:
        """Compile network and decoder, as diffusers' documentation does."""
        network = "unet" if "unet" in self._pipeline.components else "transformer"
        setattr(self._pipeline, network, torch.compile(getattr(self._pipeline, network)))
        self._pipeline.vae.decode = torch.compile(self._pipeline.vae.decode)

    def seconds(self, batch: int, steps: int | None = None) -> float:
        """Return the seconds of one batch of images, as arrays on the CPU."""
        case = self._case
        began = clock_s()
        self._pipeline(
            [prompt for prompt, _ in zip(itertools.cycle(PROMPTS), range(batch), strict=False)],
            num_inference_steps=steps or case.steps,
            guidance_scale=case.guidance,
            height=case.side,
            width=case.side,
            generator=[torch.Generator().manual_seed(seed) for seed in range(batch)],
            output_type="np",
        )
        return clock_s() - began

    def best_batch(self) -> int:
        """Return the batch with the most images a second, over a few steps."""
        rates = {}
        for batch in self._case.batches:
            try:
                self.seconds(batch, 1)
                rates[batch] = batch / self.seconds(batch, QUICK_STEPS)
            except torch.OutOfMemoryError:
                break
        return max(rates, key=lambda batch: rates[batch])


def stock_one(setting: Setting) -> Numbers:
    stock = Stock(setting)
    stock.seconds(1, 1)
    return {"images_s": 1 / stock.seconds(1), "batch": 1}


def stock_batch(setting: Setting, compiled: bool = False) -> Numbers:
    stock = Stock(setting)
    batch = stock.best_batch()
    if compiled:
        stock.compile()
    warm_s = stock.seconds(batch, 1)
    return {"images_s": batch / stock.seconds(batch), "batch": batch, "first_call_s": warm_s}


def stock_compiled(setting: Setting) -> Numbers:
    return stock_batch(setting, compiled=True)


# The network and the decoder alone.


def network(setting: Setting, compiles: bool = False) -> Numbers:
    """Measure network, decoder and encoder at the batch sizes that a worker would choose."""
    case, renderer = setting.case, setting.renderer(compiles)
    began = clock_s()
    sizes = renderer.tuner.choose(case.side, case.side, 2 if setting.tiny else 128, fixed=False)
    batches = renderer.tuner.batches(case.side, case.side, sizes.rows, sizes.decode_rows)
    chosen_s = clock_s() - began
    samples = renderer._sample_rows(case.side, case.side)
    rows = [row for row, _ in zip(itertools.cycle(samples), range(batches.network.capacity), strict=False)]
    call_s = seconds_of(lambda: renderer.run(rows, batches.network))
    decode_s = seconds_of(lambda: renderer._decode_rows(samples[:1] * sizes.decode_rows)) / batches.decoder.capacity
    with renderer.tuner._target.eager(), FlopCounterMode(display=False) as flops:
        renderer._evaluate_batch(samples[:1])
    return {
        "rows": sizes.rows,
        "safe": batches.network.capacity,
        "exact": batches.exact,
        "decode_rows": sizes.decode_rows,
        "choosing_s": chosen_s,
        "call_ms": 1e3 * call_s,
        "images_s": len(rows) / call_s / case.inputs,
        "decode_ms": 1e3 * decode_s,
        "decode_one_ms": 1e3 * seconds_of(lambda: renderer._decode_rows(samples[:1])),
        "encode_ms": 1e3 * _encode_s(case.side),
        "tflops": flops.get_total_flops() * sizes.rows / call_s / 1e12,
        "product_tflops": _product_tflops(setting),
        "trials": [vars_of(trial) for trial in sizes.network],
    }


def network_compiled(setting: Setting) -> Numbers:
    return network(setting, compiles=True)


def network_compiled_with(setting: Setting, options: dict[str, bool]) -> Numbers:
    """Measure the compiled network with other options of the compiler than ours, each a switch alone."""
    with patch("render.engine.compile.compile_options", lambda device: options):
        return network(setting, compiles=True)


def layout(setting: Setting) -> Numbers:
    """Measure the eager network with convolutions in channels_last and otherwise, at the batch size chosen."""
    case, renderer = setting.case, setting.renderer()
    sizes = renderer.tuner.choose(case.side, case.side, 2 if setting.tiny else 128, fixed=False)
    samples = renderer._sample_rows(case.side, case.side)
    found = {}
    for name, memory_format in (("nchw", torch.contiguous_format), ("channels_last", torch.channels_last)):
        for part in ("unet", "vae"):
            if part in renderer._family.pipeline.components:
                getattr(renderer._family.pipeline, part).to(memory_format=memory_format)
        found[f"{name}_ms"] = 1e3 * seconds_of(lambda: renderer._evaluate_batch(samples[:1] * sizes.rows))
        found[f"{name}_decode_ms"] = 1e3 * seconds_of(lambda: renderer._decode_rows(samples[:1]))
    return {"rows": sizes.rows, **found}


def vars_of(trial: Any) -> Numbers:
    return {"size": trial.size, "safe": trial.safe, "ms": trial.ms, "peak_bytes": trial.peak_bytes}


def _encode_s(side: int) -> float:
    """Return the seconds that PNG takes for one image: smooth noise, about as hard as a photograph."""
    small = torch.rand(1, 3, side // 8, side // 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear")
    pixels = (smooth[0] * 255).byte().permute(1, 2, 0).contiguous().numpy()
    return seconds_of(lambda: encode_image(pixels, "png"))


def _product_tflops(setting: Setting) -> float:
    """Return the rate of a large matrix product in the network's dtype: what the device can reach at most."""
    side = 256 if setting.tiny else 8192
    square = torch.ones(side, side, device=setting.device, dtype=getattr(torch, setting.dtype))
    return 2 * side**3 / seconds_of(lambda: square @ square) / 1e12


# `render run`.


class Stages(Silent):
    """A report that adds up the time in which the worker measures or compiles, which is the same for runs of any length."""

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, 0.0  # the latter: 0 outside a stage

    def stage(self, text: str) -> None:
        now = time.perf_counter()
        if bool(text) == bool(self._began):  # from one stage to the next
            return
        self.seconds += now - self._began if self._began else 0.0
        self._began = 0.0 if self._began else now


def run(setting: Setting, kind: str, compiled: bool) -> Numbers:
    """Render a manifest, from the first worker's being ready to the last commit; measuring and compiling count apart."""
    case, out = setting.case, setting.output(f"{kind}{'-compiled' if compiled else ''}")
    shutil.rmtree(out, ignore_errors=True)
    manifest = setting.work / f"{case.name}-{kind}.csv"
    _write_manifest(case, manifest, mixed=kind == "mixed")
    job = [
        f"model.id={setting.model}",
        f"output={out}",
        "animation.formats=[]",
        "sheets.kinds=[]",
        f"sampling.width={case.side}",
        f"sampling.height={case.side}",
        f"workers.device={setting.device}",
        f"workers.dtype={setting.dtype}",
        f"workers.compile={'on' if compiled else 'off'}",
        *(["workers.count=1", "workers.cpus=1"] if setting.tiny else []),
    ]
    inputs = render.plan_job(manifest, *job).counts.evaluations
    began, stages = time.perf_counter(), Stages()
    summary = render.run_job(manifest, *job, report=stages)
    receipts = [json.loads(path.read_text()) for path in (out / ".run" / "commits").glob("*.json")]
    rendering_s = summary.seconds - stages.seconds
    return {
        "frames": summary.frames,
        "images_s": summary.frames / rendering_s,
        "inputs_s": inputs / rendering_s,
        "stages_s": stages.seconds,  # of measuring and compiling
        "whole_s": time.perf_counter() - began,  # start-up included
        "quarantined": summary.quarantined,
        "fill": summary.fill,
        "waiting_s": summary.waiting_s,
        "batch_rows": sorted({receipt["batch_rows"] for receipt in receipts}),
    }


def _write_manifest(case: Case, path: Path, mixed: bool) -> None:
    settings = itertools.product(
        (case.steps, case.steps * 4 // 5, case.steps * 7 // 5) if mixed else (case.steps,),
        (case.guidance, 1.0, case.guidance + 1) if mixed else (case.guidance,),
        case.schedulers if mixed else case.schedulers[:1],
    )
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "seed", "steps", "guidance", "scheduler"])
        for seed, prompt, own in zip(
            range(case.frames), itertools.cycle(PROMPTS), itertools.cycle(settings), strict=False
        ):
            writer.writerow([prompt, seed, *own])


def reproduce(setting: Setting) -> Numbers:
    """Render frames of the last homogeneous run again, each alone, with one renderer, and compare their bits."""
    out = next(out for kind in ("homogeneous-compiled", "homogeneous") if (out := setting.output(kind)).exists())
    columns = ["recipe", "sha256", "batch_rows", "decode_rows", "compiled", "exact"]
    rows = render.open_store(out).dataset().to_table(columns=columns).to_pylist()
    chosen = rows[:: max(1, len(rows) // REPRODUCED)][:REPRODUCED]
    renderer, same = setting.renderer(chosen[0]["compiled"]), 0
    for row in chosen:
        pixels = render_alone(renderer, Recipe.from_json(row["recipe"]), row["batch_rows"], row["decode_rows"])
        same += hashlib.sha256(pixels.tobytes()).hexdigest() == row["sha256"]
    return {"frames": len(chosen), "same": same, "exact": chosen[0]["exact"], "compiled": chosen[0]["compiled"]}


STEPS: dict[str, Callable[[Setting], Numbers]] = {  # in the order in which they are taken
    "network": network,
    "stock, best batch": stock_batch,
    "render run": lambda setting: run(setting, "homogeneous", compiled=False),
    "network, compiled": network_compiled,
    "render run, compiled": lambda setting: run(setting, "homogeneous", compiled=True),
    "render run, mixed": lambda setting: run(setting, "mixed", compiled=False),
    "render run, mixed, compiled": lambda setting: run(setting, "mixed", compiled=True),
    "reproduce": reproduce,
    "stock, one at a time": stock_one,
    "stock, compiled, best batch": stock_compiled,
    "layout": layout,
    "compiled with layout optimization": lambda setting: network_compiled_with(setting, {"deterministic": True}),
    "compiled by timing": lambda setting: network_compiled_with(setting, {"layout_optimization": False}),
}
