"""Ray's metrics of a run: what each event counts, a dashboard of the same names, and what a real Ray serves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from stores import MANIFEST, command, environment, run_command, wait_until

from render import plan_job
from render.cluster.metrics import METRICS, TAGS, RayMetrics
from render.core import Receipt
from render.prepare import Silent
from render.store import EventLog, OutputFolder, read_events

pytest_plugins = ["stores"]

DASHBOARD = Path(__file__).parents[2] / "jobs" / "cluster" / "grafana.json"
RECEIPT = Receipt(
    "00000", "t.parquet", 8, 1000, "", 4.0, 4, rows=30, padding=10, host="a", process=7, decode_s=0.5, write_s=0.25
)
SUFFIXES = {"Counter": ["_total"], "Gauge": [""], "Histogram": ["_bucket"]}  # of the names that Prometheus sees


@dataclass
class Kinds:
    """Stands in for `ray.util.metrics`: notes what is made, and every value with its tags."""

    made: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    values: dict[tuple[str, str], list[float]] = field(default_factory=dict)  # (metric, worker) → values
    hosts: dict[str, str] = field(default_factory=dict)
    error: Exception | None = None

    def __getattr__(self, kind: str) -> Any:
        if kind not in SUFFIXES:
            raise AttributeError(kind)

        def make(name: str, **settings: Any) -> Any:
            self.made[name] = kind, settings
            method = {"Counter": "inc", "Gauge": "set", "Histogram": "observe"}[kind]
            return type(kind, (), {method: lambda _, value, tags: self._note(name, value, tags)})()

        return make

    def _note(self, name: str, value: float, tags: dict[str, str]) -> None:
        if self.error is not None:
            raise self.error
        assert set(tags) == set(TAGS)
        assert tags["render_job"] == "night"
        self.values.setdefault((name, tags["worker"]), []).append(value)
        self.hosts[tags["worker"]] = tags["host"]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    folder = OutputFolder(tmp_path)
    folder.run.mkdir()
    with EventLog(folder, Silent()) as log:
        yield log


def test_what_each_event_counts(log: EventLog) -> None:
    kinds = Kinds()
    metrics = RayMetrics(log, "night", kinds)
    metrics.worker_up("w0", "a", "H100")
    metrics.unit_given("00000", "w0")
    metrics.unit_given("00001", "w0")
    metrics.committed(RECEIPT)
    metrics.committed(replace(RECEIPT, unit="00001", frames=7, quarantined=(3,), rows=0, padding=0))
    found = {name: values for (name, worker), values in kinds.values.items() if worker == "w0"}
    assert kinds.hosts == {"w0": "a"}
    assert found["render_frames"] == [8, 7]
    assert found["render_quarantined"] == [1]
    assert found["render_bytes"] == [1000, 1000]
    assert found["render_fill"] == [0.75]
    assert found["render_queue_units"] == [1, 2, 1, 0]
    assert found["render_decode_seconds"] == [0.5, 0.5]
    assert found["render_write_seconds"] == found["render_shard_seconds"] == [0.25, 0.25]
    first, second = found["render_images_per_second"]
    assert first == pytest.approx(2.0)  # eight frames in four seconds
    assert second > 7  # the second unit came at once
    assert found["render_worker_up"] == [1]
    assert "render_faults" not in found


def test_a_worker_that_is_gone(log: EventLog) -> None:
    kinds = Kinds()
    metrics = RayMetrics(log, "night", kinds)
    metrics.worker_up("w0", "a", "H100")
    metrics.worker_up("w1", "a", "H100")
    metrics.unit_given("00000", "w0")
    metrics.unit_given("00000", "w1")  # a straggler's unit, run twice
    metrics.lost("w0 was killed")
    metrics.worker_gone("w0", "killed")
    metrics.worker_gone("w1", "")  # let go
    assert kinds.values["render_faults", "w0"] == [1]
    assert ("render_faults", "w1") not in kinds.values
    assert [kinds.values["render_worker_up", name] for name in ("w0", "w1")] == [[1, 0], [1, 0]]
    assert kinds.values["render_queue_units", "w1"] == [1, 0]


@pytest.mark.parametrize(
    ("process", "first", "seen"),
    [(7, "w0", ["w0", "w1"]), (8, "w1", ["w0", "w1"]), (7, "w0", ["w1"]), (8, "w1", ["w0"])],
)
def test_a_stragglers_unit_counts_for_who_commits_it(log: EventLog, process: int, first: str, seen: list[str]) -> None:
    """Two workers have the unit. What was seen of them before tells whose process has committed it."""
    kinds = Kinds()
    metrics = RayMetrics(log, "night", kinds)
    processes = {"w0": 7, "w1": 8}
    for name in processes:
        metrics.worker_up(name, "a", "H100")
    for name in seen:
        metrics.unit_given(f"of {name}", name)
        metrics.committed(replace(RECEIPT, unit=f"of {name}", process=processes[name]))
    metrics.unit_given("last", "w0")
    metrics.unit_given("last", "w1")
    assert [kinds.values["render_queue_units", name][-1] for name in processes] == [1, 1]
    metrics.committed(replace(RECEIPT, unit="last", process=process))
    frames = {name: sum(kinds.values.get(("render_frames", name), [])) for name in processes}
    assert frames == {name: 8 * ((name in seen) + (name == first)) for name in processes}
    assert [kinds.values["render_queue_units", name][-1] for name in processes] == [0, 0]


def test_a_driver_that_names_no_workers(log: EventLog) -> None:
    kinds = Kinds()
    RayMetrics(log, "night", kinds).committed(RECEIPT)
    assert kinds.values["render_frames", "a:7"] == [8]


class Heard:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self.calls.append((name, values))


def test_everything_is_passed_on() -> None:
    heard = Heard()
    metrics = RayMetrics(heard, "night", Kinds())  # type: ignore[arg-type]
    calls: list[tuple[str, tuple[object, ...]]] = [
        ("frames", (8,)),
        ("batches", (30, 10)),
        ("stage", ("compiling",)),
        ("waiting", ("for Ray",)),
        ("warn", ("cards differ",)),
        ("lost", ("killed",)),
        ("worker_up", ("w0", "a", "H100")),
        ("unit_given", ("00000", "w0")),
        ("committed", (RECEIPT,)),
        ("worker_gone", ("w0", "killed")),
    ]
    for name, values in calls:
        getattr(metrics, name)(*values)
    assert heard.calls == calls


def test_metrics_that_fail_end_no_run(log: EventLog, tmp_path: Path) -> None:
    kinds = Kinds(error=RuntimeError("no agent"))
    metrics = RayMetrics(log, "night", kinds)
    metrics.committed(RECEIPT)
    metrics.committed(replace(RECEIPT, unit="00001"))
    (warning,) = [event["text"] for event in read_events(OutputFolder(tmp_path).log) if event["event"] == "warning"]
    assert warning.startswith("workers.metrics: Ray took none of render_frames")
    assert "no agent" in warning


def test_metrics_are_made_as_they_are_listed(log: EventLog) -> None:
    kinds = Kinds()
    RayMetrics(log, "night", kinds).committed(RECEIPT)
    assert {name: kind for name, (kind, _) in kinds.made.items()} == {name: one.kind for name, one in METRICS.items()}
    for name, (kind, settings) in kinds.made.items():
        assert settings["tag_keys"] == TAGS
        assert settings["description"] == METRICS[name].meaning
        assert ("boundaries" in settings) == (kind == "Histogram")


def test_the_page_has_every_metric() -> None:
    page = (DASHBOARD.parents[2] / "docs" / "job.md").read_text(encoding="utf-8")
    served = {
        (f"ray_{name}{suffix}", one.kind.lower(), one.meaning)
        for name, one in METRICS.items()
        for suffix in SUFFIXES[one.kind]
    }
    assert {
        (name, kind, meaning) for name, kind, meaning in re.findall(r"\| `(ray_\w+)` \| (\w+) \| (.*) \|", page)
    } == served


def test_a_ray_of_the_runs_own_serves_none(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("prompt\n3d dog face\n")
    (warning,) = plan_job(tmp_path / "m.csv", "workers.metrics=true").warnings
    assert warning.startswith("workers.metrics: a Ray that the run starts has no metrics port")
    assert not plan_job(tmp_path / "m.csv").warnings


# The dashboard.


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def test_the_dashboard_shows_every_metric_and_no_other() -> None:
    expressions = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    shown = {name for text in expressions for name in re.findall(r"\bray_\w+", text)}
    served = {f"ray_{name}{suffix}" for name, one in METRICS.items() for suffix in SUFFIXES[one.kind]}
    assert shown == served
    for text in expressions:
        labels = set(re.findall(r"by \((.*?)\)", text)) | set(re.findall(r"[{,](\w+)=", text))
        assert labels <= {*TAGS, "le"}
        assert text.count('{render_job=~"$render_job"}') == len(re.findall(r"\bray_\w+", text))
    variables = {one["name"]: one for one in dashboard()["templating"]["list"]}
    assert set(variables) == {"datasource", "render_job"}
    assert set(re.findall(r"ray_\w+", variables["render_job"]["definition"])) <= served


def test_the_dashboard_is_one_of_grafanas() -> None:
    """What Grafana's model asks for. Its SDK (10.1) reads it, and writes all but a variable's `definition` alike."""
    board = dashboard()
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)


# A real Ray.


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at, above those that Ray gives its workers."""
    found: list[int] = []
    for port in range(21000 + os.getpid() % 5000, 32000):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)):
                found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


