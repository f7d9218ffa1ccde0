"""Ray's metrics of a run, for Prometheus and Grafana: what the driver hears, counted by worker.

Ray serves them on the metrics port of the driver's node. It makes up the sum of a histogram from its buckets, so sums of
seconds are counters. `jobs/cluster/grafana.json` is a dashboard of exactly these names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import ray.util.metrics

from render.core import CrewRelay, Receipt
from render.store import EventLog

__all__ = ["METRICS", "TAGS", "Metric", "RayMetrics"]

TAGS = ("render_job", "worker", "host")  # Prometheus has a label `job` of its own
SECONDS = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0]  # bounds of the histograms' buckets


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Prometheus sees `ray_NAME`, of a counter `ray_NAME_total`, of a histogram `ray_NAME_bucket` and others."""

    kind: str  # Counter, Gauge or Histogram
    meaning: str


METRICS = {
    "render_frames": Metric("Counter", "committed frames"),
    "render_quarantined": Metric("Counter", "frames that were put in quarantine"),
    "render_bytes": Metric("Counter", "bytes of committed shards"),
    "render_faults": Metric("Counter", "times that a worker was lost"),
    "render_images_per_second": Metric("Gauge", "frames a second from a worker's last commit but one to its last"),
    "render_fill": Metric("Gauge", "share of the places in a worker's latest batches that held an input, 0 to 1"),
    "render_queue_units": Metric("Gauge", "units in a worker's hands that are not committed"),
    "render_worker_up": Metric("Gauge", "1 while a worker is up"),
    "render_decode_seconds": Metric("Counter", "seconds of decoding latents"),
    "render_write_seconds": Metric("Counter", "seconds of writing and publishing shards"),
    "render_shard_seconds": Metric("Histogram", "seconds that writing and publishing one shard took"),
}


class RayMetrics(CrewRelay[EventLog]):
    """A listener that passes on what it hears to the log, and counts it. Metrics that fail are left off, with a warning."""

    def __init__(self, log: EventLog, job: str, kinds: Any = ray.util.metrics) -> None:
        """`job` is the value of the tag; `kinds` has the classes Counter, Gauge and Histogram."""
        super().__init__(log)
        self._job, self._kinds = job, kinds
        self._metrics: dict[str, Any] | None = None  # made when Ray is there
        self._is_off = False
        self._hosts: dict[str, str] = {}  # worker → host
        self._processes: dict[tuple[str, int], str] = {}  # (host, process) of a commit → the worker
        self._hands: dict[str, list[str]] = {}  # unit → the workers that have it: of a straggler's unit two
        self._commit_s: dict[str, float] = {}  # worker → when its last unit was committed

    def worker_up(self, name: str, host: str, card: str) -> None:
        """Count a worker that is ready."""
        super().worker_up(name, host, card)
        self._hosts[name] = host
        self._note("render_worker_up", 1, name)

    def unit_given(self, unit: str, name: str) -> None:
        """Count a unit in a worker's hands."""
        super().unit_given(unit, name)
        hands = self._hands.setdefault(unit, [])
        if name not in hands:
            hands.append(name)
        self._note_queue(name)

    def worker_gone(self, name: str, reason: str) -> None:
        """Count a worker that is there no more; with a reason it is a fault."""
        super().worker_gone(name, reason)
        self._hands = {unit: rest for unit, own in self._hands.items() if (rest := [one for one in own if one != name])}
        self._processes = {process: worker for process, worker in self._processes.items() if worker != name}
        if reason:
            self._note("render_faults", 1, name)
        for gauge in ("render_worker_up", "render_images_per_second", "render_fill", "render_queue_units"):
            self._note(gauge, 0, name)
        self._commit_s.pop(name, None)

    def committed(self, receipt: Receipt) -> None:
        """Count what a unit has brought."""
        self._listener.committed(receipt)
        hands, now_s = self._hands.pop(receipt.unit, []), time.monotonic()
        name = self._worker_of(receipt, hands)
        self._hosts.setdefault(name, receipt.host)
        elapsed_s = now_s - self._commit_s[name] if name in self._commit_s else receipt.seconds
        self._commit_s[name] = now_s
        self._note("render_frames", receipt.frames, name)
        self._note("render_quarantined", len(receipt.quarantined), name)
        self._note("render_bytes", receipt.size_bytes, name)
        self._note("render_images_per_second", receipt.frames / max(elapsed_s, 1e-3), name)
        if receipt.rows:
            self._note("render_fill", receipt.rows / (receipt.rows + receipt.padding), name)
        self._note("render_decode_seconds", receipt.decode_s, name)
        self._note("render_write_seconds", receipt.write_s, name)
        if receipt.file is not None:
            self._note("render_shard_seconds", receipt.write_s, name)
        for worker in {name, *hands}:
            self._note_queue(worker)

    def _worker_of(self, receipt: Receipt, hands: list[str]) -> str:
        """Return the worker whose commit it is. A receipt names host and process; of which worker, a unit of one tells."""
        process = receipt.host, receipt.process
        if len(hands) == 1:
            self._processes[process] = hands[0]
            return hands[0]
        known = {worker: own for own, worker in self._processes.items()}
        if self._processes.get(process) in hands:
            return self._processes[process]
        likely = [name for name in hands if name not in known and self._hosts.get(name) in (None, receipt.host)]
        return likely[0] if likely else f"{receipt.host}:{receipt.process}"

    def _note_queue(self, name: str) -> None:
        self._note("render_queue_units", sum(name in own for own in self._hands.values()), name)

    def _note(self, metric: str, value: float, worker: str) -> None:
        """Give Ray a value. Whatever it raises ends the metrics, not the run."""
        if self._is_off:
            return
        tags = {"render_job": self._job, "worker": worker, "host": self._hosts.get(worker, "")}
        try:
            if self._metrics is None:
                self._metrics = {name: self._made(name, one) for name, one in METRICS.items()}
            kind = METRICS[metric].kind
            if kind == "Gauge":
                self._metrics[metric].set(value, tags)
            elif kind == "Histogram":
                self._metrics[metric].observe(value, tags)
            elif value > 0:  # a counter takes nothing else
                self._metrics[metric].inc(value, tags)
        except Exception as error:
            self._is_off = True
            self.warn(f"workers.metrics: Ray took none of {metric}, so none follow ({type(error).__name__}: {error})")

    def _made(self, name: str, metric: Metric) -> Any:
        more = {"boundaries": SECONDS} if metric.kind == "Histogram" else {}
        return getattr(self._kinds, metric.kind)(name, description=metric.meaning, tag_keys=TAGS, **more)
