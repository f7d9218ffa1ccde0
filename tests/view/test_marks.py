"""Marks: what a change does, where it is kept, and what is lost when the server is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import pytest
from looking import OURS, STILLS, WALK, Looked, Page, looking, paint_store
from stores import wait_until

from render.catalog import read_marks, write_marks
from render.view import marks as marking
from render.view.marks import Mark


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_store(tmp_path_factory.mktemp("marks"), WALK + STILLS)


@pytest.fixture
def looked(painted: Path, tmp_path: Path) -> Iterator[Looked]:
    with looking(shutil.copytree(painted, tmp_path / "out")) as found:
        yield found


def kept(out: Path) -> dict[str, dict[str, Any]]:
    """What stands in the file, read by DuckDB."""
    file = out / "marks.parquet"
    rows = duckdb.connect().read_parquet(str(file)).to_arrow_table().to_pylist() if file.exists() else []
    return {row.pop("key"): row for row in rows}


def test_a_mark_is_seen_at_once_and_kept_soon(looked: Looked) -> None:
    first, second, *_ = looked.keys()
    answer = looked.post("/mark", keys=[first], mark="keep")
    assert answer["marks"] == {first: {"mark": "keep", "rating": None, "note": None}}
    looked.post("/mark", keys=[first, second], rating=4)
    looked.post("/mark", keys=[second], note="two heads")
    assert Page(looked.get("/images?c=mark&o=is&v=keep")).cells == [first]
    assert Page(looked.get("/images?c=rating&o=min&v=4")).cells == [first, second]
    assert Page(looked.get("/images?c=note&o=has&v=HEADS")).cells == [second]
    (cell,) = Page(looked.get("/images")).all("article", **{"data-key": first})
    assert (cell["data-mark"], cell["data-rating"]) == ("keep", "4")
    wait_until(lambda: second in kept(looked.viewer.out), "the file")
    found = kept(looked.viewer.out)
    assert (found[first]["mark"], found[first]["rating"], found[second]["note"]) == ("keep", 4, "two heads")


def test_changes_are_taken_back_one_by_one(looked: Looked) -> None:
    first, second, *_ = looked.keys()
    looked.post("/mark", keys=[first], mark="keep")
    looked.post("/mark", keys=[first, second], mark="reject")
    looked.post("/mark", keys=[second], note="x")
    assert looked.post("/undo")["marks"] == {second: {"mark": "reject", "rating": None, "note": None}}
    undone = looked.post("/undo")["marks"]
    assert {key: one["mark"] for key, one in undone.items()} == {first: "keep", second: None}
    assert looked.post("/undo")["marks"][first]["mark"] is None
    assert looked.post("/undo")["marks"] == {}
    assert looked.viewer.marks.counts() == {"keep": 0, "reject": 0, "rating": 0, "note": 0}


@pytest.mark.parametrize(
    "body",
    [
        {"keys": ["KEY"], "mark": "maybe"},
        {"keys": ["KEY"], "rating": 6},
        {"keys": ["KEY"], "rating": True},
        {"keys": ["KEY"], "rating": "3"},
        {"keys": ["KEY"], "note": "x" * 2001},
        {"keys": ["KEY"], "note": 3},
        {"keys": ["KEY"], "key": "x"},
        {"keys": ["KEY", "none"], "mark": "keep"},
        {"keys": [], "mark": "keep"},
        {"keys": "KEY", "mark": "keep"},
        {"mark": "keep"},
        [],
        "x",
        None,
    ],
)
def test_wrong_changes_are_refused(looked: Looked, body: Any) -> None:
    key = looked.keys()[0]
    if isinstance(body, dict) and isinstance(body.get("keys"), list):
        body = body | {"keys": [key if one == "KEY" else one for one in body["keys"]]}
    answer = looked.client.post("/mark", json=body, headers=OURS)
    assert answer.status_code == 400, answer.text
    assert looked.viewer.marks.of(key) == Mark()


@pytest.mark.parametrize(
    "body",
    [
        r'{"keys": ["KEY"], "note": "\ud800"}',
        r'{"keys": ["\ud800"], "mark": "keep"}',
        "[" * 100_000,
    ],
)
def test_what_no_file_takes_is_refused_and_later_marks_are_kept(looked: Looked, body: str) -> None:
    first, second, *_ = looked.keys()
    answer = looked.client.post("/mark", content=body.replace("KEY", first), headers=OURS)
    assert answer.status_code == 400, answer.text
    looked.post("/mark", keys=[second], mark="keep")
    wait_until(lambda: second in kept(looked.viewer.out), "the mark in the file")
    assert looked.viewer.marks.problem == ""
    assert looked.post("/undo")["marks"].keys() == {second}
    assert looked.post("/undo")["marks"] == {}


def test_a_change_has_a_bound(looked: Looked) -> None:
    assert looked.client.post("/mark", content=b"x" * 300_000, headers=OURS).status_code == 413


def test_marks_are_there_when_the_output_is_opened_again(looked: Looked) -> None:
    key = looked.keys()[3]
    looked.post("/mark", keys=[key], mark="reject", rating=2, note="ä\n🚀")
    looked.viewer.marks.close()
    with looking(looked.viewer.out) as again:
        found = again.viewer.marks.of(key)
        assert (found.mark, found.rating, found.note) == ("reject", 2, "ä\n🚀")
        assert Page(again.get("/images?c=mark&o=is&v=reject")).cells == [key]


def test_two_servers_lose_no_mark_of_each_other(looked: Looked) -> None:
    one, two, *_ = looked.keys()
    with looking(looked.viewer.out) as other:
        looked.post("/mark", keys=[one], mark="keep")
        wait_until(lambda: one in kept(looked.viewer.out), "the first file")
        other.post("/mark", keys=[two], mark="reject")
        wait_until(lambda: two in kept(looked.viewer.out), "the second file")
        assert {key: row["mark"] for key, row in kept(looked.viewer.out).items()} == {one: "keep", two: "reject"}


def test_a_disk_that_is_full_is_said_and_tried_again(looked: Looked, monkeypatch: pytest.MonkeyPatch) -> None:
    write, full = write_marks, [True]

    def full_at_first(out: Path, table: Any) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(out, table)

    monkeypatch.setattr(marking, "write_marks", full_at_first)
    monkeypatch.setattr(marking, "RETRY_S", 0.05)
    key = looked.keys()[0]
    looked.post("/mark", keys=[key], mark="keep")
    wait_until(lambda: looked.viewer.marks.problem, "the problem")
    assert "No space left" in Page(looked.get("/news")).text
    full.clear()
    wait_until(lambda: key in kept(looked.viewer.out), "the file")
    wait_until(lambda: not looked.viewer.marks.problem, "the end of the problem")


@pytest.fixture
def serve(looked: Looked) -> Iterator[Callable[[], tuple[subprocess.Popen[str], httpx2.Client]]]:
    """Start `render view` as its users do; gives the process and a client that has the cookie."""
    started: list[Any] = []

    def start() -> tuple[subprocess.Popen[str], httpx2.Client]:
        command = [sys.executable, "-m", "render", "view", str(looked.viewer.out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        client = httpx2.Client(base_url=address.partition("/?")[0], headers=OURS)
        started.extend([process.stdout, process.stderr, client])
        assert client.get(f"/?{address.partition('?')[2]}").status_code == 200
        return process, client

    yield start
    for one in started:
        one.close()


def test_a_server_that_is_killed_has_lost_a_second_at_most(
    looked: Looked, serve: Callable[[], tuple[subprocess.Popen[str], httpx2.Client]]
) -> None:
    process, client = serve()
    keys = looked.keys()
    for key in keys[:9]:
        assert client.post("/mark", json={"keys": [key], "mark": "keep"}).status_code == 200
    wait_until(lambda: set(keys[:9]) <= kept(looked.viewer.out).keys(), "the file")
    assert marking.WRITE_S < 1  # what is promised, less what a write takes
    client.post("/mark", json={"keys": [keys[9]], "mark": "keep"})
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    found = read_marks(looked.viewer.out)["key"].to_pylist()
    assert set(keys[:9]) <= set(found) <= set(keys[:10])
    assert not list(looked.viewer.out.glob(".partial-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_is_stopped_has_kept_all(
    looked: Looked, serve: Callable[[], tuple[subprocess.Popen[str], httpx2.Client]], number: int
) -> None:
    process, client = serve()
    key = looked.keys()[0]
    client.post("/mark", json={"keys": [key], "mark": "keep"})
    process.send_signal(number)
    assert process.wait(20) == 0
    assert key in kept(looked.viewer.out)
    assert process.stderr is not None
    assert process.stderr.read() == ""
