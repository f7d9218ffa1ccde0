"""Who is let in: the token, the cookie, the Host header, changes from other sites; and what a page may load."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from looking import COOKIE, OURS, STILLS, TOKEN, WALK, Looked, Page, client_of, looking, paint_store

from render.view.guard import POLICY


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    with looking(paint_store(tmp_path_factory.mktemp("guard"), WALK + STILLS)) as found:
        yield found


PATHS = ["/", "/images", "/walks", "/thumb/x", "/static/app.js", "/nothing"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cookies", [{}, {COOKIE: "wrong"}, {COOKIE: ""}, {"other": TOKEN}])
def test_nothing_is_shown_without_the_token(looked: Looked, path: str, cookies: dict[str, str]) -> None:
    client = client_of(looked.viewer, cookies)
    for address in (path, f"{path}?token=wrong", f"{path}?token=", f"{path}?token=ä"):
        assert client.get(address).status_code == 403
    assert client.post("/mark", json={}, headers=OURS).status_code == 403
    assert client.post(f"/mark?token={TOKEN}", json={}, headers=OURS).status_code == 403


def test_the_token_of_the_address_becomes_a_cookie(looked: Looked) -> None:
    client = client_of(looked.viewer, {})
    answer = client.get(f"/images?c=thing&o=is&v=a%26b&token={TOKEN}")
    assert answer.status_code == 200
    cookie = answer.headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    (refresh,) = Page(answer.text).all("meta", **{"http-equiv": "refresh"})
    assert refresh["content"] == "0; url=/images?c=thing&o=is&v=a%26b"
    assert TOKEN not in answer.text
    assert client.get("/images").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:9000", "[::1]:8000", "localhost"])
def test_hosts_of_this_machine_are_let_in(looked: Looked, host: str) -> None:
    assert looked.client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil:8000", "192.168.0.7", "", "["]
)
def test_a_name_that_was_bound_to_this_machine_is_not(looked: Looked, host: str) -> None:
    assert looked.client.get("/", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        OURS | {"Origin": "http://evil.example"},
        OURS | {"Origin": "http://127.0.0.1:9999"},
        OURS | {"Origin": "null"},
        OURS | {"Sec-Fetch-Site": "cross-site"},
        OURS | {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_no_other_site_marks(looked: Looked, headers: dict[str, str]) -> None:
    body = {"keys": looked.keys()[:1], "mark": "reject"}
    assert looked.client.post("/mark", json=body, headers=headers).status_code == 403
    assert looked.viewer.marks.counts()["reject"] == 0


def test_its_own_pages_do(looked: Looked) -> None:
    headers = OURS | {"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}
    assert (
        looked.client.post("/mark", json={"keys": looked.keys()[:1], "mark": "keep"}, headers=headers).status_code
        == 200
    )


def addresses(looked: Looked) -> list[str]:
    key = looked.keys()[0]
    parts = ["/overview/status", "/overview/night", "/images/part", "/values?c=thing", "/news", "/walks/part"]
    walk = ["/walk?name=dog-to-cat", "/walk/distances?name=dog-to-cat"]
    one = [f"/frame/{key}", f"/frame/{key}/row", f"/thumb/{key}", f"/image/{key}", f"/compare?seeds={key}"]
    shapes = ["/images?view=stacks", "/images?view=table&x=thing&y=seed", "/images?c=nothing&o=is&v=1"]
    return ["/", "/images", "/walks", *parts, *walk, *one, *shapes, "/static/app.css", "/frame/none", "/nothing"]


def test_every_answer_says_what_a_page_may_load(looked: Looked) -> None:
    for path in addresses(looked):
        headers = looked.client.get(path).headers
        assert headers["content-security-policy"] == POLICY, path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    assert "unsafe" not in POLICY
    assert "default-src 'none'" in POLICY


def test_no_page_has_a_script_or_a_style_of_its_own(looked: Looked) -> None:
    for path in addresses(looked):
        answer = looked.client.get(path, headers={"Accept": "text/html"})
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        for tag, attributes in Page(answer.text).elements:
            assert tag != "style", path
            assert "style" not in attributes, path
            assert not any(name.startswith(("on", "hx-on")) for name in attributes), path
            assert tag != "script" or attributes.get("src", "").startswith("/static/"), path
            for name in ("src", "href", "action", "hx-get"):
                assert not re.match(r"\w+:|//", attributes.get(name, "")), path


def test_answers_are_kept_only_where_they_never_change(looked: Looked) -> None:
    key = looked.keys()[0]
    for path in addresses(looked):
        kept = looked.client.get(path).headers["cache-control"]
        assert ("immutable" in kept) == path.startswith((f"/thumb/{key}", f"/image/{key}")), path


def test_no_file_but_sheets_and_animations_is_served(looked: Looked, tmp_path: Path) -> None:
    for name in (".run/job.yaml", "../table.jsonl", "sheets/../.run/job.yaml", "data", "/etc/passwd", "README.md"):
        assert looked.client.get(f"/file/{name}").status_code == 404
    for name in ("../templates/base.html", "..%2Fserver.py", "%2e%2e/server.py"):
        assert looked.client.get(f"/static/{name}").status_code in (404, 405)
