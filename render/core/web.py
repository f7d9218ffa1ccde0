"""Downloads from the web through requests: with bounds on size, time and tries, and plain errors.

requests takes passwords from ~/.netrc, proxies and certificates from the environment. Queries of addresses, which may be
signatures, stay out of messages and tracebacks. Link-local addresses, where clouds keep the credentials of a machine, are
never asked, and no redirect leads to another scheme than http and https, from https to http, or from the open web into a
private network.
"""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, ProtocolError

from render.core.urls import WebPath

__all__ = ["Version", "download"]

TRIES, CONNECT_TRIES = 6, 2  # of a request; of one that reaches no server
PAUSE_S, PAUSE_MAX_S = 0.5, 30.0  # before the next try, twice as long each time; longest that a server may ask for
CONNECT_S, READ_S = 5.0, 30.0  # longest wait for a connection, and for the next bytes
SLOW_S, SLOW_BYTES_S = 60.0, 1024  # slower than this, after this time, is given up
CHUNK = 2**20
REDIRECTS = 5
MOVED = {301, 302, 303, 307, 308}
PASSING = {408, 425, 429, 500, 502, 503, 504}
REASONS = {
    401: " (user name and password belong into ~/.netrc)",
    403: " (wrong credentials, an expired signature, or not for everybody?)",
    404: " (no such file)",
    410: " (no such file any more)",
}
METADATA = {"fd00:ec2::254", "100.100.100.200", "192.0.0.192"}  # of clouds, beside the link-local 169.254.169.254
PAGES = (b"<!doctype html", b"<html")


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


class _PassingError(Exception):
    """A fault that may be gone at the next try, after `pause_s` if the server asked for that."""

    def __init__(self, error: OSError, pause_s: float = 0.0) -> None:
        super().__init__()
        self.error, self.pause_s = error, pause_s


def download(path: WebPath, target: Path, most: int, known: Version | None = None) -> Version | None:
    """Write the file at an address to `target`, at most `most` bytes. Returns None if it is the `known` version still.

    Raises OSError with the reason: FileNotFoundError, PermissionError, ConnectionError, TimeoutError. An answer that breaks
    off goes on where it stopped, if the server allows that.
    """
    begun = Version()
    for number in range(TRIES):
        try:
            with requests.Session() as session, _opened(session, path, _conditions(known, begun, target)) as answer:
                if answer.status_code == 304:
                    return None
                begun = _version(answer)
                _write(path, answer, target, most)
                return replace(begun, size=target.stat().st_size)
        except _PassingError as fault:
            tries = CONNECT_TRIES if isinstance(fault, _NoServerError) else TRIES
            if number + 1 >= tries:
                raise fault.error from None
            time.sleep(max(fault.pause_s, PAUSE_S * 2**number))
    raise AssertionError


class _NoServerError(_PassingError):
    """No server answered at all."""


def _conditions(known: Version | None, begun: Version, target: Path) -> dict[str, str]:
    """Return the headers that ask for another version than the known one, or for the rest of the one that was begun."""
    have = target.stat().st_size if target.exists() else 0
    if have and begun.is_strong:
        return {"Range": f"bytes={have}-", "If-Range": begun.etag}
    if known and known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.modified} if known and known.modified else {}


@contextmanager
def _opened(session: requests.Session, path: WebPath, headers: dict[str, str]) -> Iterator[Any]:
    """Give the answer of 200, 206 or 304, its body not yet read, behind all redirects."""
    url, was_open = path.url, False
    for _ in range(REDIRECTS + 1):
        is_open = _check_address(path, url)
        if was_open and not is_open:
            raise PermissionError(f"{path}: required a file, got a redirect into a private network")
        was_open = was_open or is_open
        with _plain_errors(path):
            answer = session.get(
                url,
                headers={"Accept-Encoding": "identity", **headers},
                timeout=(CONNECT_S, READ_S),
                stream=True,
                allow_redirects=False,
            )
        with answer:
            if answer.status_code not in MOVED or "Location" not in answer.headers:
                _check_status(path, answer)
                yield answer
                return
            url = _moved(path, url, answer.headers["Location"])
    raise OSError(f"{path}: required a file, got more than {REDIRECTS} redirects")


def _moved(path: WebPath, url: str, location: str) -> str:
    """Return where a redirect leads. Raises PermissionError for what is no place on the web, and for the way out of TLS."""
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError:
        target = scheme = "nowhere"
    schemes = ("https",) if urlsplit(url).scheme == "https" else ("http", "https")
    if scheme not in schemes:
        got = f"a redirect to {scheme}:"
        raise PermissionError(f"{path}: required redirects to {' or '.join(schemes)}, got {got}")
    return target


