"""The facts of a plan, as `render plan` prints them. Loads no torch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from math import isfinite
from pathlib import Path
from typing import Any

from render.core import InputError, ObjectPath, counted
from render.manifest import show
from render.plan import show_group
from render.prepare import Balance, Prepared, load_plan
from render.store import Ledger, OutputFolder

__all__ = ["plan_facts", "plan_table"]


def plan_facts(prepared: Prepared) -> dict[str, Any]:
    """Return what is known of a job before it runs, as JSON has it."""
    counts, plan, force = prepared.counts, prepared.plan, prepared.workforce
    return {
        "manifest": str(prepared.job.manifest),
        "separated_by": list(prepared.manifest.separated_by),
        "output": str(prepared.job.output),
        "models": [
            {"name": name, "id": model.id, "fingerprint": plan.targets[name].fingerprint or None}
            for name, model in prepared.models.items()
        ],
        "walks": counts.walks,
        "stills": counts.stills,
        "sweep": prepared.job.sweep.count,
        "frames": counts.frames,
        "frames_done": frames_done(prepared),
        "units": plan.units,
        "pixels": counts.pixels,
        "network_evaluations": counts.evaluations,
        "expected_bytes": prepared.expected_bytes,
        "batch_rows": {show_group(group): rows for group, rows in plan.batch_rows.items()},
        "compile": {"on": plan.compile, "reason": prepared.compile_reason},
        "workers": {"count": force.count, "threads": force.threads, "gpus": force.gpus, "device": force.device},
        "labels": [
            {"name": name, "type": kind, "example": None if value is None else str(value)}
            for name, kind, value in prepared.manifest.labels
        ],
        "balance": [
            {
                "column": one.column,
                "counts": [{"value": value if _is_json(value) else str(value), "frames": n} for value, n in one.frames],
            }
            for one in prepared.balance
        ],
        "warnings": list(prepared.warnings),
    }


def plan_table(prepared: Prepared, short: Callable[[Path], str]) -> str:
    """Return the same as lines of text; `short` shows a path."""
    facts = plan_facts(prepared)
    count = "as many as fit" if facts["workers"]["count"] is None else facts["workers"]["count"]
    most = "at most " if prepared.plan.measure_rows else ""
    sizes = ", ".join(f"{size} (batches of {most}{rows})" for size, rows in facts["batch_rows"].items())
    lines = [
        f"manifest   {short(prepared.job.manifest)}{_separated(facts['separated_by'])}",
        f"output     {short(prepared.job.output)}",
        f"models     {', '.join(_model(**model) for model in facts['models'])}",
        f"walks      {facts['walks']:,} and {counted(facts['stills'], 'still')}",
        *([f"sweep      {facts['sweep']:,} points of every row"] if facts["sweep"] > 1 else []),
        f"frames     {facts['frames']:,} in {counted(facts['units'], 'unit')}: {sizes}",
        *_done(facts["frames"], facts["frames_done"]),
        f"work       {facts['network_evaluations']:,} network evaluations, {facts['pixels'] / 1e6:,.1f} megapixels",
        f"disk       about {facts['expected_bytes'] / 1e6:,.0f} MB at most",
        f"workers    {count} × {prepared.workforce.threads} thread(s) on {prepared.workforce.device}",
        f"compile    {'yes' if facts['compile']['on'] else 'no'}: {facts['compile']['reason']}",
    ]
    labels = [_label(*label) for label in prepared.manifest.labels]
    balance = [_balance(one) for one in prepared.balance]
    return "\n".join([*lines, *labels, *balance, *(f"warning: {text}" for text in prepared.warnings)])


def frames_done(prepared: Prepared) -> int | None:
    """Return how many frames of a plan its output has; None if it was not begun by this plan, or lies in a bucket.

    A bucket is not asked: a plan works without a network.
    """
    out = prepared.job.output
    if isinstance(out, ObjectPath) or not OutputFolder(out).plan.is_file():
        return None
    try:
        if load_plan(out).fingerprint["manifest"] != prepared.plan.fingerprint["manifest"]:
            return None
    except InputError:
        return None
    records, _ = Ledger(out).read_records()
    return sum(receipt.frames for receipt in records.values() if receipt is not None)


def _done(frames: int, done: int | None) -> list[str]:
    return [] if done is None else [f"done       {done:,}; {counted(frames - done, 'frame is', 'frames are')} left"]


def _separated(by: list[str]) -> str:
    return f" ({' and '.join(by)} between columns)" if by else ""


def _label(name: str, kind: str, example: Any) -> str:
    shown = str(example) if isinstance(example, date | time) else show(example)  # a datetime is a date
    return f"label      {name}: {kind}, " + ("all empty" if example is None else f"such as {shown}")


def _is_json(value: Any) -> bool:
    """Return True for a value that JSON has."""
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and isfinite(value))


def _balance(one: Balance) -> str:
    """Return the frames of one column by its values on a line: `animal 60 (75%), vehicle 20 (25%)`."""
    total = sum(frames for _, frames in one.frames)
    texts = (f"{_value(value)} {frames:,} ({frames / total:.0%})" for value, frames in one.frames)
    return f"balance    {one.column}: {', '.join(texts)}"


def _value(value: Any) -> str:
    if value is None:
        return "(empty)"
    return show(value) if isinstance(value, str) and not value.isprintable() else str(value)


def _model(name: str, id: str, fingerprint: str | None) -> str:
    return f"{name}: {id}" + (f" (fingerprint {fingerprint})" if fingerprint else "")
