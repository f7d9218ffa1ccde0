"""The loss of a worker in one line, from Ray's errors. Standard library only."""

from __future__ import annotations

import re

from render.core import without_secrets

__all__ = ["MACHINE", "last_line", "reason_of"]

MACHINE = "its machine"  # begins the reason where that is lost, with all its workers
NODE_DIED = re.compile(r"node[^.]*\b(?:has died|is dead|was terminated|died)", re.IGNORECASE)
ADDRESS = re.compile(r"^\s*ip: (\S+)", re.MULTILINE)
NO_DETAIL = re.compile(
    r" Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with .* End of file\."
)
UNAVAILABLE = re.compile(r"The actor \S+ is unavailable")


def reason_of(error: object) -> str:
    r"""Return why a worker was lost; a machine that is gone, or can't be reached, is named by its address.

    >>> reason_of("The actor died unexpectedly.\n\tip: 10.0.0.7\nThe actor died because its node has died. Node Id: 3f")
    'its machine, 10.0.0.7, is lost'
    >>> reason_of("The actor 5f is unavailable: RpcError: RPC Error message: Socket closed; RPC Error details: .")
    'its machine does not answer'
    """
    text = str(error)
    if NODE_DIED.search(text):
        found = ADDRESS.search(text)
        return f"{MACHINE}, {found[1]}, is lost" if found else f"{MACHINE} is lost"
    if UNAVAILABLE.search(text):
        return f"{MACHINE} does not answer"
    return last_line(text)


def last_line(error: object) -> str:
    """Return the line that names the error, without Ray's remote traceback, and the detail that a closed socket is none.

    >>> detail = "Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly exits with code 2. End of file."
    >>> last_line(f"The actor is dead because its worker process has died. {detail} Some common causes include: …")
    'The actor is dead because its worker process has died.'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "Error" in line), lines[-1] if lines else repr(error))
    return without_secrets(NO_DETAIL.sub("", last.partition(" Some common causes include")[0]))
