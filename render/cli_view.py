"""The command `view`: look at an output folder in a browser, or write pages that open from disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from render.cli_mending import DONE, AddCommand, output, short
from render.core import counted

__all__ = ["VIEW", "add_view"]

VIEW = {
    "view": "render view out/first\n  render view s3://bucket/first --port 8899\n"
    "  render view out/first --static out/first-pages"
}
HELP = "look at the images, walks and the night of an output in a browser, and mark what is good"


def add_view(add: AddCommand) -> None:
    """Add the command to the parser of `render`."""
    view = add("view", _view, HELP)
    view.add_argument("out", metavar="OUT", type=output, help="the output folder of a run, or s3://BUCKET/PREFIX")
    view.add_argument(
        "--port",
        metavar="N",
        type=int,
        default=0,
        help="of 127.0.0.1, where the pages are served (default: a free one)",
    )
    view.add_argument(
        "--static", metavar="DIR", type=Path, help="write pages into a folder, which open without a server, and end"
    )


def _view(options: Any) -> int:
    if options.static is not None:
        from render.view import write_static

        done = write_static(options.out, options.static)
        for text in done.left_out:
            print(f"warning: {text}", file=sys.stderr)
        print(f"{counted(done.images, 'image')} and {counted(done.walks, 'walk')} in {short(done.index)}")
        return DONE
    from render.view import serve

    serve(options.out, options.port, _tell)
    return DONE


def _tell(address: str) -> None:
    print(f"{address}\nOpen this address in a browser on this machine; Ctrl-C ends the server.", flush=True)
