"""The results of the GPU benchmark as tables in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean
from typing import Any

from gpu_models import Case

__all__ = ["table"]

RATES = (
    "stock, one at a time",
    "stock, best batch",
    "stock, compiled, best batch",
    "network",
    "network, compiled",
    "render run",
    "render run, compiled",
    "render run, mixed",
    "render run, mixed, compiled",
)


class Found:
    """The results of one model; numbers are means over the rounds, None where nothing was measured."""

    def __init__(self, steps: Mapping[str, list[dict[str, Any]]]) -> None:
        self._steps = steps

    def samples(self, step: str) -> list[dict[str, Any]]:
        return [one for one in self._steps.get(step, []) if "error" not in one]

    def mean(self, step: str, name: str) -> float | None:
        values = [one[name] for one in self.samples(step) if name in one]
        return fmean(values) if values else None


def _share_of_ceiling(found: Found, compiled: str) -> float | None:
    """Return a run's share of what network and decoder allow, one after the other on one device."""
    rate, net = found.mean(f"render run{compiled}", "images_s"), found.mean(f"network{compiled}", "images_s")
    decode_ms = found.mean(f"network{compiled}", "decode_ms")
    return None if rate is None or net is None or decode_ms is None else rate * (1 / net + decode_ms / 1e3)


def _share_of_homogeneous(found: Found, compiled: str) -> float | None:
    """Return the mixed run's network inputs a second as a share of the homogeneous run's."""
    mixed, same = (found.mean(f"render run{kind}{compiled}", "inputs_s") for kind in (", mixed", ""))
    return None if mixed is None or same is None else mixed / same


def _share_of_peak(found: Found, compiled: str) -> float | None:
    used, peak = (found.mean(f"network{compiled}", name) for name in ("tflops", "product_tflops"))
    return None if used is None or peak is None else used / peak


def _of(step: str, name: str) -> Callable[[Found], float | None]:
    return lambda found: found.mean(step, name)


FACTS: tuple[tuple[str, Callable[[Found], float | None]], ...] = (  # name, value
    ("run / (network and decoder alone)", lambda found: _share_of_ceiling(found, "")),
    ("… compiled", lambda found: _share_of_ceiling(found, ", compiled")),
    ("mixed / homogeneous, inputs a second", lambda found: _share_of_homogeneous(found, "")),
    ("… compiled", lambda found: _share_of_homogeneous(found, ", compiled")),
    ("fill of the run", _of("render run", "fill")),
    ("fill of the mixed run", _of("render run, mixed", "fill")),
    ("measuring in the run, s", _of("render run", "stages_s")),
    ("measuring and compiling in the compiled run, s", _of("render run, compiled", "stages_s")),
    ("batch size, eager (rows)", _of("network", "rows")),
    ("safe places of it", _of("network", "safe")),
    ("batch size, compiled (rows)", _of("network, compiled", "rows")),
    ("safe places of it", _of("network, compiled", "safe")),
    ("share of a large product's rate, eager", lambda found: _share_of_peak(found, "")),
    ("share of a large product's rate, compiled", lambda found: _share_of_peak(found, ", compiled")),
    ("decoding an image, ms", _of("network", "decode_ms")),
    ("… one at a time", _of("network", "decode_one_ms")),
    ("… compiled", _of("network, compiled", "decode_ms")),
    ("encoding an image (PNG), ms of one core", _of("network", "encode_ms")),
    ("a batch in NCHW, ms", _of("layout", "nchw_ms")),
    ("… in channels_last", _of("layout", "channels_last_ms")),
    ("a batch, compiled, ms", _of("network, compiled", "call_ms")),
    ("… with the compiler's layout optimization", _of("compiled with layout optimization", "call_ms")),
    ("… and safe places of it", _of("compiled with layout optimization", "safe")),
    ("… with the compiler's choices by timing", _of("compiled by timing", "call_ms")),
    ("choosing batch sizes, s", _of("network", "choosing_s")),
    ("choosing and compiling, s", _of("network, compiled", "choosing_s")),
    ("frames reproduced to the bit", _of("reproduce", "same")),
    ("… of", _of("reproduce", "frames")),
)


def table(results: Mapping[str, Any], cases: Mapping[str, Case]) -> str:
    """Return all results: images a second of every contender, then the facts behind them, then what failed."""
    machine, models = results["machine"], [name for name in cases if name in results["models"]]
    found = {name: Found(results["models"][name]) for name in models}
    titles = " | ".join(f"{name}, {cases[name].side}², {cases[name].steps} steps" for name in models)
    head = f"| | {titles} |\n|---|{'---|' * len(models)}"
    lines = [", ".join(f"{name} {value}" for name, value in machine.items() if value), "", "Images a second:", "", head]
    lines += [_line(step, [found[name].mean(step, "images_s") for name in models]) for step in RATES]
    lines += ["", head]
    lines += [_line(fact, [value(found[name]) for name in models]) for fact, value in FACTS]
    failed = [
        f"{name}: {step}: {one['error'].strip().splitlines()[-1]}"
        for name in models
        for step, taken in results["models"][name].items()
        for one in taken
        if "error" in one
    ]
    return "\n".join([*lines, *(["", "Failed:", *failed] if failed else [])])


def _line(name: str, values: list[float | None]) -> str:
    return f"| {name} | {' | '.join('' if value is None else f'{value:.3g}' for value in values)} |"
