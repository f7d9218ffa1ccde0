"""One request for a file on the web, through requests, behind all redirects; its faults are plain errors.

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
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import HTTPError, ProtocolError

from render.core.many import READERS
from render.core.urls import WebPath

__all__ = ["TRIES", "NoServerError", "PassingError", "opened", "plain_errors"]

TRIES = 6  # of a request
CONNECT_S, READ_S = 5.0, 30.0  # longest wait for a connection, and for the next bytes
PAUSE_MAX_S = 30.0  # longest pause that a server may ask for
HOSTS = 16  # to which connections are kept
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
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # whose last 32 bits are an address of IPv4


class PassingError(Exception):
    """A fault that may be gone at the next try, after `pause_s` if the server asked for that."""

    def __init__(self, error: OSError, pause_s: float = 0.0) -> None:
        super().__init__()
        self.error, self.pause_s = error, pause_s


class NoServerError(PassingError):
    """No server answered at all."""


@contextmanager
def opened(path: WebPath, headers: dict[str, str]) -> Iterator[Any]:
    """Give the answer with the file, or to `headers` with conditions a 206, 304 or 416; its body is not yet read.

    Raises OSError, and PassingError for what may be gone at the next try.
    """
    url, was_open = path.url, False
    with _session() as session:
        for _ in range(REDIRECTS + 1):
            is_open = _check_address(path, url)
            if was_open and not is_open:
                raise PermissionError(f"{path}: required a file, got a redirect into a private network")
            was_open = was_open or is_open
            with plain_errors(path):
                answer = session.get(
                    url,
                    headers={"Accept-Encoding": "identity", **headers},
                    timeout=(CONNECT_S, READ_S),
                    stream=True,
                    allow_redirects=False,
                )
            with answer:
                if answer.status_code not in MOVED or "Location" not in answer.headers:
                    _check_status(path, answer, headers)
                    yield answer
                    return
                url = _moved(path, url, answer.headers["Location"])
    raise OSError(f"{path}: required a file, got more than {REDIRECTS} redirects")


@contextmanager
def _session() -> Iterator[requests.Session]:
    """Give a session with cookies of its own and the connections of all: another file of a host needs no handshake."""
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, _connections())
    yield session  # closing it would close the connections


@lru_cache(maxsize=1)
def _connections() -> HTTPAdapter:
    return HTTPAdapter(pool_connections=HOSTS, pool_maxsize=READERS)


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
    plain = [_behind(address) for address in addresses]
    for one in plain:
        if one.is_link_local or one.is_multicast or one.is_unspecified or str(one) in METADATA:
            got = f"the address {one}, where clouds keep the credentials of their machines"
            raise PermissionError(f"{path}: required a server of files, got {got}")
    return all(one.is_global for one in plain)


def _behind(address: Any) -> Any:
    """Return the address of IPv4 that one of IPv6 leads to, if it is of such a kind; else the address itself."""
    if address.version == 6 and address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address


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


def _check_status(path: WebPath, answer: Any, headers: dict[str, str]) -> None:
    """Raise OSError for an answer without the file, and PassingError where the next one may have it."""
    status = answer.status_code
    asked_for_rest, asked_if_other = "Range" in headers, {"If-None-Match", "If-Modified-Since"} & headers.keys()
    if status == 200 or (status in (206, 416) and asked_for_rest) or (status == 304 and asked_if_other):
        return
    text = f"{path}: required a file, got {status} {answer.reason or ''}".rstrip() + REASONS.get(status, "")
    if status in PASSING:
        raise PassingError(ConnectionError(f"{text} ({TRIES} times)"), _pause_s(answer.headers.get("Retry-After", "")))
    kind = {401: PermissionError, 403: PermissionError, 404: FileNotFoundError, 410: FileNotFoundError}
    raise kind.get(status, OSError)(text)


def _pause_s(asked: str) -> float:
    """Return the pause that a server asks for, in seconds or until a time, within bounds.

    >>> _pause_s("7"), _pause_s("Wed, 21 Oct 2099 07:28:00 GMT"), _pause_s("soon")
    (7.0, 30.0, 0.0)
    """
    try:
        wanted = float(asked) if asked.isascii() and asked.isdigit() else parsedate_to_datetime(asked).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(wanted if asked.isdigit() else wanted - time.time(), 0.0), PAUSE_MAX_S)


@contextmanager
def plain_errors(path: WebPath) -> Iterator[None]:
    """Raise the errors of requests and urllib3 as those of `download`, without the address that they quote."""
    try:
        yield
    except (requests.RequestException, HTTPError) as error:
        name = type(error).__name__
        raised: Exception = PassingError(ConnectionError(f"{path}: required a whole file, got {name}"))
        if isinstance(error, requests.ConnectTimeout):
            raised = NoServerError(TimeoutError(f"{path}: required a server that answers, got {name}"))
        elif "Timeout" in name:
            raised = PassingError(TimeoutError(f"{path}: required an answer, got {name}"))
        elif isinstance(error, requests.exceptions.SSLError):
            hint = "the server's certificate is not trusted; REQUESTS_CA_BUNDLE names others"
            raised = ConnectionError(f"{path}: required TLS, got {name} ({hint})")
        elif isinstance(error, requests.ConnectionError) and not isinstance(error.args[0], ProtocolError):
            raised = NoServerError(ConnectionError(f"{path}: required a server that answers, got {name}"))
        elif name == "InvalidHeader":  # two sizes, for one
            raised = OSError(f"{path}: required an answer with headers that are right, got {name}")
        elif isinstance(error, ValueError):
            raised = OSError(f"{path}: required an address on the web, got {name}")
    else:
        return
    raise raised from None
