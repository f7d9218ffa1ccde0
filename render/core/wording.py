"""Words that messages share: commands to go on with, and numbers of things. Standard library only."""

from __future__ import annotations

import shlex

__all__ = ["counted", "one_line", "plain_reason", "printable", "to_go_on"]


def to_go_on(command: str, *arguments: object) -> str:
    """Return a `render` command as messages name it: quoted for a shell, between backticks.

    >>> to_go_on("repair", "out/my night")
    "`render repair 'out/my night'`"
    """
    return f"`{shlex.join(['render', command, *map(str, arguments)])}`"


def plain_reason(error: OSError) -> str:
    """Return an error of the system as messages show it: where, and why.

    >>> plain_reason(OSError(30, "Read-only file system", "out/.run/lock"))
    'out/.run/lock: read-only file system'
    """
    if error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror[:1].lower()}{error.strerror[1:]}"
    return str(error)


def one_line(error: object) -> str:
    r"""Return an error on one line: those of Arrow may have several.

    >>> one_line(OSError("Couldn't deserialize thrift: end\nDeserializing page header failed.\n"))
    "Couldn't deserialize thrift: end Deserializing page header failed."
    """
    return " ".join(str(error).split())


def printable(line: str) -> str:
    r"""Return a line with its control characters written out: a terminal would obey them.

    >>> printable("a\x1b[2J")
    'a\\x1b[2J'
    """
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number with its noun; `several` is the plural where that is not `one` with an s.

    >>> counted(1, "frame"), counted(1200, "frame"), counted(2, "frame is", "frames are")
    ('1 frame', '1,200 frames', '2 frames are')
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