def _check_address(path: WebPath, url: str) -> bool:
    """Return True for a host on the open web, False for one in a private network. Raises OSError for those not to be asked.

    Behind a proxy, which looks up the name, only an address written out is known.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    addresses = _written(host)
    if not addresses:
        if select_proxy(url, get_environ_proxies(url)):
            return True
        name = "no address"
        try:
            found = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            found, name = [], type(error).__name__
        if not found:
            raise ConnectionError(f"{path}: required a host that is known, got {host} ({name})") from None
        addresses = [ipaddress.ip_address(str(one[4][0]).partition("%")[0]) for one in found]
    plain = [getattr(address, "ipv4_mapped", None) or address for address in addresses]
    for one in plain:
        if one.is_link_local or one.is_multicast or one.is_unspecified or str(one) in METADATA:
            got = f"the address {one}, where clouds keep the credentials of their machines"
            raise PermissionError(f"{path}: required a server of files, got {got}")
    return all(one.is_global for one in plain)


def _written(host: str) -> list[Any]:
    """Return the address that a host is written as, in one of the forms that sockets take; none for a name."""
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    try:
        return [ipaddress.ip_address(socket.inet_aton(host))]
    except (OSError, UnicodeError):
        return []


def _check_status(path: WebPath, answer: Any) -> None:
    """Raise OSError for an answer without the file, and _PassingError where the next one may have it."""
    status = answer.status_code
    if status in (200, 206, 304):
        return
    text = f"{path}: required a file, got {status} {answer.reason or ''}".rstrip() + REASONS.get(status, "")
    if status in PASSING:
        asked = answer.headers.get("Retry-After", "")
        pause = min(float(asked), PAUSE_MAX_S) if asked.isascii() and asked.isdigit() else 0.0
        raise _PassingError(ConnectionError(f"{text} ({TRIES} times)"), pause)
    kind = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError, 410: FileNotFoundError}
    raise kind.get(status, OSError)(text)


def _version(answer: Any) -> Version:
    return Version(answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))


def _write(path: WebPath, answer: Any, target: Path, most: int) -> None:
    """Write the body of an answer, behind what is there if it is the rest of it."""
    is_rest = answer.status_code == 206 and target.exists()
    have = target.stat().st_size if is_rest else 0
    if is_rest and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        target.unlink()
        raise _PassingError(OSError(f"{path}: required the rest of a file, got another part"))
    stated = answer.headers.get("Content-Length", "")
    if stated.isdigit() and have + int(stated) > most:
        raise OSError(f"{path}: required at most {most:,} bytes, got {have + int(stated):,}")
    decode = not path.name.casefold().endswith(".gz")
    began = time.monotonic()
    with _plain_errors(path), target.open("ab" if is_rest else "wb") as file:
        for chunk in answer.raw.stream(CHUNK, decode_content=decode):
            if not have and _is_page(answer, chunk):
                raise OSError(f"{path}: required a file, got an HTML page (a log-in, or a page about the file?)")
            have += len(chunk)
            if have > most:
                raise OSError(f"{path}: required at most {most:,} bytes, got more")
            file.write(chunk)
            passed = time.monotonic() - began
            if passed > SLOW_S and have < passed * SLOW_BYTES_S:
                raise TimeoutError(f"{path}: required {SLOW_BYTES_S:,} bytes a second, got fewer")
    if "Content-Encoding" in answer.headers and decode:
        return
    total = answer.headers.get("Content-Range", "").rpartition("/")[2] if is_rest else stated
    if total.isdigit() and have != int(total):
        raise _PassingError(ConnectionError(f"{path}: required {int(total):,} bytes, got {have:,}"))


def _is_page(answer: Any, head: bytes) -> bool:
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().casefold()
    return kind in ("text/html", "application/xhtml+xml") or head[:512].lstrip().lower().startswith(PAGES)


@contextmanager
def _plain_errors(path: WebPath) -> Iterator[None]:
    """Raise the errors of requests and urllib3 as those of `download`, without the address that they quote."""
    try:
        yield
    except (requests.RequestException, HTTPError) as error:
        name = type(error).__name__
        raised: Exception = _PassingError(ConnectionError(f"{path}: required a whole file, got {name}"))
        if isinstance(error, requests.ConnectTimeout):
            raised = _NoServerError(TimeoutError(f"{path}: required a server that answers, got {name}"))
        elif "Timeout" in name:
            raised = _PassingError(TimeoutError(f"{path}: required an answer, got {name}"))
        elif isinstance(error, requests.exceptions.SSLError):
            hint = "the server's certificate is not trusted; REQUESTS_CA_BUNDLE names others"
            raised = ConnectionError(f"{path}: required TLS, got {name} ({hint})")
        elif isinstance(error, requests.ConnectionError) and not isinstance(error.args[0], ProtocolError):
            raised = _NoServerError(ConnectionError(f"{path}: required a server that answers, got {name}"))
        elif isinstance(error, ValueError):
            raised = OSError(f"{path}: required an address on the web, got {name}")
    else:
        return
    raise raised from None
