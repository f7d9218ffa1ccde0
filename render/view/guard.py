"""Keep others out of the viewer: a token, the Host header, the origin of changes, and what a page may load."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["POLICY", "Guard"]

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
POLICY = "; ".join(
    [
        "default-src 'none'",
        *(
            f"{kind} 'self'"
            for kind in ("script-src", "style-src", "img-src", "media-src", "connect-src", "form-action")
        ),
        *(f"{kind} 'none'" for kind in ("base-uri", "frame-ancestors", "object-src")),
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# A redirect would not do: a browser that follows a link of another site sends no strict cookie with it.
ENTER = (
    '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>render</title>'
    '<link rel="icon" href="/static/icon.svg">'
    '<meta http-equiv="refresh" content="0; url={url}">'
)
NO_TOKEN = "403: required the token that `render view` prints with the address"


class Guard:
    """ASGI middleware around the whole site.

    A request needs a Host of this machine, which a name that was bound to 127.0.0.1 lately is not (DNS rebinding), and
    the token, in the address once and in a cookie after that. A request that changes something needs the site's own
    origin and a header that no form of another site can send.
    """

    def __init__(self, app: ASGIApp, token: str, cookie: str) -> None:
        self._app, self._token, self._cookie = app, token, cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        answer = self._answer(Request(scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (answer or self._app)(scope, receive, send_with_headers)

    def _answer(self, request: Request) -> Response | None:
        """Return the answer to a request that is not let through."""
        if not _is_loopback(f"//{request.headers.get('host', '')}"):
            return PlainTextResponse("403: required an address of this machine as Host", 403)
        if not self._knows(request.cookies.get(self._cookie, "")):
            return self._enter(request)
        if "token" in request.query_params and request.method == "GET":
            return self._enter(request)
        if request.method not in ("GET", "HEAD") and not _is_own(request.headers):
            return PlainTextResponse("403: required a request of this site's own pages", 403)
        return None

    def _enter(self, request: Request) -> Response:
        """Return the page that takes the token of an address into a cookie; a refusal without the right one."""
        if request.method != "GET" or not self._knows(request.query_params.get("token", "")):
            return PlainTextResponse(NO_TOKEN, 403)
        url = f"{quote(request.url.path)}?{urlencode(_without_token(request.url.query))}".rstrip("?")
        page = HTMLResponse(ENTER.format(url=url.replace("&", "&amp;").replace('"', "&quot;")))
        page.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
        return page

    def _knows(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())


def _without_token(query: str) -> list[tuple[str, str]]:
    return [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != "token"]


def _is_loopback(url: str) -> bool:
    try:
        return urlsplit(url).hostname in LOOPBACK
    except ValueError:
        return False


def _is_own(headers: Headers) -> bool:
    """Return True for a request that a page of this site has made."""
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers["host"]:
        return False
    return headers.get("x-render") == "1" and headers.get("sec-fetch-site", "same-origin") == "same-origin"
