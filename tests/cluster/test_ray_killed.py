"""A Ray that is killed while a run uses it: it is started anew, and the run goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import light_workers
import pytest
import ray
from light_workers import ONE_CPU, Painter, Painting, Watch, make_units, stored, tombs
from stores import Finished, command, environment, pixels, run_command, wait_until
from stores import processes_of as processes_of_tmp

from render.cluster.driver import RESTARTS_MAX, Cluster
from render.cluster.guardian import processes_of
from render.cluster.local_ray import PREFIX, RayLostError
from render.cluster.ray_link import END_S, RayLink
from render.core.errors import RunError
from render.core.unit import Receipt, Unit
from render.store.ledger import Ledger

pytest_plugins = ["stores"]
pytestmark = pytest.mark.slow

OWN = re.compile(r"\d+ frames; starting workers|\d+/\d+ frames, .*|frames are done.*|warning: .*: row .*")
SERVERS = ("gcs_server", "raylet")


@pytest.fixture
def render(
    tmp_path: Path, short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Iterator[Receipt]]]:
    """Paint units below tmp_path on a Ray of one's own, with its files in short_tmp."""
    monkeypatch.setattr("tempfile.tempdir", str(short_tmp))
    monkeypatch.setattr("render.cluster.crew.RenderWorker", Painter)
    ray.cloudpickle.register_pickle_by_value(light_workers)  # type: ignore[no-untyped-call]
    Ledger(tmp_path).create()

    def run(units: list[Unit], losses: list[str], **told: Any) -> Iterator[Receipt]:
        watch = Watch(losses)
        painting: Any = Painting(tmp_path, **told)
        with Cluster(painting, ONE_CPU, None, 600.0) as cluster:
            yield from cluster.render(Ledger(tmp_path).outstanding(iter(units)), watch)

    yield run
    ray.cloudpickle.unregister_pickle_by_value(light_workers)  # type: ignore[no-untyped-call]


def kill(server: str, tmp: Path) -> list[int]:
    """Kill one of Ray's servers; returns the ids of all processes of that Ray."""
    (folder,) = tmp.glob(f"{PREFIX}*")
    processes = processes_of(folder)
    (found,) = find(server, tmp)
    os.kill(found, signal.SIGKILL)
    return processes


@pytest.mark.parametrize("servers", [SERVERS[:1], pytest.param(SERVERS, marks=pytest.mark.long)], ids="-".join)
def test_servers_are_killed_one_after_the_other(
    render: Callable[..., Iterator[Receipt]],
    tmp_path: Path,
    short_tmp: Path,
    capfd: pytest.CaptureFixture[str],
    servers: tuple[str, ...],
) -> None:
    """Noticed within seconds, one line each; nothing is lost, none is twice, nobody is blamed, nothing is left."""
    losses, killed, before = list[str](), list(servers), list[int]()
    for count, _ in enumerate(render(make_units(10, 2), losses), 1):
        if killed and count in (1, 5):
            before += kill(killed.pop(0), short_tmp)
    assert len(losses) == len(servers)
    for server, line in zip(servers, losses, strict=True):
        assert line == (f"Ray's {server} was killed, by hand or by the system when memory ran out; Ray is started anew")
    assert stored(tmp_path) == list(range(20))
    assert not tombs(tmp_path)
    assert not list(short_tmp.iterdir())
    assert not [process for process in before if Path(f"/proc/{process}").exists() and not is_zombie(process)]
    said = capfd.readouterr()
    assert "state-dump" not in said.out + said.err
    assert "Failed to connect" not in said.out + said.err


def is_zombie(process: int) -> bool:
    return ") Z " in Path(f"/proc/{process}/stat").read_text()


