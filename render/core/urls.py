"""Paths of inputs that may be URLs: of the web (`https://`), in a bucket (`s3://`, `gs://`, `az://`), or here.

Standard library only. Nothing here asks a server: `inputs.py` fetches.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PosixPath
from typing import Any, NoReturn
from urllib.parse import quote, unquote, urlsplit

from render.core.objects import ObjectPath, any_path
from render.core.secrets import without_secrets

__all__ = ["WebPath", "input_path", "is_below", "is_url", "media_path", "plain_url"]

WEB = re.compile(r"https?:/", re.IGNORECASE)
ANY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")
HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
SEGMENT = re.compile(r"[^\x00-\x20\x7f\\#?]*")
DECODINGS = 3  # of a part of an address that are tried; what is packed more often is refused
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
SAFE = "/%!$&'()*+,;=:@~"  # signs of a cell that stand in an address as they are; a blank becomes %20
SLASH = "\x1f"  # stands for a slash in a query, which is one part of the path


class WebPath(PosixPath):
    """The address of a file on the web, `https://HOST/FOLDER/NAME?QUERY`. It is a `Path`, so that it goes where others go.

    Only `fetch` of `web.py` reads it; what would touch a disk raises TypeError. The query may hold a signature: `str` shows
    `?…` instead. `url` and a pickle of the path have it.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> WebPath:
        """Return the path of an address; `https:/host/…` is taken, too, as pathlib drops a slash. Raises ValueError."""
        required = f"required https://HOST/PATH, got {without_secrets(text)!r}"
        scheme, _, rest = text.partition(":")
        address, mark, query = rest.lstrip("/").partition("?")
        host, *segments = address.split("/")
        if "@" in rest.lstrip("/").partition("/")[0]:
            raise ValueError(f"{required} (user name and password belong into ~/.netrc)")
        try:
            name, port = host, urlsplit(f"{scheme}://{host}").port
        except ValueError:
            name, port = "", None
        if port is not None:
            name = host.rpartition(":")[0]
        parts = [segment for segment in segments if segment]
        bad = any(not SEGMENT.fullmatch(part) or _leads_elsewhere(part) for part in parts)
        bad = bad or (mark and not parts) or not SEGMENT.fullmatch(query.replace("?", ""))
        if not WEB.match(text) or not HOST.fullmatch(name) or bad:
            raise ValueError(required)
        path = cls(f"{scheme.lower()}:", host.lower(), *parts)
        return path.with_name(f"{path.name}?{query.replace('/', SLASH)}") if query else path

    @property
    def url(self) -> str:
        """The whole address, with its query."""
        return f"{self.parts[0]}//" + "/".join(self.parts[1:]).replace(SLASH, "/")

    @property
    def query(self) -> str:
        """What follows the question mark, "" for none."""
        return self.url.partition("?")[2]

    @property
    def name(self) -> str:
        return super().name.partition("?")[0]

    def __str__(self) -> str:
        address, mark, _ = self.url.partition("?")
        return f"{address}?…" if mark else address

    def __repr__(self) -> str:
        return f"WebPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WebPath) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __fspath__(self) -> NoReturn:
        raise TypeError(f"{self}: required a local path, got a web address")

    def absolute(self) -> WebPath:
        return self

    def is_file(self, **_: Any) -> bool:
        return True

    def is_dir(self, **_: Any) -> bool:
        return False


def _leads_elsewhere(segment: str) -> bool:
    """Return True for a part of an address that a server may take for a step up or for none, however it is packed.

    >>> [_leads_elsewhere(part) for part in ("a%20b", "%2e%2e", "a%2f..%2fb", "%252e%252e", "..;x", "a..b", "100%")]
    [False, True, True, True, True, False, False]
    """
    decoded = segment
    for _ in range(DECODINGS):  # a proxy may decode it once, and the server behind it once more
        decoded = unquote(decoded)
    steps = (step.partition(";")[0].strip() for step in re.split(r"[/\\]", decoded))
    bad = CONTROL.search(decoded) is not None or decoded != unquote(decoded)
    return bad or any(step in {".", ".."} for step in steps)


def is_url(text: str | Path) -> bool:
    """Return True for a web address and a path in a bucket, and for a text that looks like one of any scheme."""
    return isinstance(text, WebPath | ObjectPath) or ANY.match(str(text)) is not None


def input_path(text: str | Path) -> Path:
    """Return the path of an input: a WebPath, an ObjectPath, or a local one. Raises ValueError for other URLs.

    >>> input_path("https://host/a.csv?signature=x"), input_path("s3://bucket/a.csv"), input_path("a.csv")
    (WebPath('https://host/a.csv?…'), ObjectPath('s3://bucket/a.csv'), PosixPath('a.csv'))
    """
    if isinstance(text, WebPath | ObjectPath):
        return text
    if WEB.match(str(text)):
        return WebPath.parse(str(text))
    try:
        return any_path(text)
    except ValueError as error:
        raise ValueError(str(error).replace("required ", "required https://HOST/PATH or ", 1)) from None


def plain_url(text: str) -> Path:
    """Return the path of a URL without a query: it is stored as it stands. Raises ValueError."""
    path = input_path(text) if is_url(text) else None
    if path is None or (isinstance(path, WebPath) and path.query):
        hint = " (a signature would be stored with every frame)" if path else ""
        required = f"required a URL without a query, https://HOST/PATH or s3://, gs:// or az://BUCKET/PREFIX{hint}"
        raise ValueError(f"{required}, got {without_secrets(text)!r}")
    return path


def is_below(path: Path, folder: Path) -> bool:
    """Return True for a URL below another one, of the same scheme, host and port, part by part.

    >>> is_below(input_path("https://host/a/b.png"), input_path("https://host/a"))
    True
    >>> is_below(input_path("https://host/ab.png"), input_path("https://host/a"))
    False
    """
    return path.parts[: len(folder.parts)] == folder.parts and len(path.parts) > len(folder.parts)


def media_path(root: Path, cell: str) -> Path:
    """Return the path of a start image or a sound as a cell names it: a URL, or a path below the folder of media.

    Raises ValueError for a URL that can't be used, and for a relative path that leaves a folder which is a URL.
    """
    if is_url(cell):
        return plain_url(cell)
    if not is_url(root):
        return root / cell
    if os.path.isabs(cell) or ".." in Path(cell).parts:
        raise ValueError(f"required a path inside {root}, got {cell!r}")
    return input_path(f"{root}/{quote(cell, SAFE) if isinstance(root, WebPath) else cell}")
