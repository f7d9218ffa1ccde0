"""Look whether anything answers at the address of a Ray cluster, before Ray tries for minutes."""

from __future__ import annotations

import re
import socket

from render.core import JobError, shorten

__all__ = ["check_address", "why_unreachable"]

WAIT_S = 3.0
ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^\s:/\[\]]+|\[[0-9a-fA-F:.%]+\]):(?P<port>[0-9]{1,5})")
BY_RAY = ("auto", "local")  # that Ray finds out itself


def check_address(address: str | None) -> None:
    """Raise JobError where nothing answers at a cluster's address."""
    if reason := why_unreachable(address):
        required = "the address HOST:PORT of a running Ray cluster, or auto inside one"
        raise JobError(f"key 'workers.address': required {required}; got {shorten(repr(address))} ({reason})")


def why_unreachable(address: str | None) -> str:
    """Return why no cluster can be reached at an address, after WAIT_S at most for each of its host's; "" if one can.

    >>> why_unreachable("auto"), why_unreachable("nonsense")
    ('', 'no HOST:PORT')
    """
    if address is None or address in BY_RAY:
        return ""
    found = ADDRESS.fullmatch(address)
    if not found or not 0 < int(found["port"]) < 65536:
        return "no HOST:PORT"
    try:
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), WAIT_S):
            return ""
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        reason = error.strerror if isinstance(error, OSError) else None
        return f"nothing answers there: {(reason or str(error) or type(error).__name__).lower()}"
