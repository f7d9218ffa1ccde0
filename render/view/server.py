"""Serve an output folder on this machine: a socket on loopback, a token, uvicorn."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

import uvicorn

from render.core import JobError
from render.view.site import make_site
from render.view.viewer import Viewer

__all__ = ["serve"]

HOST = "127.0.0.1"
TOKEN_BYTES = 24
REST_S = 2.0  # in which the first page is drawn, before the rest of the shards is read
LAST_WORD_S = 2  # that open requests get when the server ends


def serve(out: str | Path, port: int, tell: Callable[[str], object]) -> None:
    """Serve the pages of an output folder until the process is interrupted. `tell` gets the address once it answers.

    Port 0 is any free one. Raises StoreError when `out` is not an output folder, JobError for a port that is taken.
    """
    with closing(_listen(port)) as listening, closing(Viewer(out, rest_s=REST_S)) as viewer:
        token, port = secrets.token_urlsafe(TOKEN_BYTES), listening.getsockname()[1]
        site = make_site(viewer, token, f"render-{port}")
        config = uvicorn.Config(
            site, log_level="error", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=LAST_WORD_S
        )
        tell(f"http://{HOST}:{port}/?token={token}")
        _Server(config).run(sockets=[listening])


class _Server(uvicorn.Server):
    """A server that ends on the first signal in order; whoever runs it need not know that it came."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.force_exit = bool(self.should_exit)  # the second one does not wait
        self.should_exit = True


def _listen(port: int) -> socket.socket:
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listening.close()
        raise JobError(f"--port {port}: required a port of this machine that is free, got {error}") from error
    listening.listen(128)
    return listening
