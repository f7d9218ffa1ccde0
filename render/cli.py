"""The `render` command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

from render.cli_cluster import CLUSTER, add_cluster
from render.cli_mending import BAD_INPUT, DONE, FAILED, MENDING, QUARANTINED, add_mending, output, short
from render.cli_morning import MORNING, add_morning
from render.cli_score import SCORE, add_score
from render.cli_status import STATUS, add_status
from render.cli_view import VIEW, add_view
from render.core import InputError, JobError, RunError, counted, input_path, plain_reason, without_secrets
from render.facts import plan_facts, plan_table
from render.preview import preview_ending
from render.progress import make_report
from render.run import Summary, animate_store, plan_job, preview_job, run_job, sheet_store
from render.stopping import STOPPED, stoppable
from render.store import OutputFolder

__all__ = ["BAD_INPUT", "DONE", "FAILED", "QUARANTINED", "main"]

EXIT_CODES = "exit codes: 0 done; 2 bad input; 3 finished, with frames quarantined; 1 anything else"
TARGET = (
    "a job (.yaml), or a manifest (.csv, .tsv, .jsonl, .txt, .parquet, a folder of CSV files, OUT/data, or its URL), "
    "rendered with defaults"
)
INEXACT = "the GPU has no batch whose places agree; `render reproduce` compares pictures instead"
EXAMPLES = (
    CLUSTER
    | MENDING
    | SCORE
    | MORNING
    | STATUS
    | VIEW
    | {
        "run": "render run manifests/first.csv\n  render run jobs/walks.yaml workers.count=8 output=out/tonight\n"
        "  render run manifests/first.csv --extend\n  render run jobs/walks.yaml --preview 8",
        "plan": "render plan jobs/stills.yaml --check-model\n  render plan manifests/first.csv sampling.steps=30 --json",
        "animate": "render animate out/first\n  render animate out/first animation.fps=24 animation.loop=none",
        "sheets": "render sheets out/first sheets.kinds=[still] sheets.cell=128",
        "expand": "render expand templates.txt -o manifest.parquet --count 20 --seed 1\n  "
        "render expand templates.csv -o manifest.csv --mode combinatorial --wildcards wildcards",
        "reproduce": "render reproduce out/first 3f9a",
    }
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _options(arguments)
    try:
        with stoppable():
            code: int = options.command(options)
            return code
    except InputError as error:
        print(f"render: {error}", file=sys.stderr)
        return BAD_INPUT
    except RunError as error:
        print(f"render: {error}\nWhat is committed stays; the same command resumes.", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        sys.stderr.close()  # the reader of the output is gone
        return FAILED
    except OSError as error:  # a bucket that does not answer, or a disk
        print(f"render: {without_secrets(plain_reason(error))}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return FAILED


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the parsed command line. `key=value` may stand behind options, which argparse alone does not allow."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(text.startswith("-") or "=" not in text for text in rest) or (rest and "overrides" not in options):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.overrides += rest
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors show no password of a URL that was given."""

    def error(self, message: str) -> NoReturn:
        super().error(without_secrets(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="render",
        description="Render a table of prompts into a Parquet image store and latent-walk animations.",
        epilog=EXIT_CODES,
    )
    parser.add_argument("--version", action="version", version=f"render {version('nightrender')}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    run = _command(commands, "run", _run, "render a job, or what is left of it")
    how = run.add_mutually_exclusive_group()
    how.add_argument(
        "--extend",
        action="store_true",
        help="add rows that the manifest has at its end, or a further table, to the output",
    )
    how.add_argument(
        "--preview",
        metavar="N",
        type=int,
        help="render N frames, spread over the manifest, into OUTPUT-preview, and say what the whole job would take",
    )
    run.add_argument("--then-run", action="store_true", help="go on with the whole job after --preview")
    plan = _command(commands, "plan", _plan, "say what a job would render, and check it")
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    plan.add_argument(
        "--check-model",
        action="store_true",
        help="read every byte of the models' weights as well, which a hub model is then given",
    )
    animate = _command(commands, "animate", _animate, "write the animations of a store anew")
    sheets = _command(commands, "sheets", _sheets, "write the contact sheets of a store anew")
    _add_expand(commands)
    for command in (run, plan):
        more = "" if command is run else "; or OUT, for what is left of it"
        command.add_argument("target", metavar="TARGET", type=_target, help=TARGET + more)
    reproduce = _command(commands, "reproduce", _reproduce, "render one stored frame again and compare the bits")
    for command in (animate, sheets, reproduce):
        command.add_argument(
            "out",
            metavar="OUT",
            type=output,
            help="the output folder of a run, or s3://BUCKET/PREFIX, also gs:// and az://",
        )
    reproduce.add_argument("key", metavar="KEY", help="its column `key`, or the first digits of it")
    for command in (run, plan, animate, sheets):
        command.add_argument("overrides", metavar="key=value", nargs="*", help="job keys to set, e.g. animation.fps=24")
    add_mending(partial(_command, commands))
    add_morning(partial(_command, commands))
    add_status(partial(_command, commands))
    add_score(partial(_command, commands))
    add_view(partial(_command, commands))
    add_cluster(partial(_command, commands), _target, TARGET)
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
    if options.then_run and options.preview is None:
        raise JobError("--then-run: required --preview N before it, got none")
    if options.preview is not None:
        code = _preview(options)
        if code != DONE or not options.then_run:
            return code
    report = make_report()
    try:
        summary = run_job(options.target, *options.overrides, report=report, extend=options.extend)
    finally:
        report.close()
    print(_ending(summary))
    return QUARANTINED if summary.quarantined else DONE


def _preview(options: Any) -> int:
    report = make_report()
    try:
        preview = preview_job(options.target, *options.overrides, frames=options.preview, report=report)
    finally:
        report.close()
    print(preview_ending(preview, short))
    return QUARANTINED if preview.quarantined else DONE


def _ending(summary: Summary) -> str:
    """Return the lines that end a run: where everything is, and how to open it."""
    out = short(summary.out)
    split = f", split={summary.splits[0]!r}" if len(summary.splits) == 1 else ""
    lines = [f"animation  {short(path)}" for path in summary.animations]
    lines += [f"sheet      {short(path)}" for path in summary.sheets]
    lines += [
        f"dataset    {short(OutputFolder(summary.out).data)}  ({counted(summary.frames, 'image')})",
        f"open it    datasets.load_dataset({out!r}{split})   or   render.open_store({out!r})",
    ]
    if summary.seconds:
        lines.append(f"batches    {summary.fill:.1%} full, {summary.waiting_s:,.0f} s without a frame to render")
    if summary.inexact:
        lines.append(f"bits       of {counted(summary.inexact, 'image')} depend on their place in a batch: {INEXACT}")
    if summary.blank:
        lines.append(f"blank      {counted(summary.blank, 'image is', 'images are')} of a single colour")
    if summary.quarantined:
        where = short(OutputFolder(summary.out).quarantine)
        lines.append(
            f"failed     {counted(summary.quarantined, 'frame')}; tracebacks are in {where}. The same command tries again"
        )
    return "\n".join(lines)


def _target(text: str) -> Path:
    try:
        return input_path(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _plan(options: Any) -> int:
    prepared = plan_job(options.target, *options.overrides, check_model=options.check_model)
    print(json.dumps(plan_facts(prepared), indent=1) if options.json else plan_table(prepared, short))
    return DONE


def _animate(options: Any) -> int:
    for path in animate_store(options.out, *options.overrides):
        print(short(path))
    return DONE


def _sheets(options: Any) -> int:
    for path in sheet_store(options.out, *options.overrides):
        print(short(path))
    return DONE


def _add_expand(commands: Any) -> None:
    expand = _command(
        commands,
        "expand",
        _expand,
        "expand templates such as {red|blue} car, or columns to combine, to a manifest, or write a store's frames as one",
    )
    expand.add_argument(
        "templates",
        metavar="TEMPLATES",
        type=Path,
        help="a table with a column template, .txt, columns to combine in .yaml, keyframes in .json, or OUT",
    )
    expand.add_argument("-o", "--output", type=Path, required=True, help="the manifest to write, .csv or .parquet")
    expand.add_argument("--mode", choices=("random", "combinatorial"), default="random")
    expand.add_argument("--count", type=int, default=1, help="random prompts a template, up to 1000000 (default: 1)")
    expand.add_argument("--seed", type=int, default=0, help="of the random prompts (default: 0)")
    expand.add_argument("--limit", type=int, default=10_000, help="combinatorial prompts a template (default: 10000)")
    expand.add_argument("--wildcards", type=Path, help="folder of wildcard files: __name__ is name.txt")
    expand.add_argument("--styles", type=Path, help="style file (name, prompt, negative_prompt) for every template")


def _expand(options: Any) -> int:
    from render.templates import Expansion, expand_templates

    how = Expansion(options.mode, options.count, options.seed, options.limit, options.wildcards, options.styles)
    count = expand_templates(options.templates, options.output, how, partial(print, "warning:", file=sys.stderr))
    print(f"{counted(count, 'prompt')} in {short(options.output)}")
    return DONE


def _reproduce(options: Any) -> int:
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # for what loads the model, here in this process
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from render.reproduce import reproduce_frame

    found = reproduce_frame(options.out, options.key)
    print(f"{found.walk} {found.frame}: {'the same bits' if found.same else 'other bits'}")
    if not found.same:
        print(f"stored  {found.sha256}  on {found.device}\nnow     {found.sha256_now}  on {found.device_now}")
    if not found.exact and not found.same:
        verdict = "the same picture" if found.agrees else "another picture"
        print(
            f"its bits depend on its place in a batch; by PSNR, {found.psnr_db:.1f} dB, it is {verdict} (20 dB required)"
        )
    return DONE if found.agrees else FAILED