@pytest.fixture
def head(short_tmp: Path) -> Iterator[tuple[str, int, dict[str, str]]]:
    """A Ray head with its metrics agent: address, port of the metrics, environment of its clients."""
    pytest.importorskip("prometheus_client", reason="required ray[default]")
    pytest.importorskip("aiohttp_cors", reason="required ray[default]")
    port, metrics, dashboard_port = free_ports(3)
    variables = {**environment(short_tmp), "RAY_AUTH_MODE": "disabled"}
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    ray += [f"--port={port}", f"--metrics-export-port={metrics}", f"--dashboard-port={dashboard_port}", "--num-cpus=2"]
    ray += [f"--temp-dir={short_tmp / 'ray'}", "--disable-usage-stats", "--object-store-memory=100000000"]
    with (short_tmp / "head.log").open("w") as out:
        process = subprocess.Popen(ray, env=variables, stdout=out, stderr=out, start_new_session=True)
    try:
        wait_until(lambda: "Ray runtime started" in (short_tmp / "head.log").read_text(), "the head")
        yield f"127.0.0.1:{port}", metrics, variables
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def scraped(port: int) -> dict[str, float]:
    """Name → sum over its series, of our metrics, as Prometheus would scrape them."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("render_job") == "night":
                assert set(TAGS) <= set(sample.labels)
                found[sample.name] = found.get(sample.name, 0.0) + sample.value
    return found


@pytest.mark.long
def test_a_real_ray_serves_them(head: tuple[str, int, dict[str, str]], short_tmp: Path) -> None:
    """Scraped while a run goes on: what Prometheus sees has the dashboard's names and the run's numbers."""
    address, port, variables = head
    (short_tmp / "small.csv").write_text(MANIFEST.replace("blurry,7,8,", "blurry,7,400,", 1))
    job = ["sampling.steps=4", "workers.count=1", "workers.cpus=1", "workers.batch_rows=4", "store.unit_frames=4"]
    job += ["animation.formats=[]", "sheets.kinds=[]", f"workers.address={address}", "workers.metrics=true"]
    with subprocess.Popen(
        command("run", short_tmp / "small.csv", *job, f"output={short_tmp / 'night'}"),
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        found: dict[str, float] = {}

        def is_complete() -> bool:
            assert run.poll() is None, run.communicate()
            found.update(scraped(port))
            return found.get("ray_render_frames_total", 0) >= 16

        wait_until(is_complete, "the metrics")
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=100)
    assert "workers.metrics" not in errors
    assert found["ray_render_bytes_total"] > 1000
    assert 0 < found["ray_render_fill"] <= 1
    assert found["ray_render_decode_seconds_total"] > 0
    assert found["ray_render_write_seconds_total"] > 0
    assert found["ray_render_shard_seconds_count"] >= 4
    served = {f"ray_{name}{suffix}" for name, one in METRICS.items() for suffix in SUFFIXES[one.kind]}
    unseen = {
        "ray_render_quarantined_total",
        "ray_render_faults_total",
        "ray_render_worker_up",
    }  # the last: by the driver
    assert served - unseen <= set(found)
    done = run_command(short_tmp, "status", short_tmp / "night")
    assert "stopped" in done.stdout
