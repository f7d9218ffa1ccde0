"""Errors for users: input that is refused before anything starts, and runs that can't continue."""

from __future__ import annotations

from render.core.secrets import without_secrets

__all__ = ["InputError", "JobError", "ManifestError", "ModelError", "RunError", "StoreError", "shorten"]


LINE_MAX = 1200  # characters of a line of an error; the last third is kept as well
VALUE_MAX = 120  # characters of a value in an error


def shorten(value: object) -> str:
    """Return a value as an error shows it: on one line, its beginning and its end if it is longer than VALUE_MAX.

    >>> shorten("a" * 500)[76:87]
    'aaaa … aaaa'
    """
    try:
        text = str(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list inside of itself
        text = f"a {type(value).__name__} that can't be written out"
    return _middle_out(" ".join(text.splitlines()), VALUE_MAX)


def _middle_out(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[len(text) - most // 3 + 3 :]}"


class InputError(ValueError):
    """Something the user gave can't be used; nothing has started and nothing is lost.

    No line of its message is longer than LINE_MAX, whatever path or prompt it quotes. URLs in it have no passwords and
    queries.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(_middle_out(line, LINE_MAX) for line in without_secrets(message).split("\n")))


class ManifestError(InputError):
    """The rows of a manifest that can't be rendered, all at once."""


class JobError(InputError):
    """A job file, an override or a setting that can't be used."""


class ModelError(InputError):
    """A model that is not there, is not safe to load, or is of a kind not supported."""


class StoreError(InputError):
    """An output folder that does not fit the job, or whose content is not what was committed."""


class RunError(RuntimeError):
    """A run that can't go on; what is committed stays, and the same command resumes it."""

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))
