"""Look whether anything answers at the address of a Ray cluster, before Ray tries for minutes."""

from __future__ import annotations

import os
import re
import socket

from render.core import JobError, shorten

__all__ = ["check_address", "why_unreachable"]

WAIT_S = 3.0
ADDRESS = re.compile(r"(?:ray://)?(?P<host>[^\s:/\[\]]+|\[[0-9a-fA-F:.%]+\]):(?P<port>[0-9]{1,5})")
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # of HTTP/2, RFC 9113: what a client says first
SETTINGS = b"\0\0\0\4\0\0\0\0\0"  # length, kind, flags, stream: both ends send such a frame next
GREETING = PREFACE + SETTINGS
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
        with socket.create_connection((found["host"].strip("[]"), int(found["port"])), WAIT_S) as link:
            return "" if _speaks_grpc(link) else "something answers there, but it is not Ray"
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that no host can have
        reason = error.strerror if isinstance(error, OSError) else None
        return f"nothing answers there: {(reason or str(error) or type(error).__name__).lower()}"


def _speaks_grpc(link: socket.socket) -> bool:
    """Return whether the other end greets as an HTTP/2 server does, which Ray's are; with TLS that is not known."""
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return True
    link.settimeout(WAIT_S)
    try:
        link.sendall(GREETING)
        answer = b""
        while len(answer) < len(GREETING) - len(PREFACE) and (more := link.recv(64)):
            answer += more
    except OSError:
        return False
    return answer[3:4] == SETTINGS[3:4] and answer[5:9] == SETTINGS[5:9]