@pytest.mark.long
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("delay_s", [0.0, 0.3, 0.8, 1.2, 1.6])
def test_a_server_is_killed_while_ray_starts(
    finished: Finished, tmp_path: Path, short_tmp: Path, server: str, delay_s: float
) -> None:
    """The run goes on, but for a moment in which Ray's library ends the whole process: then it says what to do."""
    out = tmp_path / "out"
    job = ("run", finished.manifest, *finished.overrides, "animation.formats=[]", f"output={out}")
    with subprocess.Popen(command(*job), env=environment(short_tmp), stderr=subprocess.PIPE, text=True) as run:
        wait_until(lambda: [*short_tmp.glob(f"{PREFIX}*")], "Ray's folder")
        end_s = time.monotonic() + delay_s
        wait_until(lambda: time.monotonic() > end_s and find(server, short_tmp), server)
        os.kill(find(server, short_tmp)[0], signal.SIGKILL)
        _, said = run.communicate(timeout=200)
    anew = f"Ray's {server} was killed, by hand or by the system when memory ran out; Ray is started anew"
    others = [line for line in said.splitlines() if anew not in line and not OWN.fullmatch(line)]
    if run.returncode == 0:
        assert said.count(anew) == 1
        assert not others
    else:
        assert run.returncode in (1, -signal.SIGKILL)
        assert len(others) == 1
        assert re.match(f"render: its process {run.pid} (ended|hung) while Ray started", others[0])
        assert others[0].endswith("the same command resumes.")
    wait_until(lambda: not processes_of_tmp(short_tmp), "the end of every process")
    assert not list(short_tmp.glob("render-*"))
    assert run_command(short_tmp, *job).returncode == 0
    assert pixels(out) == pixels(finished.out)


def find(server: str, tmp: Path) -> list[int]:
    """Ids of a server's process, if it is there."""
    found = []
    for process in [one for folder in tmp.glob(f"{PREFIX}*") for one in processes_of(folder)]:
        with suppress(OSError):
            program = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")[0].decode()
            found += [process] if os.path.basename(program) == server else []
    return found


def test_a_ray_that_is_lost_again_and_again_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts, losses = list[str](), list[str]()

    class Lost:
        restarts, trouble = True, ""

        def __init__(self, *_: object) -> None: ...
        def start(self) -> None:
            starts.append("start")
            raise RayLostError("Ray's raylet was killed")

        restart = start

        def end(self) -> None:
            starts.append("end")

    monkeypatch.setattr("render.cluster.driver.RayLink", Lost)
    watch: Any = SimpleNamespace(lost=losses.append)
    setup: Any = SimpleNamespace(out=tmp_path)
    with (
        pytest.raises(RunError, match=f"Ray's raylet was killed; it was started anew {RESTARTS_MAX} times"),
        Cluster(setup, ONE_CPU, None, 60.0) as cluster,
    ):
        list(cluster.render(iter(make_units(1, 1)), watch))
    assert starts == ["start"] * (1 + RESTARTS_MAX) + ["end"]
    assert len(losses) == RESTARTS_MAX


def test_a_cluster_that_is_lost_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not ours to start anew."""

    class Gone:
        restarts, trouble = False, "the head"

        def __init__(self, *_: object) -> None: ...
        def start(self) -> None:
            raise RayLostError("the head of the Ray cluster at a:1 does not answer any more")

        def end(self) -> None: ...

    monkeypatch.setattr("render.cluster.driver.RayLink", Gone)
    setup: Any = SimpleNamespace(out=tmp_path)
    watch: Any = None
    with pytest.raises(RunError, match="the head of"), Cluster(setup, ONE_CPU, "a:1", 60.0) as cluster:
        list(cluster.render(iter(make_units(1, 1)), watch))


def test_a_cluster_that_does_not_answer_is_left_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call that connects to it may never return."""
    answer = Event()
    monkeypatch.setattr("render.cluster.ray_link.CONNECT_S", 0.1)
    monkeypatch.setattr("ray.init", lambda **_: answer.wait())
    link = RayLink(ONE_CPU, "a:1")
    with pytest.raises(RunError, match="got no answer as from one in"):
        link.start()
    began_s = time.monotonic()
    link.end()
    assert time.monotonic() - began_s < END_S
    answer.set()
