"""The commands for the morning after a run, on the store that is there: export."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from render.cli_mending import DONE, AddCommand, output, short
from render.core import JobError, counted

__all__ = ["MORNING", "add_morning"]

MORNING = {  # command: examples
    "export": "render export out/first --to hf -o first-dataset --splits train=0.9,test=0.1\n"
    "  render export out/first --to hf -o first-dataset --push OWNER/NAME --dry-run\n"
    "  render export out/first --to webdataset -o tars --where \"mark = 'keep'\" --format webp --max-shard 1GB\n"
    "  render export out/first --to kohya -o train --repeats 10 --dedupe --balance kind",
}
EXPORT = "write the frames of a store for others: a dataset for the Hub, tar files, a training folder, a table"


def add_morning(add: AddCommand) -> None:
    """Add the commands to the parser of `render`."""
    export = add("export", _export, EXPORT)
    export.add_argument("out", metavar="OUT", type=output, help="the output folder of a run, or s3://BUCKET/PREFIX")
    _add_export_options(export)


def _add_export_options(export: argparse.ArgumentParser) -> None:
    whole = "the same command goes on with what is there"
    export.add_argument(
        "--to", metavar="TARGET", required=True, help="hf, webdataset, imagefolder, kohya, csv or lance"
    )
    export.add_argument("-o", "--output", metavar="FOLDER", type=Path, required=True, help=f"a new folder; {whole}")
    export.add_argument("--where", metavar="SQL", default="true", help="of which frames: \"kind = 'dog' AND cfg > 3\"")
    export.add_argument("--columns", metavar="A,B", default="", help="beside the picture (default: all but the marks)")
    export.add_argument(
        "--splits",
        default="train=1",
        help="train=0.9,test=0.1 by the hash of the prompt, or a column (default: train=1)",
    )
    export.add_argument("--balance", metavar="COLUMN", default="", help="as many frames of each value, in each split")
    export.add_argument(
        "--dedupe",
        metavar="COLUMN",
        nargs="?",
        const="sha256",
        default="",
        help="one frame of those with the same pixels, or the same value of a column",
    )
    export.add_argument("--format", default="", help="png, webp or jpeg: encode anew (default: the bytes as they are)")
    export.add_argument("--max-shard", metavar="SIZE", default="", help="of a file with many pictures (default: 500MB)")
    export.add_argument("--caption", metavar="COLUMN", default="prompt", help="text of a picture (default: prompt)")
    export.add_argument("--license", metavar="ID", default="", help="of the dataset, for its card: cc-by-4.0")
    export.add_argument("--language", metavar="ID", default="", help="of the prompts, for the card: en")
    export.add_argument("--repeats", metavar="N", type=int, default=1, help="of --to kohya: N_NAME (default: 1)")
    export.add_argument("--push", metavar="OWNER/NAME", help="of --to hf: upload it as a dataset, private if it is new")
    export.add_argument("--public", action="store_true", help="of --push: a new dataset is public")
    export.add_argument("--dry-run", action="store_true", help="of --push: check what the Hub takes, upload nothing")


def _export(options: Any) -> int:
    from render.export import Export, Push, check_push, export_store, push_export

    if options.push is None and (options.public or options.dry_run):
        raise JobError(f"{'--public' if options.public else '--dry-run'}: required --push OWNER/NAME, got none")
    push = Push(options.push, options.public, options.dry_run) if options.push is not None else None
    if push is not None:
        check_push(push, options.to)
    export = Export(
        to=options.to,
        folder=options.output,
        where=options.where,
        columns=tuple(name.strip() for name in options.columns.split(",") if name.strip()),
        splits=options.splits,
        balance=options.balance,
        dedupe=options.dedupe,
        format=options.format,
        max_shard=options.max_shard,
        caption=options.caption,
        repeats=options.repeats,
        license=options.license,
        language=options.language,
    )
    done = export_store(options.out, export, lambda line: print(line, file=sys.stderr, flush=True))
    for split, frames in done.frames.items():
        print(f"{split:<12}{counted(frames, 'frame')}")
    for reason, frames in done.left_out.items():
        print(f"{'left out':<12}{counted(frames, 'frame')}: {reason}")
    print(f"{'export':<12}{short(done.folder)}  ({counted(done.files, 'file')}, {done.size_bytes / 1e6:,.1f} MB)")
    if push is not None:
        pushed = push_export(done.folder, push)
        word = "" if pushed.uploaded else "would be "
        print(f"{'pushed':<12}{word}{pushed.url}  ({counted(pushed.files, 'file')}, {pushed.size_bytes / 1e6:,.1f} MB)")
    return DONE
