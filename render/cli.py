"""The `render` command."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from render.plan import show_group
from render.prepare import Prepared
from render.recipe import InputError, RunError
from render.run import Summary, animate_store, plan_job, run_job

__all__ = ["main"]

DONE, FAILED, BAD_INPUT, QUARANTINED = 0, 1, 2, 3
EXIT_CODES = "exit codes: 0 done; 2 bad input; 3 finished, with frames quarantined; 1 anything else"
TARGET = "a job (.yaml) or a manifest (.csv, .parquet) that is rendered with defaults"
EXAMPLES = {
    "run": "render run manifests/first.csv\n  render run jobs/walks.yaml workers.count=8 output=out/tonight",
    "plan": "render plan jobs/stills.yaml --check-model\n  render plan manifests/first.csv sampling.steps=30 --json",
    "animate": "render animate out/first\n  render animate out/first animation.fps=24 animation.loop=none",
    "verify": "render verify out/first",
    "reproduce": "render reproduce out/first 3f9a",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        code: int = options.command(options)
        return code
    except InputError as error:
        print(f"render: {error}", file=sys.stderr)
        return BAD_INPUT
    except RunError as error:
        print(f"render: {error}\nWhat is committed stays; the same command resumes.", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nrender: stopped. What is committed stays; the same command resumes.", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        sys.stderr.close()  # whoever read the output has gone; nobody is left to be told
        return FAILED


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="render",
        description="Render a table of prompts into a Parquet image store and latent-walk animations.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"render {version('nightrender')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "render a job, or what is left of it")
    plan = _command(commands, "plan", _plan, "say what a job would render, and check it")
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    plan.add_argument(
        "--check-model",
        action="store_true",
        help="look at the models' weights as well, which a hub model is then given",
    )
    animate = _command(commands, "animate", _animate, "write the animations of a store anew")
    verify = _command(
        commands, "verify", _verify, "check that every planned frame is committed once, to the last pixel"
    )
    for command in (run, plan):
        command.add_argument("target", metavar="TARGET", type=Path, help=TARGET)
    reproduce = _command(commands, "reproduce", _reproduce, "render one stored frame again and compare the bits")
    for command in (animate, verify, reproduce):
        command.add_argument("out", metavar="OUT", type=Path, help="the output folder of a run")
    reproduce.add_argument("key", metavar="KEY", help="its column `key`, or the first digits of it")
    for command in (run, plan, animate):
        command.add_argument("overrides", metavar="key=value", nargs="*", help="job keys to set, e.g. animation.fps=24")
    return parser


def _command(commands: Any, name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text.capitalize() + ".",
        epilog=f"examples:\n  {EXAMPLES[name]}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _run(options: Any) -> int:
    report = _report()
    try:
        summary = run_job(options.target, *options.overrides, report=report)
    finally:
        report.close()
    print(_ending(summary))
    return QUARANTINED if summary.quarantined else DONE


def _ending(summary: Summary) -> str:
    """Where everything is and how to open it."""
    out = _short(summary.out)
    lines = [f"animation  {_short(path)}" for path in summary.animations]
    lines += [
        f"dataset    {_short(summary.out / 'data')}  ({summary.frames} images)",
        f"open it    datasets.load_dataset({out!r}, split='train')   or   render.open_store({out!r})",
    ]
    if summary.blank:
        lines.append(f"blank      {summary.blank} images are of a single colour")
    if summary.quarantined:
        where = _short(summary.out / ".run" / "quarantine")
        lines.append(
            f"failed     {summary.quarantined} frames; tracebacks are in {where}. The same command tries them again"
        )
    return "\n".join(lines)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _plan(options: Any) -> int:
    prepared = plan_job(options.target, *options.overrides, check_model=options.check_model)
    print(json.dumps(_facts(prepared), indent=1) if options.json else _table(prepared))
    return DONE


def _facts(prepared: Prepared) -> dict[str, Any]:
    counts, plan, force = prepared.counts, prepared.plan, prepared.workforce
    return {
        "manifest": str(prepared.job.manifest),
        "output": str(prepared.job.output),
        "models": [
            {"name": name, "id": model.id, "fingerprint": plan.targets[name].fingerprint or None}
            for name, model in prepared.models.items()
        ],
        "walks": counts.walks,
        "stills": counts.stills,
        "frames": counts.frames,
        "units": plan.units,
        "pixels": counts.pixels,
        "network_evaluations": counts.evaluations,
        "expected_bytes": prepared.expected_bytes,
        "rows": {show_group(group): rows for group, rows in plan.rows.items()},
        "workers": {"count": force.count, "threads": force.threads, "gpus": force.gpus, "device": force.device},
        "warnings": list(prepared.warnings),
    }


def _table(prepared: Prepared) -> str:
    facts = _facts(prepared)
    count = "as many as fit" if facts["workers"]["count"] is None else facts["workers"]["count"]
    sizes = ", ".join(f"{size} ({rows} rows)" for size, rows in facts["rows"].items())
    lines = [
        f"manifest   {_short(prepared.job.manifest)}",
        f"output     {_short(prepared.job.output)}",
        f"models     {', '.join(_model(**model) for model in facts['models'])}",
        f"walks      {facts['walks']:,} and {facts['stills']:,} stills",
        f"frames     {facts['frames']:,} in {facts['units']:,} units: {sizes}",
        f"work       {facts['network_evaluations']:,} network evaluations, {facts['pixels'] / 1e6:,.1f} megapixels",
        f"disk       about {facts['expected_bytes'] / 1e6:,.0f} MB at most",
        f"workers    {count} × {prepared.workforce.threads} thread(s) on {prepared.workforce.device}",
    ]
    return "\n".join([*lines, *(f"warning: {text}" for text in prepared.warnings)])


def _model(name: str, id: str, fingerprint: str | None) -> str:
    return f"{name}: {id}" + (f" (fingerprint {fingerprint})" if fingerprint else "")


def _animate(options: Any) -> int:
    for path in animate_store(options.out, *options.overrides):
        print(_short(path))
    return DONE


def _verify(options: Any) -> int:
    from render.verify import verify_store

    verdict = verify_store(options.out)
    for problem in verdict.problems:
        print(problem)
    print(f"{verdict.frames:,} frames are committed and right, {len(verdict.problems)} problems")
    return FAILED if verdict.problems else DONE


def _reproduce(options: Any) -> int:
    from render.reproduce import reproduce_frame

    found = reproduce_frame(options.out, options.key)
    print(f"{found.walk} {found.frame}: {'the same bits' if found.same else 'other bits'}")
    if not found.same:
        print(f"stored  {found.sha256}  on {found.device}\nnow     {found.sha256_now}  on {found.device_now}")
    return DONE if found.same else FAILED


def _report() -> _Bars | _Lines:
    return _Bars() if sys.stderr.isatty() else _Lines()


class _Lines:
    """Progress as plain lines, at most one in ten seconds."""

    def __init__(self) -> None:
        self._total = self._done = self._here = 0
        self._began_s = self._told_s = 0.0

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        for text in prepared.warnings:
            print(f"warning: {text}", file=sys.stderr)
        self._total, self._done = prepared.counts.frames, frames_done
        resumed = f", {frames_done:,} of them done before" if frames_done else ""
        print(f"{self._total:,} frames{resumed}; starting workers", file=sys.stderr, flush=True)

    def frames(self, count: int) -> None:
        now = time.monotonic()
        self._began_s = self._began_s or now
        self._done, self._here = min(self._total, self._done + count), self._here + count
        if count and (now - self._told_s >= 10 or self._done == self._total):
            self._told_s = now
            rate = self._here / (now - self._began_s) if now > self._began_s else 0.0
            left = f", {(self._total - self._done) / rate:,.0f} s left" if rate else ""
            print(f"{self._done:,}/{self._total:,} frames, {rate:.2f} img/s{left}", file=sys.stderr, flush=True)

    def animating(self, total: int) -> None:
        print(f"frames are done; {total:,} animations to write", file=sys.stderr, flush=True)

    def animation(self, path: Path) -> None: ...
    def close(self) -> None: ...


class _Bars:
    """Progress as bars on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )

    def begin(self, prepared: Prepared, frames_done: int) -> None:
        for text in prepared.warnings:
            self._bars.console.print(f"warning: {text}", markup=False)
        self._bars.start()
        self._frames = self._bars.add_task(
            "starting workers", total=prepared.counts.frames, completed=frames_done, rate=""
        )

    def frames(self, count: int) -> None:
        speed = self._bars.tasks[self._frames].speed
        self._bars.update(self._frames, advance=count, description="frames", rate=f"{speed:.2f} img/s" if speed else "")

    def animating(self, total: int) -> None:
        self._bars.update(self._frames, completed=self._bars.tasks[self._frames].total, description="frames")
        self._animations = self._bars.add_task("animations", total=total, rate="")

    def animation(self, path: Path) -> None:  # noqa: ARG002
        self._bars.advance(self._animations)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bars.stop()
