"""Downloads from the web: with bounds on size, time and tries. An answer that breaks off goes on where it stopped.

`web_request.py` has the rules of one request.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from render.core.urls import WebPath
from render.core.web_request import TRIES, NoServerError, PassingError, opened, plain_errors

__all__ = ["Version", "download"]

CONNECT_TRIES = 2  # of a request that reaches no server
PAUSE_S = 0.5  # before the next try, twice as long each time
SLOW_S, SLOW_BYTES_S = 60.0, 1024  # slower than this, for such a time, is given up
CHUNK = 2**20
DIGITS = 20  # of a number of bytes, fewer than these
HEAD_BYTES = 512  # of a file, which show that it is a page
PAGES = (b"<!doctype html", b"<html")
PAGE_TYPES = {"text/html", "application/xhtml+xml"}


@dataclass(frozen=True, slots=True)
class Version:
    """What tells a file that was changed from the one that was downloaded."""

    etag: str = ""
    modified: str = ""  # time of its last change, as the server wrote it
    size: int = 0  # bytes

    @property
    def is_strong(self) -> bool:
        """True for an ETag that holds byte for byte."""
        return bool(self.etag) and not self.etag.startswith("W/")


class _OtherPartError(PassingError):
    """The rest of a file that was begun can't be had: it begins anew."""


def download(path: WebPath, target: Path, most: int, known: Version | None = None) -> Version | None:
    """Write the file at an address to `target`, at most `most` bytes. Returns None if it is the `known` version still.

    Raises OSError with the reason: FileNotFoundError, PermissionError, ConnectionError, TimeoutError. An answer that breaks
    off goes on where it stopped, if the server allows that and has not packed it for the way.
    """
    begun: Version | None = None  # whose first bytes are in `target`
    for number in range(TRIES):
        try:
            with opened(path, _conditions(known, begun, target)) as answer:
                if answer.status_code == 304:
                    return None
                version = _version(answer) if answer.status_code == 200 else _checked_rest(path, answer, begun, target)
                begun = None if _is_packed(answer) else version  # a part of what was packed can't be gone on with
                _write(path, answer, target, most)
                return replace(version, size=target.stat().st_size)
        except PassingError as fault:
            tries = CONNECT_TRIES if isinstance(fault, NoServerError) else TRIES
            if number + 1 >= tries:
                raise fault.error from None
            if isinstance(fault, _OtherPartError):
                begun = None
            time.sleep(max(fault.pause_s, PAUSE_S * 2**number))
    raise AssertionError


def _conditions(known: Version | None, begun: Version | None, target: Path) -> dict[str, str]:
    """Return the headers that ask for another version than the known one, or for the rest of the one that was begun."""
    have = target.stat().st_size if target.exists() else 0
    if have and begun and begun.is_strong:
        return {"Range": f"bytes={have}-", "If-Range": begun.etag}
    if known and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.modified} if known and known.modified else {}


def _version(answer: Any) -> Version:
    """Return the version of an answer's file; its size is what the server says, 0 if it says nothing."""
    headers = answer.headers
    size = 0 if _is_packed(answer) else _number(headers.get("Content-Length", ""))
    return Version(headers.get("ETag", ""), headers.get("Last-Modified", ""), size)


def _checked_rest(path: WebPath, answer: Any, begun: Version | None, target: Path) -> Version:
    """Return the version that was begun. Raises _OtherPartError for an answer that is not the rest of it.

    A server may ignore `If-Range`, pack the rest for the way, or have another file by now.
    """
    assert begun
    have = target.stat().st_size
    stated, _, total = answer.headers.get("Content-Range", "").partition("/")
    fits = answer.status_code == 206 and stated.startswith(f"bytes {have}-") and not _is_packed(answer)
    fits = fits and answer.headers.get("ETag", "") == begun.etag
    if not fits or (begun.size and _number(total) not in (0, begun.size)):
        raise _OtherPartError(OSError(f"{path}: required the rest of a file, got another part"))
    return begun


def _is_packed(answer: Any) -> bool:
    return answer.headers.get("Content-Encoding", "identity").strip().casefold() not in ("", "identity")


def _number(text: str) -> int:
    """Return a number of bytes in a header, 0 for what is none or is beyond all files."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < DIGITS else 0


def _write(path: WebPath, answer: Any, target: Path, most: int) -> None:
    """Write the body of an answer, behind what is there if it is the rest of it."""
    is_rest = answer.status_code == 206
    have = target.stat().st_size if is_rest else 0
    stated = answer.headers.get("Content-Length", "")
    if have + _number(stated) > most:
        raise OSError(f"{path}: required at most {most:,} bytes, got {have + _number(stated):,}")
    decode = not path.name.casefold().endswith(".gz")
    head, pace = b"", _Pace(path)
    _check_page(path, answer, head)
    with plain_errors(path), target.open("ab" if is_rest else "wb") as file:
        while chunk := answer.raw.read1(CHUNK, decode_content=decode):  # what has come, however little
            if not is_rest and len(head) < HEAD_BYTES:
                head += chunk[:HEAD_BYTES]
                _check_page(path, answer, head)
            have += len(chunk)
            if have > most:
                raise OSError(f"{path}: required at most {most:,} bytes, got more")
            file.write(chunk)
            pace.check(len(chunk))
    if _is_packed(answer) and decode:
        return
    total = _number(answer.headers.get("Content-Range", "").rpartition("/")[2] if is_rest else stated)
    if total and have != total:  # of a body that should be empty nothing more is read
        raise PassingError(ConnectionError(f"{path}: required {total:,} bytes, got {have:,}"))


class _Pace:
    """The speed of a body in stretches of SLOW_S, so that no fast beginning makes up for a trickle."""

    def __init__(self, path: WebPath) -> None:
        self._path, self._since, self._bytes = path, time.monotonic(), 0

    def check(self, size: int) -> None:
        """Count the bytes that came. Raises TimeoutError at the end of a stretch that was too slow."""
        self._bytes += size
        passed = time.monotonic() - self._since
        if passed > SLOW_S:
            if self._bytes < passed * SLOW_BYTES_S:
                raise TimeoutError(f"{self._path}: required {SLOW_BYTES_S:,} bytes a second, got fewer")
            self._since, self._bytes = time.monotonic(), 0


def _check_page(path: WebPath, answer: Any, head: bytes) -> None:
    """Raise OSError for a page that is shown in the place of the file."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    if kind in PAGE_TYPES or head[:HEAD_BYTES].lstrip().lower().startswith(PAGES):
        raise OSError(f"{path}: required a file, got an HTML page (a log-in, or a page about the file?)")
