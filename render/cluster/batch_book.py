"""Batch sizes of a run: chosen by the first worker that has measured, read by all others and by a resume.

Two kinds of record lie in OUT's `.run/batches`, each created exclusively. `MODEL-WxH.json` has the sizes of one group of
frames; all workers use them, since a frame's bits depend on them. `MODEL-WxH-ROWS-HASH.json` has the safe places of such a
batch on one kind of device with one set of library versions. A cache in the user's cache folder spares the measurement in
later runs.

How a worker uses the book, with a unit of the plan:

    sizes = book.choose(renderer, unit.group, unit.batch_rows, fixed)   # fixed: the job gives workers.batch_rows
    unit = replace(unit, batch_rows=sizes.rows, decode_rows=sizes.decode_rows)  # goes into receipt and columns
    batches = book.batches(renderer, unit.group, unit.batch_rows)       # .network for the lane, .decoder for decoding

After running out of memory it calls `batches` with half the rows. Both methods raise what the network raises, such as
torch.OutOfMemoryError, and may take minutes: `renderer.tuner.stage` says what they do.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from render.core import Group, canonical_json, create_exclusively, user_cache, write_atomically
from render.engine import Batch, Batches, BatchSizes, Renderer
from render.store import OutputFolder

__all__ = ["BatchBook"]


class BatchBook:
    """Batch sizes and safe places of one run, as one worker sees them."""

    def __init__(self, folder: OutputFolder) -> None:
        self._folder = folder.batches
        self._cache = user_cache("batches")
        self._sizes: dict[Group, BatchSizes] = {}

    def choose(self, renderer: Renderer, group: Group, most_rows: int, fixed: bool) -> BatchSizes:
        """Return the batch sizes of a group for the whole run; the first worker that asks for them measures.

        The network's batch has at most `most_rows` rows, or exactly as many if `fixed`. On a CPU these are taken, and
        images are decoded one by one; nothing is recorded.
        """
        if not renderer.tuner.measures:
            return BatchSizes(most_rows, 1, (), ())
        if group not in self._sizes:
            self._sizes[group] = self._recorded_sizes(renderer, group, most_rows, fixed)
        return self._sizes[group]

    def will_measure(self, renderer: Renderer, group: Group) -> bool:
        """Return True when the next use of the book for a group may measure or compile."""
        return renderer.tuner.measures and group not in self._sizes

    def _recorded_sizes(self, renderer: Renderer, group: Group, most_rows: int, fixed: bool) -> BatchSizes:
        path = self._folder / f"{_name(group)}.json"
        if not path.exists():
            _, width, height = group
            key = {"width": width, "height": height, "most_rows": most_rows, "fixed": fixed, **_origin(renderer)}
            cached = self._cache / f"{_hash(key)}.json"
            sizes = _read_sizes(cached)
            if sizes is None:
                sizes = renderer.tuner.choose(width, height, most_rows, fixed)
                with suppress(OSError):  # a cache that can't be written costs time, nothing else
                    self._cache.mkdir(parents=True, exist_ok=True)
                    write_atomically(cached, canonical_json(key | sizes.to_dict()).encode())
            create_exclusively(path, canonical_json(sizes.to_dict() | _origin(renderer)))
        return BatchSizes.from_dict(_read(path))

    def batches(self, renderer: Renderer, group: Group, rows: int) -> Batches:
        """Return the network's batch of `rows` inputs and the decoder's batch, with the safe places of this device.

        The decoder's batch is the one that `choose` gave for the group. A network that is to be compiled is compiled for
        these shapes here, unless it was before.
        """
        tuner, (_, width, height) = renderer.tuner, group
        if not tuner.measures:
            return tuner.batches(width, height, rows, 1)
        origin = _origin(renderer)
        path = self._folder / f"{_name(group)}-{rows}-{_hash(origin)[:8]}.json"
        known = _batches(_read(path)) if path.exists() else None
        found = tuner.batches(width, height, rows, self._sizes[group].decode_rows, known)
        if known is None:
            create_exclusively(path, canonical_json(_places(found) | origin))
        return found


def _name(group: Group) -> str:
    model, width, height = group
    return f"{model}-{width}x{height}"


def _origin(renderer: Renderer) -> dict[str, Any]:
    """Return everything but the sizes that places and speed depend on."""
    return {
        "model": renderer.fingerprint,
        "device": renderer.device,
        "dtype": renderer.dtype,
        "compiled": renderer.compiles,
        "versions": renderer.versions,
    }


def _hash(value: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return fields


def _read_sizes(path: Path) -> BatchSizes | None:
    """Return the sizes in a file of the cache, None where it holds none of this version."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return BatchSizes.from_dict(_read(path))
    return None


def _places(batches: Batches) -> dict[str, Any]:
    return {
        name: {"rows": batch.rows, "places": batch.places, "exact": batch.exact}
        for name, batch in (("network", batches.network), ("decoder", batches.decoder))
    }


def _batches(fields: dict[str, Any]) -> Batches:
    network, decoder = (
        Batch(fields[name]["rows"], tuple(fields[name]["places"]), fields[name]["exact"])
        for name in ("network", "decoder")
    )
    return Batches(network, decoder)
